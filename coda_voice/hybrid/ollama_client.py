"""Ask a model that Ollama serves, through Ollama's own client.

Facts of the protocol (``/api/chat``, NDJSON): tool calls come whole, in any frame, the last
one (``done: true``) included; thinking is a field of its own; an error in mid-stream comes
as ``{"error": …}`` inside a 200; streams raise httpx's errors as they are. ``num_ctx`` is
always set, since the server's default depends on the machine's memory.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Literal

import httpx
import ollama
from pydantic import ValidationError

from coda_voice.errors import LlmError
from coda_voice.hybrid.llm import (
    Chunk,
    Message,
    StreamEnd,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolCallRequest,
)
from coda_voice.hybrid.prompt_budget import PromptBudget
from coda_voice.hybrid.prompt_shape import Prompt, PromptShape
from coda_voice.protocols import ToolSpec

_Frames = AsyncGenerator[ollama.ChatResponse, None]
Think = bool | Literal["low", "medium", "high"]

_numbers = itertools.count(1)


class OllamaClient:
    """One model of one Ollama server.

    ``context_window`` and ``answer_tokens`` in tokens; ``keep_alive`` in seconds (-1: for
    ever) or as ``"30m"``; ``think`` None leaves the choice to the model.
    """

    offline = False

    def __init__(
        self,
        model: str,
        host: str | None = None,
        *,
        context_window: int = 8_192,
        answer_tokens: int = 1_024,
        temperature: float = 0.7,
        keep_alive: float | str = "30m",
        think: Think | None = False,
        connect_timeout: float = 5.0,
    ) -> None:
        self.model = model
        self.name = f"ollama/{model}"
        self.budget = PromptBudget(context_window, answer_tokens)
        self._shape = PromptShape(self.budget)
        self._window = context_window
        self._temperature = temperature
        self._keep_alive = keep_alive
        self._think = think
        # Reading has no limit here: the reasoner watches for stalls, whoever the server is.
        timeout = httpx.Timeout(None, connect=connect_timeout)
        self._client = ollama.AsyncClient(host, timeout=timeout)

    async def check(self) -> None:
        """Ask Ollama for the model's card; it is not loaded for that. Raises LlmError."""
        try:
            await self._client.show(self.model)
        except ollama.ResponseError as error:
            raise self._refusal(error) from error
        except (ConnectionError, httpx.HTTPError) as error:
            # The client words a refused connection anew, over several lines.
            raise self._unreachable(error.__context__ or error) from error
        except ValidationError:
            return  # it has the model: the card is one of another version

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()  # type: ignore[no-untyped-call]

    async def stream(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()
    ) -> AsyncGenerator[Chunk, None]:
        """Give the answer as it comes; LlmError says what went wrong and what to do."""
        try:
            answer, frame, prompt = await self._ask(messages, tools)
            ended = False
            async with aclosing(answer):
                while frame is not None:
                    for chunk in _chunks(frame.message):
                        yield chunk
                    if frame.done:
                        ended = True
                        yield self._end(frame, prompt)
                    frame = await anext(answer, None)
        except ollama.ResponseError as error:
            raise self._refusal(error) from error
        except httpx.ConnectError as error:
            raise self._unreachable(error) from error
        except httpx.TimeoutException as error:
            raise self._fault(
                "unreachable", "did not take the connection in time", "Is it overloaded?"
            ) from error
        except httpx.HTTPError as error:
            raise self._fault(
                "disconnected", f"broke off ({error or type(error).__name__})", "Look into its log."
            ) from error
        except ValueError as error:
            first = str(error).splitlines()[0]
            raise self._fault(
                "bad_answer",
                f"sent what is not its protocol ({first:.200})",
                "Is its version supported?",
            ) from error
        if not ended:
            raise self._fault(
                "disconnected", "ended its answer without a last frame", "Look into its log."
            )

    async def _ask(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec]
    ) -> tuple[_Frames, ollama.ChatResponse | None, Prompt]:
        """Send the prompt; give the answer, its first frame, which was waited for, and the prompt.

        A model that refuses tools is asked again without.
        """
        while True:
            prompt = self._shape.prompt(messages, tools)
            answer: Any = await self._client.chat(
                self.model,
                messages=[_wire(message) for message in prompt.messages],
                tools=[_wire_tool(spec) for spec in prompt.tools],
                stream=True,
                think=self._think,
                keep_alive=self._keep_alive,
                options={
                    "num_ctx": self._window,
                    "num_predict": self.budget.answer_tokens,
                    "temperature": self._temperature,
                },
            )
            try:
                return answer, await anext(answer, None), prompt
            except ollama.ResponseError as error:
                if not self._shape.refused_tools(prompt, error.error):
                    raise

    def _end(self, frame: ollama.ChatResponse, prompt: Prompt) -> StreamEnd:
        cut = self.budget.check(prompt.messages, prompt.tools, frame.prompt_eval_count)
        if cut is None and frame.done_reason == "length":
            cut = f"the answer was cut at {frame.eval_count} tokens"
        return prompt.end(frame.prompt_eval_count, frame.eval_count, cut)

    def _refusal(self, error: ollama.ResponseError) -> LlmError:
        status = error.status_code
        if status == 404:
            return self._fault(
                "model_missing", f"has no model {self.model!r}", f"Run `ollama pull {self.model}`."
            )
        if status == -1:
            return self._fault("stream_error", f"gave up while answering: {error.error}", "")
        if status == 400 and "context" in error.error:
            return self._fault(
                "prompt_too_long", f"refused the prompt: {error.error}", "Raise context_window."
            )
        kind = "server_error" if status >= 500 else "refused"
        return self._fault(kind, f"answered {status}: {error.error:.300}", "Look into its log.")

    def _unreachable(self, error: BaseException) -> LlmError:
        return self._fault(
            "unreachable",
            f"cannot be reached ({error})",
            "Start it with `ollama serve`, or set external_llm.endpoint.",
        )

    def _fault(self, kind: str, what: str, hint: str) -> LlmError:
        return LlmError(f"Ollama {what}. {hint}".strip(), f"llm_{kind}", model=self.model)


def _chunks(message: ollama.Message) -> list[Chunk]:
    chunks: list[Chunk] = []
    if message.thinking:
        chunks.append(ThinkingDelta(message.thinking))
    if message.content:
        chunks.append(TextDelta(message.content))
    for call in message.tool_calls or ():
        # Ollama's client drops the ids of calls: ours only tell them apart in a turn.
        call_id = f"call_{next(_numbers)}"
        chunks.append(
            ToolCallRequest(ToolCall(call_id, call.function.name, dict(call.function.arguments)))
        )
    return chunks


def _wire(message: Message) -> dict[str, object]:
    wire: dict[str, object] = {"role": message.role, "content": message.content}
    if message.thinking:
        wire["thinking"] = message.thinking
    if message.tool_calls:
        wire["tool_calls"] = [
            {"function": {"name": call.name, "arguments": dict(call.arguments)}}
            for call in message.tool_calls
        ]
    if message.role == "tool":
        wire["tool_name"] = message.tool_name
    return wire


def _wire_tool(spec: ToolSpec) -> Mapping[str, Any]:
    return spec.function_schema()
