"""``/v1/events``: what happens, as typed events, by WebSocket or server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Query, Request, WebSocket
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.websockets import WebSocketDisconnect

from coda_voice.errors import ProtocolError, VoiceProcessingError
from coda_voice.events import EVENT_TYPES, Event
from coda_voice.server.access import Caller, token_ended
from coda_voice.server.codecs.stream import StreamCodec, what_is_wrong
from coda_voice.server.event_log import Missed
from coda_voice.server.front import Front
from coda_voice.server.logins import caller_with
from coda_voice.server.routes.refusals import REFUSALS
from coda_voice.server.socket import end_with, refuse, until_gone

TYPES = frozenset(str(kind.model_fields["type"].default) for kind in EVENT_TYPES)
QUIET_SECONDS = 15.0
"""Server-sent events send a comment so often, for proxies that close what is silent."""


class EventQuery(BaseModel):
    """Which events somebody wants."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    conversation: str | None = Field(
        default=None, max_length=256, description="Only of this conversation."
    )
    types: str | None = Field(
        default=None, max_length=1_000, description="Only of these types, with commas between."
    )
    after: int | None = Field(
        default=None,
        ge=0,
        description="Begin with what is kept of the events after the one of this id.",
    )

    def wanted_types(self) -> frozenset[str]:
        """Give the types asked for. Raises ProtocolError for one that there is not."""
        if not self.types:
            return TYPES
        wanted = frozenset(name.strip() for name in self.types.split(",") if name.strip())
        if not wanted <= TYPES:
            raise ProtocolError(
                f"There are no events of type {', '.join(sorted(wanted - TYPES))[:200]}; there "
                f"are: {', '.join(sorted(TYPES))}.",
                "unknown_event_type",
                fatal=True,
            )
        return wanted


def routes(front: Front) -> APIRouter:
    """Give the router."""
    router = APIRouter()
    follower = caller_with(front, "talk", instead="events")

    @router.websocket("/v1/events")
    async def events_socket(websocket: WebSocket) -> None:
        caller = await front.admit(websocket, instead="events")
        if caller is None:
            return
        await websocket.accept(caller.subprotocol)
        try:
            query = EventQuery.model_validate(dict(websocket.query_params))
            wants = _wants(front, caller, query)
        except ValidationError as error:
            problem = ProtocolError(what_is_wrong(error), "bad_query", fatal=True)
            await refuse(websocket, StreamCodec(), problem)
            return
        except ProtocolError as error:
            await refuse(websocket, StreamCodec(), error)
            return
        try:
            await _follow(front, websocket, caller, wants, query.after)
        except VoiceProcessingError as error:  # it had been let in
            await end_with(websocket, StreamCodec(), error)

    @router.get(
        "/v1/events",
        tags=["events"],
        summary="Server-sent events",
        response_class=StreamingResponse,
        responses={
            200: {"content": {"text/event-stream": {}}, "description": "Events, for ever"},
            **REFUSALS,
        },
    )
    async def events_stream(
        request: Request, query: Annotated[EventQuery, Query()], caller: Caller = follower
    ) -> StreamingResponse:
        """Give events as they happen. `Last-Event-ID` goes on where a connection broke off."""
        wants = _wants(front, caller, query)
        last = request.headers.get("last-event-id", "")
        after = int(last) if last.isascii() and last.isdigit() and len(last) < 19 else query.after
        return StreamingResponse(
            _server_sent(front, caller, wants, after),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    return router


def _wants(front: Front, caller: Caller, query: EventQuery) -> Callable[[Event], bool]:
    types = query.wanted_types()
    everybodys = caller.may("events")

    def wants(event: Event) -> bool:
        if event.type not in types:
            return False
        if query.conversation is not None and event.conversation_id != query.conversation:
            return False
        return everybodys or front.owners.get(event.conversation_id) == caller.subject

    return wants


async def _follow(
    front: Front,
    websocket: WebSocket,
    caller: Caller,
    wants: Callable[[Event], bool],
    after: int | None,
) -> None:
    """Send events until the client goes. Raises AccessError when the token ends, and for floods."""
    sender = asyncio.create_task(_send_events(front, websocket, wants, after))
    try:
        async with asyncio.timeout(caller.seconds_left):
            await until_gone(websocket, front)
    except TimeoutError as error:
        raise token_ended() from error
    finally:
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)


async def _send_events(
    front: Front, websocket: WebSocket, wants: Callable[[Event], bool], after: int | None
) -> None:
    with suppress(WebSocketDisconnect):
        async for event in front.log.follow(wants, after):
            if isinstance(event, Missed):
                await websocket.send_text(f'{{"type":"missed","count":{event.count}}}')
            else:
                await websocket.send_text(event.model_dump_json())


async def _server_sent(
    front: Front, caller: Caller, wants: Callable[[Event], bool], after: int | None
) -> AsyncIterator[str]:
    """Give events as text, until the server stops or the caller's token ends."""
    events = front.log.follow(wants, after)
    yield ": coda-voice\n\n"
    upcoming = asyncio.ensure_future(anext(events))
    try:
        while not front.stopping.is_set() and (left := caller.seconds_left) != 0:
            stopping = asyncio.ensure_future(front.stopping.wait())
            await asyncio.wait(
                {upcoming, stopping},
                timeout=QUIET_SECONDS if left is None else min(QUIET_SECONDS, left),
                return_when=asyncio.FIRST_COMPLETED,
            )
            stopping.cancel()
            if not upcoming.done():
                yield ": \n\n"
                continue
            event = upcoming.result()
            if isinstance(event, Missed):
                yield f'event: missed\ndata: {{"count":{event.count}}}\n\n'
            else:
                yield f"id: {event.id}\nevent: {event.type}\ndata: {event.model_dump_json()}\n\n"
            upcoming = asyncio.ensure_future(anext(events))
    finally:
        upcoming.cancel()
        await asyncio.gather(upcoming, return_exceptions=True)
        await events.aclose()
