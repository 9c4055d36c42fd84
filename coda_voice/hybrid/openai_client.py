"""Ask a model behind any OpenAI-compatible server: vLLM, llama.cpp, LM Studio, OpenAI.

Through OpenAI's own client, with its retries off: a retry would come after its turn.
Thinking that servers put into ``reasoning_content`` or ``reasoning`` is kept apart.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, cast

import openai
from openai.types.chat import ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import ChoiceDeltaToolCall

from coda_voice.errors import LlmError
from coda_voice.hybrid.llm import (
    Chunk,
    Message,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolCallRequest,
)
from coda_voice.hybrid.prompt_budget import PromptBudget
from coda_voice.hybrid.prompt_shape import Prompt, PromptShape
from coda_voice.json_text import read_json
from coda_voice.protocols import ToolSpec


class OpenAiClient:
    """One model of one OpenAI-compatible server; ``endpoint`` ends in ``/v1`` as a rule.

    The key is taken from OPENAI_API_KEY if none is given; local servers want none.
    """

    offline = False

    def __init__(
        self,
        model: str,
        endpoint: str | None = None,
        *,
        api_key: str | None = None,
        context_window: int = 8_192,
        answer_tokens: int = 1_024,
        temperature: float = 0.7,
        connect_timeout: float = 5.0,
    ) -> None:
        self.model = model
        self.name = f"openai/{model}"
        self.budget = PromptBudget(context_window, answer_tokens)
        self._shape = PromptShape(self.budget)
        self._temperature = temperature
        # Reading has no limit here: the reasoner watches for stalls, whoever the server is.
        timeout = openai.Timeout(None, connect=connect_timeout)
        key = api_key or os.environ.get("OPENAI_API_KEY") or "none"
        self._client = openai.AsyncOpenAI(
            api_key=key, base_url=endpoint, timeout=timeout, max_retries=0
        )

    async def check(self) -> None:
        """Ask the server for its models. Raises LlmError; one that keeps no list may well answer.

        The list is not searched: many serve their one model under any name.
        """
        try:
            await self._client.models.list()
        except openai.NotFoundError:
            return
        except openai.APIError as error:
            raise self._fault_of(error) from error

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def stream(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()
    ) -> AsyncGenerator[Chunk, None]:
        """Give the answer as it comes; LlmError says what went wrong and what to do."""
        calls = _Calls()
        reason: str | None = None
        prompt_tokens = answer_tokens = None
        try:
            stream, prompt = await self._ask(messages, tools)
            # Declared an iterator, it is a generator that must be closed like one.
            generator = cast("AsyncGenerator[ChatCompletionChunk, None]", stream.__aiter__())
            async with stream, aclosing(generator) as frames:
                async for frame in frames:
                    if frame.usage:
                        prompt_tokens = frame.usage.prompt_tokens
                        answer_tokens = frame.usage.completion_tokens
                    for choice in (frame.choices or ())[:1]:
                        extra = choice.delta.model_extra or {}
                        thought = extra.get("reasoning_content") or extra.get("reasoning")
                        if thought:
                            yield ThinkingDelta(str(thought))
                        if choice.delta.content:
                            yield TextDelta(choice.delta.content)
                        calls.add(choice.delta.tool_calls or ())
                        reason = choice.finish_reason or reason
        except openai.APIError as error:
            raise self._fault_of(error) from error
        except ValueError as error:
            first = str(error).splitlines()[0]
            raise self._fault(
                "bad_answer", f"sent what is not its protocol ({first:.200})"
            ) from error
        if reason is None:
            raise self._fault("disconnected", "ended its answer without saying why")
        for call in calls.complete():
            yield ToolCallRequest(call)
        cut = self.budget.check(prompt.messages, prompt.tools, prompt_tokens)
        if cut is None and reason == "length":
            cut = f"the answer was cut at {answer_tokens or self.budget.answer_tokens} tokens"
        yield prompt.end(prompt_tokens, answer_tokens, cut)

    async def _ask(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec]
    ) -> tuple[openai.AsyncStream[ChatCompletionChunk], Prompt]:
        """Send the prompt; give the answer and what was sent.

        A server that refuses it as too long and says by how much, or that refuses the tools,
        is asked again, once for each.
        """
        shortened = False
        while True:
            prompt = self._shape.prompt(messages, tools)
            try:
                return await self._send(prompt), prompt
            except openai.APIStatusError as error:
                if self._shape.refused_tools(prompt, error.message):
                    continue
                counts = None if shortened else _counts(error)
                if counts is None:
                    raise
                shortened = True
                self.budget.refused(prompt.messages, prompt.tools, *counts)

    async def _send(self, prompt: Prompt) -> openai.AsyncStream[ChatCompletionChunk]:
        request: dict[str, Any] = {
            "model": self.model,
            "messages": [_wire(message) for message in prompt.messages],
            "temperature": self._temperature,
            "max_tokens": self.budget.answer_tokens,
            "stream_options": {"include_usage": True},
        }
        if prompt.tools:
            request["tools"] = [spec.function_schema() for spec in prompt.tools]
        answer: openai.AsyncStream[
            ChatCompletionChunk
        ] = await self._client.chat.completions.create(**request, stream=True)
        return answer

    def _fault_of(self, error: openai.APIError) -> LlmError:
        where = str(self._client.base_url)
        match error:
            case openai.APITimeoutError():
                return self._fault("unreachable", f"did not take the connection in time ({where})")
            case openai.APIConnectionError():
                cause = error.__cause__
                # Errors of an answer under way come from reading, those before it from connecting.
                if cause is not None and "Connect" not in type(cause).__name__:
                    return self._fault("disconnected", f"broke off ({type(cause).__name__})")
                return self._fault("unreachable", f"cannot be reached at {where}; is it running?")
            case openai.NotFoundError():
                return self._fault("model_missing", f"has no model {self.model!r} at {where}")
            case openai.APIStatusError(status_code=status):
                if status == 400 and "context" in error.message:
                    return self._fault("prompt_too_long", f"refused: {error.message:.200}")
                kind = "server_error" if status >= 500 else "refused"
                return self._fault(kind, f"answered {status}: {error.message:.200}")
        return self._fault("stream_error", f"gave up while answering: {error.message:.200}")

    def _fault(self, kind: str, what: str) -> LlmError:
        return LlmError(f"The LLM server {what}.", f"llm_{kind}", model=self.model)


def _counts(error: openai.APIStatusError) -> tuple[int, int] | None:
    """Read from a refusal how many tokens the prompt has and the model takes, if it tells.

    llama.cpp has fields for it; vLLM and OpenAI say it in their message (vLLM #20409).
    """
    if error.status_code != 400:
        return None
    body = error.body if isinstance(error.body, dict) else {}
    counted, window = body.get("n_prompt_tokens"), body.get("n_ctx")
    if isinstance(counted, int) and isinstance(window, int) and counted > 0:
        return counted, window
    takes = re.search(r"maximum context length is (\d+) tokens", error.message)
    has = re.search(r"\((\d+) in the messages|resulted in (\d+) tokens", error.message)
    if takes is None or has is None:
        return None
    return max(1, int(has[1] or has[2])), int(takes[1])


class _Calls:
    """Tool calls put together from their pieces."""

    def __init__(self) -> None:
        self._parts: dict[int, tuple[str, str, str]] = {}

    def add(self, pieces: Sequence[ChoiceDeltaToolCall]) -> None:
        for piece in pieces:
            call_id, name, arguments = self._parts.get(piece.index, ("", "", ""))
            function = piece.function
            self._parts[piece.index] = (
                piece.id or call_id,
                (function.name if function and function.name else name),
                arguments + (function.arguments if function and function.arguments else ""),
            )

    def complete(self) -> list[ToolCall]:
        return [
            _call(call_id or f"call_{index}", name, arguments)
            for index, (call_id, name, arguments) in sorted(self._parts.items())
        ]


def _call(call_id: str, name: str, text: str) -> ToolCall:
    try:
        arguments = read_json(text or "{}")
    except ValueError:
        return ToolCall(call_id, name, {}, malformed=text)
    if not isinstance(arguments, dict):
        return ToolCall(call_id, name, {}, malformed=text)
    return ToolCall(call_id, name, arguments)


def _wire(message: Message) -> dict[str, object]:
    wire: dict[str, object] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        wire["tool_calls"] = [
            {
                "id": call.call_id,
                "type": "function",
                "function": {
                    "name": call.name,
                    "arguments": json.dumps(call.arguments, ensure_ascii=False),
                },
            }
            for call in message.tool_calls
        ]
    if message.role == "tool":
        wire["tool_call_id"] = message.tool_call_id
    return wire
