"""Anthropic through the official `anthropic` SDK.

Ask -> POST /v1/messages with one tool that has to be used -> Reply (the tool's input as JSON)
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from anthropic import AnthropicError, AsyncAnthropic

from expert_system.errors import ProviderBusy
from expert_system.training.providers.interface import REQUEST_TIMEOUT_S, Reply, Secret
from expert_system.training.providers.sdk_errors import translate

if TYPE_CHECKING:
    from expert_system.training.providers.interface import Ask

NAME = "anthropic"
BASE_URL = "https://api.anthropic.com"
BASE_URL_VARIABLE = "ANTHROPIC_BASE_URL"
TOOL = "record_rows"
_FINISH = {"tool_use": "stop", "end_turn": "stop", "max_tokens": "length"}
"""Their words for why an answer ends -> ours."""


class AnthropicProvider:
    """One connection pool to the messages API."""

    def __init__(self, key: str) -> None:
        self._key = Secret(key)
        self._client = AsyncAnthropic(
            api_key=key,
            base_url=os.environ.get(BASE_URL_VARIABLE) or BASE_URL,
            max_retries=0,
            timeout=REQUEST_TIMEOUT_S,
        )

    async def ask(self, ask: Ask) -> Reply:
        """Send one request."""
        tool = {"name": TOOL, "description": "Record the rows that were asked for.", "input_schema": dict(ask.schema)}
        body: dict[str, Any] = {
            "model": ask.model,
            "system": ask.system,
            "messages": [{"role": "user", "content": ask.user}],
            "tools": [tool],
            "tool_choice": {"type": "tool", "name": TOOL},
            "max_tokens": ask.max_output_tokens,
        }
        if ask.temperature is not None:
            # The SDK has no argument for it, as recent models take none; older ones do.
            body["extra_body"] = {"temperature": ask.temperature}
        try:
            answer: Any = await self._client.messages.create(**body)
        except (AnthropicError, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise translate(NAME, error, self._key) from None
        return _reply(answer)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def _reply(answer: Any) -> Reply:
    """Read an answer; the SDK does not check its shape."""
    content, usage = getattr(answer, "content", None), getattr(answer, "usage", None)
    if content is None or usage is None:
        raise ProviderBusy(f"{NAME} answered with something that is no message")
    inputs = [block.input for block in content if block.type == "tool_use" and block.name == TOOL]
    reason = answer.stop_reason
    return Reply(
        text=json.dumps(inputs[0], ensure_ascii=False) if inputs else "",
        finish=_FINISH.get(reason, reason),
        model=answer.model,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
    )
