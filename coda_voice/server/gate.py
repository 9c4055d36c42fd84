"""In front of everything: how many may come from one address, and from which pages.

A page of another site could make its visitors' browsers talk to a server on their own
machine; browsers say where a page is from (Origin), and by which name it reached us (Host).
Both are looked at: the first always, the second where the server is open or told its names.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from coda_voice.config.server import ServerConfig
from coda_voice.server.access import is_loopback
from coda_voice.server.limits import AddressLimits
from coda_voice.server.proxies import counted_as
from coda_voice.server.refusal_log import RefusalLog, refused

UNCOUNTED = frozenset({"/health", "/health/live", "/metrics"})
"""Asked by machines at a fixed pace, from addresses that many users may share."""
HARMLESS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods whose answers another site's page cannot read anyway: we send no CORS headers."""


class Gate:
    """ASGI middleware that refuses with 403 or 429 what should not come in."""

    def __init__(
        self,
        app: ASGIApp,
        settings: ServerConfig,
        addresses: AddressLimits,
        refusals: RefusalLog,
        *,
        open_to_all: bool,
    ) -> None:
        self._app = app
        self._addresses = addresses
        self._refusals = refusals
        self._origins = {o.rstrip("/").lower() for o in listed(settings.allowed_origins)}
        self._hosts = {h.lower() for h in listed(settings.allowed_hosts)}
        self._check_hosts = bool(self._hosts) or (open_to_all and is_loopback(settings.host))
        self._own_host = settings.host.lower()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let in, or refuse."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        client = scope.get("client")
        address = str(client[0]) if client else ""
        with self._refusals.asked_by(scope["path"], address):
            await self._let_in(scope, receive, send, counted_as(address))

    async def _let_in(self, scope: Scope, receive: Receive, send: Send, address: str) -> None:
        headers = Headers(scope=scope)
        problem = self._problem(scope, headers)
        if problem is not None:
            await _refuse(scope, receive, send, 403, *problem)
            return
        if scope["path"] in UNCOUNTED:
            await self._app(scope, receive, send)
            return
        with self._addresses.connection(address) as wait:
            if wait is None:
                await self._app(scope, receive, send)
                return
        message = "Too many connections from this address."
        retry = max(1, round(wait))
        await _refuse(scope, receive, send, 429, "too_many_connections", message, retry)

    def _problem(self, scope: Scope, headers: Headers) -> tuple[str, str] | None:
        host = headers.get("host", "")
        if self._check_hosts and not self._known_host(host):
            return (
                "host_not_allowed",
                "This server is not known by that name (Host); its owner can name it in "
                "server.allowed_hosts.",
            )
        origin = headers.get("origin")
        if origin is None or (scope["type"] == "http" and scope["method"] in HARMLESS):
            return None
        if origin.lower() in self._origins or _place(origin) == host.lower():
            return None
        return "origin_not_allowed", "Pages from that origin may not connect (allowed_origins)."

    def _known_host(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return is_loopback(name) or name in self._hosts or name == self._own_host


def _place(origin: str) -> str | None:
    """Give host and port of an origin; None for what is none, as ``http://[``."""
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None


def listed(several: str) -> list[str]:
    """Give the entries of a setting that lists several with commas."""
    return [entry.strip() for entry in several.split(",") if entry.strip()]


async def _refuse(
    scope: Scope,
    receive: Receive,
    send: Send,
    status: int,
    code: str,
    message: str,
    retry: int | None = None,
) -> None:
    refused(code)
    headers = {} if retry is None else {"Retry-After": str(retry)}
    response = JSONResponse({"error": {"code": code, "message": message}}, status, headers)
    if scope["type"] == "http":
        await response(scope, receive, send)
        return
    websocket = WebSocket(scope, receive, send)
    await websocket.receive()
    try:
        await websocket.send_denial_response(response)
    except WebSocketDisconnect:
        return
