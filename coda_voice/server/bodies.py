"""Bodies of requests: read here, bounded in size and time, before anything else is done.

Applications read a whole body before they look at it, also that of a stranger who may do
nothing. So it is read here, up to a limit, and what is behind this never sees more. Chunks
say nothing about their sum, and a Content-Length says nothing about when it will be there.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from coda_voice.config.server import ServerConfig

BODY_SECONDS = 10.0
"""For so long a body may take to come."""
LINGER_SECONDS = 1.0
"""What is still being sent after a refusal is thrown away for so long, and as much as a body
may have: who closes at once on a client that is writing takes the answer from it, too."""


class _TooBig(Exception):
    """The body is bigger than it may be."""


class Bodies:
    """ASGI middleware that refuses a body with 413 (too big) or 408 (too slow), and closes."""

    def __init__(self, app: ASGIApp, settings: ServerConfig) -> None:
        self._app = app
        self._most = settings.body_kb * 1024

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through with its body, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        length = headers.get("content-length")
        if "transfer-encoding" not in headers and length in (None, "0"):
            await self._app(scope, receive, send)
            return
        try:
            if length is not None and int(length) > self._most:
                raise _TooBig
            async with asyncio.timeout(BODY_SECONDS):
                body = await self._read(receive)
        except _TooBig:
            message = f"A body may have {self._most // 1024} KiB (server.body_kb)."
            await self._refuse(receive, send, 413, "body_too_big", message)
        except TimeoutError:
            message = f"The body was not there within {BODY_SECONDS:.0f} s."
            await self._refuse(receive, send, 408, "body_too_slow", message)
        else:
            if body is not None:
                await self._app(scope, _again(body, receive), send)

    async def _read(self, receive: Receive) -> bytes | None:
        """Give the whole body; None where the client has gone. Raises _TooBig."""
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > self._most:
                raise _TooBig
            if not message.get("more_body", False):
                return bytes(body)

    async def _refuse(
        self, receive: Receive, send: Send, status: int, code: str, message: str
    ) -> None:
        """Answer at once; throw away for a moment what is still being sent; then close."""
        response = JSONResponse(
            {"error": {"code": code, "message": message}}, status, {"Connection": "close"}
        )
        start = {"type": "http.response.start", "status": status, "headers": response.raw_headers}
        await send(start)
        await send({"type": "http.response.body", "body": response.body, "more_body": True})
        with suppress(TimeoutError, _TooBig):
            async with asyncio.timeout(LINGER_SECONDS):
                await self._read(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _again(body: bytes, receive: Receive) -> Receive:
    """Give what an application receives of a request whose body was read already."""
    given = False

    async def first_the_body() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return first_the_body
