"""Which base an expert was trained for, and the adapters it brings for that base (formats.md 1.3)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from expert_system.package.fields import MAX_TEXT, Part, RelativePath, Sha256, Word

MAX_RANK = 512
"""Largest rank of one adapter; vLLM's own ceiling."""
MAX_VIRTUAL_TOKENS = 1024
MAX_ADAPTERS = 4
"""Adapters of one expert for one base, such as a LoRA and a soft prompt."""
MAX_BASES = 16
PROMPT_SLOT = "{prompt}"


class AdapterType(StrEnum):
    """The kinds of adapter that the engine can attach without touching the base."""

    LORA = "lora"
    DORA = "dora"
    IA3 = "ia3"
    SOFT_PROMPT = "soft_prompt"


class Quantization(StrEnum):
    """How the weights of a base are stored."""

    NONE = "none"
    INT8 = "int8"
    INT4 = "int4"


class Adapter(Part):
    """One PEFT folder: adapter_config.json and adapter_model.safetensors."""

    type: AdapterType
    path: RelativePath
    """The folder inside the package, below `weights/`."""
    r: Annotated[int, Field(ge=1, le=MAX_RANK)] | None = None
    alpha: Annotated[float, Field(gt=0.0, le=10_000.0)] | None = None
    target_modules: Annotated[tuple[Word, ...], Field(max_length=64)] = ()
    use_rslora: bool = False
    num_virtual_tokens: Annotated[int, Field(ge=1, le=MAX_VIRTUAL_TOKENS)] | None = None

    @model_validator(mode="after")
    def _fields_fit_the_type(self) -> Self:
        low_rank = self.type in {AdapterType.LORA, AdapterType.DORA}
        soft = self.type is AdapterType.SOFT_PROMPT
        expected = {"r": low_rank, "alpha": low_rank, "target_modules": not soft, "num_virtual_tokens": soft}
        for field, needed in expected.items():
            given = getattr(self, field) not in {None, ()}
            if given != needed:
                raise ValueError(f"{field} {'is missing in' if needed else 'does not belong in'} a {self.type} adapter")
        if self.use_rslora and not low_rank:
            raise ValueError(f"use_rslora does not belong in a {self.type} adapter")
        if not self.path.startswith("weights/"):
            raise ValueError("path must lie below weights/")
        return self


class RopeScaling(Part):
    """The context extension that the expert was trained or checked with."""

    rope_type: Literal["yarn"]
    factor: Annotated[float, Field(ge=1.0, le=64.0)]
    original_max_position_embeddings: Annotated[int, Field(ge=1)]


class BaseBinding(Part):
    """One base that the expert was trained for."""

    name: Word
    """For people; `base_digest` is what counts."""
    base_digest: Sha256
    tokenizer_sha256: Sha256
    chat_template_sha256: Sha256
    """Of the template's text; that of no bytes for a base without one."""
    validated_on: Annotated[tuple[Quantization, ...], Field(min_length=1, max_length=3)]
    rope_scaling: RopeScaling | None = None
    prompt_template: Annotated[str, Field(max_length=MAX_TEXT)] | None = None
    """Text around the user's message, which stands where `{prompt}` is; None leaves the message as it is."""
    adapters: Annotated[tuple[Adapter, ...], Field(min_length=1, max_length=MAX_ADAPTERS)]

    @model_validator(mode="after")
    def _adapters_are_distinct(self) -> Self:
        if len({adapter.path for adapter in self.adapters}) != len(self.adapters):
            raise ValueError("two adapters have the same path")
        if len({adapter.type for adapter in self.adapters}) != len(self.adapters):
            raise ValueError("two adapters have the same type; train one of them, or publish two experts")
        if len(set(self.validated_on)) != len(self.validated_on):
            raise ValueError("validated_on names a quantisation twice")
        if self.prompt_template is not None and self.prompt_template.count(PROMPT_SLOT) != 1:
            raise ValueError(f"prompt_template must contain {PROMPT_SLOT} exactly once")
        return self
