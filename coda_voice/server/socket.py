"""A WebSocket and a session, put together by a codec: the only place that reads and writes both.

One task reads, one writes. A reader that is slow holds up nobody but itself: its outputs wait
in a bounded queue that drops old audio, and the server ends it in time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from coda_voice.errors import ProtocolError, VoiceProcessingError
from coda_voice.server import commands
from coda_voice.server.codecs import Codec, Message
from coda_voice.server.front import Front
from coda_voice.server.limits import RateLimit
from coda_voice.server.outputs import AgentAudio, Ended, Failed, Output, Pong
from coda_voice.server.refusal_log import refused
from coda_voice.server.session import Session

CLOSE_SECONDS = 2.0
"""A client that reads nothing has so long to take a close."""
LAST_WORDS_SECONDS = 10.0
"""A client that reads slowly has so long to take what was sent before the end; no slot waits."""
CLEAN, POLICY, TOO_BIG, INTERNAL, RESTART, TRY_LATER = 1000, 1008, 1009, 1011, 1012, 1013
UNKNOWN_RESUME, TAKEN_OVER = 4404, 4409
CLOSE_CODES = {
    "ended": CLEAN,
    "max_conversation_length": CLEAN,
    "server_restart": RESTART,
    "shutdown": RESTART,
    "failed": INTERNAL,
    "slots_full": TRY_LATER,
    "draining": TRY_LATER,
    "resume_unknown": UNKNOWN_RESUME,
    "message_too_big": TOO_BIG,
    "internal": INTERNAL,
    "engine_stopped": INTERNAL,
    "cannot_record": INTERNAL,
}
"""Close code for why a conversation ended or was refused; all others broke a rule."""


class Connection:
    """One WebSocket in one session; ``run`` lasts as long as the connection does.

    ``resumable``: a lost socket leaves the session waiting for the client to come back.
    """

    def __init__(
        self,
        websocket: WebSocket,
        session: Session,
        codec: Codec,
        front: Front,
        *,
        resumable: bool = False,
    ) -> None:
        self._websocket = websocket
        self._session = session
        self._codec = codec
        self._front = front
        self._resumable = resumable
        self._messages = message_rate(front)
        self._taken = asyncio.Event()
        self._known = False
        """Whether the client has been told what it can come back with."""

    async def run(self, *, resumed: bool = False, after: int | None = None) -> None:
        """Speak until the conversation ends, the client goes, or another takes it over.

        ``after``: the last event of which a client that comes back was told.
        """
        session = self._session

        def on_taken() -> None:
            self._taken.set()
            writer.cancel()  # what is still to be told is told to the other

        session.attach(on_taken, after)
        self._known = resumed
        writer = asyncio.create_task(self._write(resumed))
        reader = asyncio.create_task(self._read())
        taken = asyncio.create_task(self._taken.wait())
        over = asyncio.create_task(session.over())
        theirs = {writer, reader, taken}
        try:
            await asyncio.wait({*theirs, over}, return_when=asyncio.FIRST_COMPLETED)
            if not any(task.done() for task in theirs):  # one who reads nothing is not waited for
                await asyncio.wait(
                    theirs, timeout=LAST_WORDS_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
            gone = _is_gone(writer)
            if gone and not self._taken.is_set():
                # The socket was shut while we wrote. Whether that was a goodbye, which ends the
                # conversation, stands in what has been received and not yet been read.
                await asyncio.wait({reader}, timeout=CLOSE_SECONDS)
            if self._taken.is_set():
                await self._close(TAKEN_OVER)
            elif reader.done() and (gone or not writer.done()):
                await self._after_reading(reader, writer, on_taken)
            elif writer.done():
                await self._after_writing(writer, on_taken)
            else:
                await self._close(CLOSE_CODES.get(session.ended or "", POLICY))
        finally:
            cut_off = session.ended is not None and not _has_left(reader)
            for task in (*theirs, over):
                task.cancel()
            await asyncio.gather(*theirs, over, return_exceptions=True)
            if cut_off:
                session.lost("output", session.outbox.drop_audio())
                self._front.metrics.untold(len(session.outbox))
            if (
                session.ended is None
                and session.detached_since is None
                and not self._taken.is_set()
            ):
                await self._lost(on_taken)  # this task itself was cancelled

    async def _after_reading(
        self, reader: asyncio.Task[int], writer: asyncio.Task[None], on_taken: Callable[[], None]
    ) -> None:
        """Do what follows from how reading ended: the client closed, broke a rule, or is gone."""
        error = reader.exception()
        if isinstance(error, VoiceProcessingError):
            failure = Failed(error.error_code, error.message, fatal=True)
            await self._front.sessions.end(self._session, error.error_code, failure)
        elif error is not None:
            await self._lost(on_taken)
            raise error
        elif reader.result() == CLEAN:
            await self._front.sessions.end(self._session, "ended")
        else:
            await self._lost(on_taken)
            return
        await asyncio.wait([writer], timeout=CLOSE_SECONDS)
        await self._close(CLOSE_CODES.get(self._session.ended or "", POLICY))

    async def _after_writing(
        self, writer: asyncio.Task[None], on_taken: Callable[[], None]
    ) -> None:
        """Do what follows from how writing ended: all was said, or the client is gone."""
        error = writer.exception()
        if error is None:
            await self._close(CLOSE_CODES.get(self._session.ended or "", POLICY))
            return
        await self._lost(on_taken)
        if not isinstance(error, WebSocketDisconnect):
            raise error

    async def _lost(self, on_taken: Callable[[], None]) -> None:
        if self._session.ended is not None:
            return
        if self._resumable and self._known:
            await self._session.detach(on_taken)
        else:
            await self._front.sessions.end(self._session, "connection_lost")

    # ---- in ---------------------------------------------------------------------------

    async def _read(self) -> int:
        """Read until the client closes; gives its close code."""
        while True:
            message = await self._websocket.receive()
            arrived = time.perf_counter()
            if message["type"] == "websocket.disconnect":
                return int(message.get("code") or 1005)
            if not self._messages.take():
                raise ProtocolError("Too many messages a second.", "too_many_messages")
            data: Message | None = message.get("bytes")
            if data is None:
                data = message.get("text") or ""
            self._front.metrics.received(len(data))
            try:
                wanted = self._codec.receive(data)
                for command in wanted:
                    if isinstance(command, commands.Close):
                        return CLEAN
                    await self._do(command, arrived)
            except VoiceProcessingError as error:
                if error.context.get("fatal") or self._session.ended is not None:
                    raise
                self._session.outbox.put(Failed(error.error_code, error.message))

    async def _do(self, command: commands.Command, arrived: float) -> None:
        session = self._session
        if isinstance(command, commands.Audio):
            await session.hear(command.chunk, arrived)
        elif isinstance(command, commands.Configure):
            if command.sample_rate is not None:
                session.set_rate(command.sample_rate)
            session.outbox.put(session.ready(resume_seconds=self._resume_seconds))
        elif isinstance(command, commands.Ping):
            session.outbox.put(Pong(command.id))
        else:
            await self._front.control.do(session, command)

    @property
    def _resume_seconds(self) -> float:
        return self._front.settings.resume_seconds if self._resumable else 0.0

    # ---- out --------------------------------------------------------------------------

    async def _write(self, resumed: bool) -> None:
        session = self._session
        await self._send(session.ready(resumed=resumed, resume_seconds=self._resume_seconds))
        self._known = True
        async for output in session.outputs():
            try:
                await self._send(output)
            except BaseException:  # cancelled, too
                session.outbox.put_back(output)
                raise
            if isinstance(output, AgentAudio):
                self._front.metrics.sent_frame(output.heard.frame, time.perf_counter())
            elif isinstance(output, Ended):
                return

    async def _send(self, output: Output) -> None:
        await send_all(self._websocket, self._codec, output)

    async def _close(self, code: int) -> None:
        await close(self._websocket, code)


def _is_gone(writer: asyncio.Task[None]) -> bool:
    """Whether writing failed because the client has shut the socket."""
    if not writer.done() or writer.cancelled():
        return False
    return isinstance(writer.exception(), WebSocketDisconnect)


def _has_left(reader: asyncio.Task[int]) -> bool:
    """Whether the client itself has closed, or broke a rule; not the server that goes down."""
    if not reader.done() or reader.cancelled():
        return False
    return reader.exception() is not None or reader.result() != RESTART


async def until_gone(websocket: WebSocket, front: Front) -> None:
    """Read what means nothing here, until the client goes. Raises ProtocolError for a flood."""
    messages = message_rate(front)
    while (await websocket.receive())["type"] != "websocket.disconnect":
        if not messages.take():
            raise ProtocolError("Too many messages a second.", "too_many_messages")


def message_rate(front: Front) -> RateLimit:
    """Give the limit of what one client may send."""
    rate = front.settings.messages_per_second
    return RateLimit(rate, 2 * rate)


async def send_all(websocket: WebSocket, codec: Codec, output: Output) -> None:
    """Send an output as the codec puts it."""
    for message in codec.send(output):
        if isinstance(message, str):
            await websocket.send_text(message)
        else:
            await websocket.send_bytes(message)


async def close(websocket: WebSocket, code: int) -> None:
    """Close the WebSocket if it is open still, without waiting for one who reads nothing."""
    if websocket.application_state is not WebSocketState.CONNECTED:
        return
    with suppress(TimeoutError, WebSocketDisconnect, RuntimeError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await websocket.close(code)


async def refuse(websocket: WebSocket, codec: Codec, error: VoiceProcessingError) -> None:
    """Tell a connected client why there is no conversation for it, and close."""
    refused(error.error_code)
    await end_with(websocket, codec, error)


async def end_with(websocket: WebSocket, codec: Codec, error: VoiceProcessingError) -> None:
    """Tell a client why it cannot go on, and close."""
    retry = error.context.get("retry_after")
    failure = Failed(
        error.error_code,
        error.message,
        fatal=True,
        retry_after=retry if isinstance(retry, int) else None,
    )
    with suppress(TimeoutError, WebSocketDisconnect):
        async with asyncio.timeout(CLOSE_SECONDS):
            await send_all(websocket, codec, failure)
    await close(websocket, CLOSE_CODES.get(error.error_code, POLICY))
