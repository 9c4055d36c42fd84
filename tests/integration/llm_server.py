"""A stand-in for an LLM server, over real HTTP.

Speaks Ollama's wire protocol (``/api/chat``, NDJSON) and OpenAI's (``/v1/chat/completions``,
server-sent events), in the shapes recorded from real servers. What it answers is a script:
one list of steps per request, taken in turn (the last one again and again); or a function of
the request. Messages in an order that a strict chat template refuses get a 400.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

Refusal = tuple[int, dict[str, Any]]
"""A status other than 200 and its body; a bare status has a body of no meaning."""
Step = dict[str, Any] | float | str | asyncio.Event
"""A frame to send; seconds to wait, or what to wait for; ``"disconnect"``, ``"stall"``, or
``"end"`` (of stream)."""


def template_fault(messages: list[dict[str, Any]]) -> str | None:
    """Say what the templates of Gemma and Mistral find wrong with an order of messages.

    Calls of tools and their results do not count by turns, but a result needs its call.
    """
    if any(message["role"] == "system" for message in messages[1:]):
        return "System message must be at the beginning."
    spoken = [m for m in messages if m["role"] in ("user", "assistant") and not m.get("tool_calls")]
    if any(m["role"] != ("user", "assistant")[at % 2] for at, m in enumerate(spoken)):
        return "Conversation roles must alternate user/assistant/user/assistant/..."
    for before, message in itertools.pairwise(messages):
        if message["role"] == "tool" and not (before.get("tool_calls") or before["role"] == "tool"):
            return "Message has tool role, but there was no previous assistant message with a call!"
    if messages[-1]["role"] not in ("user", "tool"):
        return "Expected last role User or Tool for serving."
    return None


class LlmServer:
    """Listens on a free port; ``requests`` holds the bodies that came."""

    def __init__(
        self,
        *answers: list[Step] | int | Refusal | Callable[[dict[str, Any]], list[Step] | int],
    ) -> None:
        self.answers = list(answers)
        self.models: set[str] | None = None
        """Those it has; None: any."""
        self.card: dict[str, Any] = {"details": {}, "model_info": {}}
        """What Ollama tells of a model."""
        self.requests: list[dict[str, Any]] = []
        self._serving: set[asyncio.Task[None] | None] = set()
        self._closing = asyncio.Event()
        self.asked = asyncio.Event()
        """Set when a request has come."""
        self.broken_off = asyncio.Event()
        """Set when a client went away in mid-answer."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            lengths = [
                int(line.split(":")[1])
                for line in head.lower().splitlines()
                if line.startswith("content-length")
            ]
            body = await reader.readexactly(lengths[0]) if lengths else b"{}"
            self.requests.append(json.loads(body))
            self.asked.set()
            answer: Any
            if head.startswith("GET ") and "/models" in head:
                answer = (200, {"object": "list", "data": []}) if "/v1/" in head else 404
            elif "/api/show" in head:
                known = self.models is None or self.requests[-1]["model"] in self.models
                answer = (200, self.card) if known else 404
            elif fault := template_fault(self.requests[-1]["messages"]):
                answer = 400, {"error": {"message": fault} if "/v1/" in head else fault}
            else:
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if callable(answer):
                answer = answer(self.requests[-1])
            if isinstance(answer, int):
                answer = answer, {"error": f"it is a {answer}"}
            if isinstance(answer, tuple):
                status, body = answer
                error = json.dumps(body).encode()
                writer.write(
                    f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {len(error)}\r\nConnection: close\r\n\r\n".encode()
                    + error
                )
                await writer.drain()
            else:
                await self._stream(reader, writer, answer, sse="/v1/" in head)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def _stream(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        steps: list[Step],
        sse: bool,
    ) -> None:
        kind = "text/event-stream" if sse else "application/x-ndjson"
        writer.write(
            f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        gone = asyncio.create_task(reader.read())
        for step in steps:
            if step == "disconnect":
                gone.cancel()
                return
            if step == "end":
                break
            if isinstance(step, asyncio.Event):
                waiting = asyncio.create_task(step.wait())
                await asyncio.wait({gone, waiting}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                if gone.done():
                    self.broken_off.set()
                    return
                continue
            if step == "stall" or isinstance(step, float):
                closing = asyncio.create_task(self._closing.wait())
                await asyncio.wait(
                    {gone, closing},
                    timeout=60.0 if step == "stall" else step,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                closing.cancel()
                if gone.done() or self._closing.is_set():
                    self.broken_off.set()
                    return
                continue
            line = step if isinstance(step, str) else json.dumps(step)
            data = (f"data: {line}\n\n" if sse else f"{line}\n").encode()
            writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            await writer.drain()
        gone.cancel()
        if sse:
            writer.write(b"e\r\ndata: [DONE]\n\n\r\n")
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    async def __aenter__(self) -> LlmServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        self._closing.set()
        if self._serving:
            await asyncio.wait({task for task in self._serving if task})


def text(*pieces: str, **last: Any) -> list[Step]:
    """An Ollama answer of text; ``last`` goes into its last frame."""
    frames: list[Step] = [frame(content=piece) for piece in pieces]
    return [*frames, done(**last)]


def frame(**message: Any) -> dict[str, Any]:
    return {
        "model": "qwen3:8b",
        "created_at": "2026-08-21T10:00:00.1Z",
        "message": {"role": "assistant", "content": "", **message},
        "done": False,
    }


def done(message: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {
        **frame(**(message or {})),
        "done": True,
        "done_reason": "stop",
        "total_duration": 1_234_567,
        "load_duration": 1_000,
        "prompt_eval_count": 40,
        "prompt_eval_duration": 1_000,
        "eval_count": 12,
        "eval_duration": 1_000,
        **fields,
    }


def calls(*calls: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"function": {"name": name, "arguments": arguments}} for name, arguments in calls]


def sse(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }


@contextlib.asynccontextmanager
async def closing(client: Any) -> AsyncIterator[Any]:
    """Give ``client`` and close it."""
    try:
        yield client
    finally:
        await client.close()
