"""OpenAI and DeepSeek, which speaks OpenAI's API, through the official `openai` SDK.

    Ask -> POST /chat/completions with response_format -> Reply

OpenAI gets the schema as a strict `json_schema`; DeepSeek's JSON mode promises JSON only, so its schema stands in the
system message.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from openai import AsyncOpenAI, Omit, OpenAIError

from expert_system.errors import ProviderBusy
from expert_system.training.providers import sends_seed
from expert_system.training.providers.interface import REQUEST_TIMEOUT_S, Reply, Secret
from expert_system.training.providers.sdk_errors import translate

if TYPE_CHECKING:
    from expert_system.training.providers.interface import Ask

SCHEMA_NAME = "rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """Where the two differ."""

    name: str
    base_url: str
    base_url_variable: str
    """Environment variable with another address, such as a proxy's. Never the recipe: whoever names it gets the key."""
    length_parameter: str
    strict_schema: bool


OPENAI = Dialect(
    name="openai",
    base_url="https://api.openai.com/v1",
    base_url_variable="OPENAI_BASE_URL",
    length_parameter="max_completion_tokens",
    strict_schema=True,
)
DEEPSEEK = Dialect(
    name="deepseek",
    base_url="https://api.deepseek.com",
    base_url_variable="DEEPSEEK_BASE_URL",
    length_parameter="max_tokens",
    strict_schema=False,
)


class OpenAIProvider:
    """One connection pool to a service that speaks chat completions."""

    def __init__(self, dialect: Dialect, key: str) -> None:
        self._dialect = dialect
        self._key = Secret(key)
        # The account of OPENAI_ORG_ID is none of DeepSeek's business.
        nobody: Any = {} if dialect is OPENAI else {"OpenAI-Organization": Omit(), "OpenAI-Project": Omit()}
        self._client = AsyncOpenAI(
            api_key=key,
            base_url=os.environ.get(dialect.base_url_variable) or dialect.base_url,
            max_retries=0,
            timeout=REQUEST_TIMEOUT_S,
            default_headers=nobody,
        )

    async def ask(self, ask: Ask) -> Reply:
        """Send one request."""
        try:
            answer: Any = await self._client.chat.completions.create(**self._body(ask))
        except (OpenAIError, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise translate(self._dialect.name, error, self._key) from None
        return self._reply(answer)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _body(self, ask: Ask) -> dict[str, Any]:
        schema = dict(ask.schema)
        system = ask.system
        if self._dialect.strict_schema:
            wanted = {"name": SCHEMA_NAME, "strict": True, "schema": schema}
            form: dict[str, Any] = {"type": "json_schema", "json_schema": wanted}
        else:
            form = {"type": "json_object"}
            system += f"\nAnswer with one JSON object that is valid against this JSON Schema:\n{json.dumps(schema)}"
        body: dict[str, Any] = {
            "model": ask.model,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": ask.user}],
            "response_format": form,
            self._dialect.length_parameter: ask.max_output_tokens,
        }
        if ask.temperature is not None:
            body["temperature"] = ask.temperature
        return body | ({"seed": ask.seed} if sends_seed(self._dialect.name) else {})

    def _reply(self, answer: Any) -> Reply:
        """Read an answer; the SDK does not check its shape."""
        choices, usage = getattr(answer, "choices", None), getattr(answer, "usage", None)
        if not choices or usage is None or getattr(choices[0], "message", None) is None:
            raise ProviderBusy(f"{self._dialect.name} answered with something that is no chat completion")
        choice = choices[0]
        refused = getattr(choice.message, "refusal", None)
        return Reply(
            text=choice.message.content or "",
            finish="refusal" if refused or choice.finish_reason == "content_filter" else choice.finish_reason,
            model=answer.model,
            input_tokens=usage.prompt_tokens,
            output_tokens=usage.completion_tokens,
        )
