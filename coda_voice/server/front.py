"""What the server gives to a protocol: who is calling, a session for them, and figures.

``routes(front)`` of each protocol makes a router of it; see "A protocol of your own" in
docs/reference/protocols.md.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace

from fastapi import Request, WebSocket
from fastapi.responses import JSONResponse
from starlette.websockets import WebSocketDisconnect

from coda_voice.config.server import ServerConfig
from coda_voice.errors import (
    AccessError,
    ComponentNotInitializedError,
    IntegrationError,
    VoiceProcessingError,
    VoiceTimeoutError,
)
from coda_voice.events import ConversationStarted, Event
from coda_voice.manager import VoiceManager
from coda_voice.server.access import (
    OUR_PROTOCOL,
    Access,
    Caller,
    Scope,
    chosen_protocol,
    token_of,
)
from coda_voice.server.control import Control
from coda_voice.server.event_log import EventLog
from coda_voice.server.limits import AddressLimits
from coda_voice.server.metrics import Metrics
from coda_voice.server.refusal_log import RefusalLog, refused
from coda_voice.server.session import Session, Wish
from coda_voice.server.sessions import Sessions

OWNERS_REMEMBERED = 4_096
HTTP_STATUS = {
    "token_missing": 401,
    "token_invalid": 401,
    "token_expired": 401,
    "scope_missing": 403,
    "keys_unavailable": 503,
    "too_many_conversations": 429,
    "slots_full": 503,
    "draining": 503,
    "unknown_conversation": 404,
    "conversation_ended": 404,
    "resume_unknown": 404,
    "not_found": 404,
    "engine_stopped": 503,
}
"""HTTP status for the errors that have one of their own; 400 for others that a caller causes."""
NOT_THE_CALLERS = (IntegrationError, VoiceTimeoutError, ComponentNotInitializedError)
"""Errors that no caller causes, as of a memory store whose disk is full: 503."""


class Front:
    """The parts of a running server, and the two things every protocol needs of them."""

    def __init__(self, manager: VoiceManager, settings: ServerConfig, access: Access) -> None:
        self.manager = manager
        self.settings = settings
        self.access = access
        self.sessions = Sessions(manager, settings)
        self.control = Control(manager)
        self.addresses = AddressLimits(
            settings.connections_per_address, settings.connects_per_second
        )
        self.refusals = RefusalLog()
        self.metrics = Metrics(manager, self.sessions, self.addresses)
        self.sessions.lost = self.metrics.lost
        self.log = EventLog(settings.events_kept, self.sessions.happened)
        self.stopping = asyncio.Event()
        """Set when streams that never end by themselves should."""
        self.failure: Exception | None = None
        """Why the application could not start, or stop, for whoever serves it."""
        self._talking: set[asyncio.Task[object]] = set()
        """Those who serve a conversation's client."""
        self.owners: OrderedDict[str, str] = OrderedDict()
        """Whose conversations are, and lately were, by id."""

    def change_limits(self, changes: Mapping[str, object]) -> None:
        """Set limits of the running server; ``messages_per_second`` for connections to come.

        ``changes``: fields of ServerConfig by name. Raises pydantic's ValidationError for
        values that cannot be.
        """
        changed = ServerConfig.model_validate({**self.settings.model_dump(), **changes})
        self.settings = self.sessions.settings = changed
        self.addresses.change(changed.connections_per_address, changed.connects_per_second)

    def own(self, event: Event) -> None:
        """Remember whose a conversation is that begins."""
        if isinstance(event, ConversationStarted) and event.user_id is not None:
            self.owners[event.conversation_id] = event.user_id
            while len(self.owners) > OWNERS_REMEMBERED:
                going_on = set(self.manager.get_active_conversations())
                over = (name for name in self.owners if name not in going_on)
                del self.owners[next(over, next(iter(self.owners)))]

    async def admit(
        self,
        websocket: WebSocket,
        scope: Scope = "talk",
        subprotocols: tuple[str, ...] = (OUR_PROTOCOL,),
        instead: Scope | None = None,
    ) -> Caller | None:
        """Give who opens a WebSocket; None if they were refused (by an HTTP response).

        ``instead``: another scope that would do. ``subprotocols``: those that the protocol
        would answer with, the first one offered is chosen. It is not accepted yet.
        """
        offered = websocket.scope.get("subprotocols") or []
        try:
            if self.sessions.draining:
                raise AccessError("The server is shutting down.", "draining")
            caller = await self.access.caller(token_of(websocket.headers, offered))
            caller.require(scope, instead)
        except AccessError as error:
            refused(error.error_code)
            with suppress(WebSocketDisconnect):
                await websocket.send_denial_response(refusal(error))
            return None
        return replace(caller, subprotocol=chosen_protocol(offered, subprotocols))

    async def caller_of(
        self, request: Request, scope: Scope, instead: Scope | None = None
    ) -> Caller:
        """Give who sends a request. Raises AccessError."""
        try:
            caller = await self.access.caller(token_of(request.headers))
            caller.require(scope, instead)
        except AccessError as error:
            refused(error.error_code)
            raise
        return caller

    @asynccontextmanager
    async def session(
        self, caller: Caller, wish: Wish, on_position: Callable[[int], None] | None = None
    ) -> AsyncIterator[Session]:
        """Open a session, and end it when the block is left.

        Raises what ``Sessions.open`` raises. For protocols that feed and read the session
        themselves; the others use ``socket.Connection``.
        """
        try:
            session = await self.sessions.open(caller, wish, on_position)
        except VoiceProcessingError as error:
            refused(error.error_code)
            raise
        session.attach(lambda: None)
        with self.talking():
            try:
                yield session
            finally:
                await self.sessions.end(session, "ended")

    @contextmanager
    def talking(self) -> Iterator[None]:
        """Say that the current task serves a client, whom the server tells how it ends."""
        task = asyncio.current_task()
        assert task is not None
        self._talking.add(task)
        try:
            yield
        finally:
            self._talking.discard(task)

    async def last_words(self, seconds: float) -> None:
        """Wait until clients have taken what they are told about the end; not longer."""
        if self._talking:
            await asyncio.wait(self._talking, timeout=seconds)


def refusal(error: VoiceProcessingError) -> JSONResponse:
    """Give an error as a response: status, code, message, and when to try again."""
    usual = 503 if isinstance(error, NOT_THE_CALLERS) else 400
    status = HTTP_STATUS.get(error.error_code, usual)
    headers: dict[str, str] = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status in (429, 503):
        headers["Retry-After"] = str(error.context.get("retry_after") or 5)
    return JSONResponse(problem(error), status, headers)


def problem(error: VoiceProcessingError) -> Mapping[str, object]:
    """Give the body of a refusal."""
    return {"error": {"code": error.error_code, "message": error.message}}
