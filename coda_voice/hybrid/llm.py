"""What the reasoner says to an LLM and hears from it, whoever serves it.

One protocol for Ollama, OpenAI-compatible servers and the offline brain. A client turns
its server's wire format into the chunks below and its faults into LlmError; it knows
nothing of turns, speech or tools.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from coda_voice.errors import LlmError
from coda_voice.protocols import ToolSpec

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ToolCall:
    """A call the LLM asks for. ``malformed`` is its raw text when that was no JSON object."""

    call_id: str
    name: str
    arguments: Mapping[str, object]
    malformed: str | None = None
    beyond: str | None = None
    """Why it is not run, where it is one too many; for the LLM to read."""


@dataclass(frozen=True)
class Message:
    """One message of a prompt.

    An assistant's message carries its tool calls and its thinking back to the server; a
    tool's message names the call it answers.
    """

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    thinking: str = ""
    tool_call_id: str = ""
    tool_name: str = ""


@dataclass(frozen=True)
class TextDelta:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True)
class ThinkingDelta:
    """A piece of what the model thinks; never spoken."""

    text: str


@dataclass(frozen=True)
class ToolCallRequest:
    """A complete tool call."""

    call: ToolCall


@dataclass(frozen=True)
class StreamEnd:
    """The end of an answer; a stream without one has been cut off.

    Token counts are the server's (None: not told). ``cut`` says in words what was lost of
    the prompt or the answer; ``dropped_messages`` were left out beforehand to make it fit.
    """

    prompt_tokens: int | None = None
    answer_tokens: int | None = None
    dropped_messages: int = 0
    cut: str | None = None


Chunk = TextDelta | ThinkingDelta | ToolCallRequest | StreamEnd


class LlmClient(Protocol):
    """A way to one model. ``offline`` is told wherever its answers show."""

    @property
    def name(self) -> str:
        """Provider and model, for example ``ollama/qwen3:8b``."""

    @property
    def offline(self) -> bool:
        """Whether this is the offline brain and no LLM."""

    def stream(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()
    ) -> AsyncGenerator[Chunk, None]:
        """Give the answer as it comes, ending in StreamEnd. Raises LlmError."""

    async def check(self) -> None:
        """Ask the server whether it could answer. Raises LlmError, which says what to do."""

    async def close(self) -> None:
        """Close the connections."""


async def next_chunk(
    stream: AsyncGenerator[Chunk, None], name: str, seconds: float
) -> Chunk | None:
    """Give the next chunk of ``name``'s answer, None after the last.

    Raises LlmError, whatever went wrong: that of the client, ``llm_stalled`` after so many
    ``seconds``, ``llm_internal`` for what a client (perhaps somebody's own) should not raise.
    """
    try:
        async with asyncio.timeout(seconds):
            return await anext(stream, None)
    except TimeoutError as error:
        raise LlmError(f"{name} was silent for {seconds:.3g} s.", "llm_stalled") from error
    except LlmError:
        raise
    except Exception as error:
        logger.exception("%s failed in an unknown way", name)
        raise LlmError(f"{name} failed: {error!r}", "llm_internal") from error
