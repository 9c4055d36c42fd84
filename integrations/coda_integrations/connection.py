"""One client of an edge on its WebSocket: read, speak and write side by side, until one ends."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Iterable
from contextlib import aclosing, suppress

from fastapi import WebSocket, WebSocketDisconnect

from coda_integrations.line import Line
from coda_integrations.outbox import Outbox, OutboxFull
from coda_voice.errors import AccessError, ConversationError, ProtocolError, VoiceProcessingError
from coda_voice.heard import Heard
from coda_voice.server import outputs
from coda_voice.server.limits import RateLimit

ENDED, POLICY, FAILED, TRY_AGAIN = 1000, 1008, 1011, 1013
"""Close codes (RFC 6455, section 7.4.1; 1013: its registry)."""
LAST_WORDS_SECONDS = 2.0
"""For a client to take what was sent before the close, and the close itself."""


class ServedLine(Line):
    """A line of a host that limits how many messages its client may send, and counts."""

    messages: RateLimit

    @abstractmethod
    def received(self, size: int) -> None:
        """Count a message of the client's, of ``size`` bytes or characters."""

    @abstractmethod
    def sent(self, frame: Heard) -> None:
        """Note that the sound of a frame was sent just now."""

    @abstractmethod
    def lost(self, frames: int) -> None:
        """Count frames that the client was too slow to read."""

    @abstractmethod
    def untold(self, messages: int) -> None:
        """Count messages that are no sound, and that the client had not read by the end."""

    @abstractmethod
    def too_slow(self) -> None:
        """End the conversation, soon: the client has been too slow for too long."""


class EdgeConnection(ABC):
    """Serves one client; a protocol says what messages and frames mean."""

    def __init__(self, websocket: WebSocket, line: Line) -> None:
        self.line = line
        self._socket = websocket
        self._outbox = Outbox()
        self._over = asyncio.Event()
        self._code = ENDED
        self._served = line if isinstance(line, ServedLine) else None
        self._frame: Heard | None = None
        """The agent's frame of this moment."""

    @abstractmethod
    def received(self, message: str | bytes) -> None:
        """Take a message of the client's."""

    @abstractmethod
    def heard(self, heard: Heard) -> None:
        """Take the agent's next frame."""

    @abstractmethod
    def failed(self, error: VoiceProcessingError) -> None:
        """Tell the client that the conversation cannot go on."""

    def thoughts(self) -> Iterable[asyncio.Task[None]]:
        """Give the tasks that must not outlive the connection."""
        return ()

    def send(self, message: str, *, sound: bool = False, behind_sound: bool = False) -> None:
        """Send a message, when the client reads; one that does not read is let go.

        ``sound``: it is the agent's voice, of which a slow reader loses the oldest;
        ``behind_sound``: it tells of the sound before it, and is lost with that.
        """
        try:
            frame = self._frame if sound else None
            lost = self._outbox.put(message, frame, behind_sound=behind_sound)
        except OutboxFull:
            self.end(POLICY)
            return
        if lost:
            self._too_slow(lost)

    def _too_slow(self, lost: int) -> None:
        if self._served is not None:
            self._served.lost(lost)
        if self._outbox.behind_seconds <= outputs.SLOW_SECONDS or self._over.is_set():
            return
        late = self._outbox.drop_sound()  # and the reason for the end would come later
        if self._served is not None:
            self._served.lost(late)
            self._served.too_slow()
        else:
            self.end(POLICY)
            told = outputs.slow_reader()
            self.failed(ConversationError(told.message, told.code))

    def end(self, code: int = ENDED) -> None:
        """Close the connection after what is waiting."""
        self._code = code
        self._over.set()

    async def run(self, *until: Coroutine[object, object, None]) -> None:
        """Serve the client until it has gone or all is over. Raises only what is a fault.

        ``until``: what else ends it, by its return or by a VoiceProcessingError.
        """
        parts = [
            self._part("read", self._read()),
            self._part("speak", self._speak()),
            self._part("end", self._ended()),
            *(self._part("until", other) for other in until),
        ]
        writing = self._part("write", self._write())
        gone = False
        try:
            done, _ = await asyncio.wait([*parts, writing], return_when=asyncio.FIRST_COMPLETED)
            gone = writing in done or (parts[0] in done and parts[0].exception() is None)
            for part in done:
                part.result()
        except VoiceProcessingError as error:
            self._code = close_code_of(error)
            self.failed(error)
        finally:
            others = [*parts, *self.thoughts()]
            for part in others:
                part.cancel()
            await asyncio.wait(others)
            self._outbox.close()
            await asyncio.wait([writing], timeout=LAST_WORDS_SECONDS)
            writing.cancel()
            await asyncio.wait([writing])
            if not gone and self._served is not None:
                self._served.lost(self._outbox.drop_sound())
                self._served.untold(len(self._outbox))
        await close(self._socket, self._code)

    def _part(self, name: str, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        return asyncio.create_task(work, name=f"{type(self).__name__} {name}")

    async def _ended(self) -> None:
        await self._over.wait()

    async def _read(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            data = text if text is not None else message["bytes"]
            if self._served is not None:
                if not self._served.messages.take():
                    raise ProtocolError(
                        "Too many messages a second.", "too_many_messages", close_code=POLICY
                    )
                self._served.received(len(data))
            self.received(data)

    async def _write(self) -> None:
        told: Heard | None = None
        async for waiting in self._outbox:
            try:
                await self._socket.send_text(waiting.message)
            except (WebSocketDisconnect, RuntimeError):
                return  # the client has gone
            except asyncio.CancelledError:
                self._outbox.put_back(waiting)
                raise
            if waiting.frame is not None and waiting.frame is not told:
                told = waiting.frame  # several messages may be due with one frame
                if self._served is not None:
                    self._served.sent(told)

    async def _speak(self) -> None:
        async with aclosing(self.line.frames()) as frames:
            async for heard in frames:
                self._frame = heard
                self.heard(heard)


def close_code_of(error: VoiceProcessingError) -> int:
    """Give the ``close_code`` of its context; what says nothing of it is a fault of the server."""
    code = error.context.get("close_code")
    return code if isinstance(code, int) else FAILED


def refusal_code_of(error: VoiceProcessingError) -> int:
    """Give the close code for somebody who was not let in: a rule of theirs, or no place now."""
    return POLICY if isinstance(error, AccessError) else TRY_AGAIN


async def close(websocket: WebSocket, code: int) -> None:
    """Close a socket, if it is still there, without waiting for one who reads nothing."""
    with suppress(TimeoutError, WebSocketDisconnect, RuntimeError):  # or the client has closed
        async with asyncio.timeout(LAST_WORDS_SECONDS):
            await websocket.close(code)


async def tell_and_close(websocket: WebSocket, message: str, code: int) -> None:
    """Send a last message and close, if the client is still there."""
    try:
        await websocket.send_text(message)
    except (WebSocketDisconnect, RuntimeError):
        return  # it was the client who closed
    await close(websocket, code)
