"""Asterisk calls by AudioSocket, on a TCP port of its own.

    exten => 100,1,Answer()
     same => n,AudioSocket(40325ec2-5efd-4bd3-805f-53576e581d13,127.0.0.1:9092)

AudioSocket has no passwords: listen on a loopback address, or let ``known`` decide by the
call's UUID, which the dialplan and you agree on.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack, aclosing, suppress
from types import TracebackType
from typing import Self

from coda_integrations.connection import LAST_WORDS_SECONDS, ServedLine
from coda_integrations.host import EdgeHost, voice_of
from coda_integrations.line import CALL_BACKLOG_SECONDS, Line
from coda_integrations.telephony.audiosocket_codec import (
    Audio,
    AudioSocketError,
    AudioSocketReader,
    CallId,
    Dtmf,
    Failure,
    Hangup,
    Message,
    audio,
    hangup,
)
from coda_integrations.telephony.silence import end_of_silent_call
from coda_integrations.wire_audio import FromWire, WireFormat
from coda_voice.errors import VoiceProcessingError
from coda_voice.server.refusal_log import refused

logger = logging.getLogger(__name__)

DEFAULT_PORT = 9092
EDGE = "audiosocket"
"""Where a client was refused, as the log has it: the other edges are paths."""
ID_SECONDS = 5.0
"""The id comes first, and at once."""
LINE_RATE = 8_000
_UNSENT_BYTES = 64_000
"""Four seconds of sound that Asterisk has not read: it is gone."""
_SEND_BUFFER_BYTES = 32_768
"""Of a call in the kernel, which would otherwise take minutes of sound from us unread."""
_UNACKNOWLEDGED_MS = 20_000
"""A call whose sound nobody acknowledges is gone after so long."""


class AudioSocketServer:
    """Listens while it is entered; every connection is a call, and a conversation."""

    def __init__(
        self,
        host: EdgeHost,
        address: str = "127.0.0.1",
        port: int = DEFAULT_PORT,
        *,
        known: Callable[[uuid.UUID], bool] = lambda call_id: True,
    ) -> None:
        self._host = host
        self._address = address
        self._known = known
        self.port = port
        """0 takes a free one; the one taken once it listens."""
        self._server: asyncio.Server | None = None
        self._calls: set[asyncio.Task[None]] = set()
        self._served: set[asyncio.Task[None]] = set()
        """Those of them that are not being hung up yet."""
        self._closing = False

    async def __aenter__(self) -> Self:
        """Listen."""
        self._closing = False
        self._server = await asyncio.start_server(self._accept, self._address, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Hang up everywhere; Asterisk has two seconds to take that."""
        self._closing = True
        if self._server is not None:
            self._server.close()
        for call in self._served:
            call.cancel()
        if self._calls:
            await asyncio.wait(set(self._calls))
        if self._server is not None:
            await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        address = _address(writer)
        with self._host.asked_by(EDGE, address), self._host.connection(address) as wait:
            if wait is not None:
                refused("too_many_connections")
                writer.transport.abort()  # a hangup would have to be waited for
                return
            await self._answer(reader, writer, address)

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str
    ) -> None:
        """Serve a call, and hang up."""
        task = asyncio.current_task()
        assert task is not None
        self._served.add(task)
        try:
            _bound(writer)
            if not self._closing:  # or it was accepted in the last moment
                await self._serve(reader, writer)
        except asyncio.CancelledError:
            task.uncancel()  # it was we who asked, and there is still something to say
        except (AudioSocketError, VoiceProcessingError, OSError) as error:
            why = error or type(error).__name__
            logger.warning("an AudioSocket call from %s ended: %s", address, why)
        finally:
            self._served.discard(task)
            await _hang_up(reader, writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        messages = AudioSocketReader()
        first = await _first(reader, messages)
        if not first:
            return
        if not isinstance(first[0], CallId):
            refused("call_id_missing")
            return
        if not self._known(first[0].call_id):
            refused("call_id_unknown")
            return
        guest = self._host.trusted(f"asterisk:{first[0].call_id}")
        async with AsyncExitStack() as held:
            try:
                line = await held.enter_async_context(self._host.line(guest))
            except VoiceProcessingError:  # every slot taken, draining: the host has noted it
                return
            call = _Call(line, writer)
            if not all(call.message(message) for message in first[1:]):
                return
            parts = (
                asyncio.create_task(call.speak(), name="audiosocket speak"),
                asyncio.create_task(call.read(reader, messages), name="audiosocket read"),
                asyncio.create_task(end_of_silent_call(line, self._host), name="audiosocket until"),
            )
            try:
                done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
                for part in done:
                    part.result()
            finally:
                for part in parts:
                    part.cancel()
                await asyncio.gather(*parts, return_exceptions=True)


async def _first(reader: asyncio.StreamReader, messages: AudioSocketReader) -> list[Message]:
    """Give what comes first, and at once; nothing where it is refused for that, or has gone."""
    first: list[Message] = []
    try:
        with suppress(ConnectionError):
            async with asyncio.timeout(ID_SECONDS):
                while not first and (data := await reader.read(4_096)):
                    first = messages.feed(data)
    except (TimeoutError, AudioSocketError):
        refused("call_id_missing")
    return first


def _address(writer: asyncio.StreamWriter) -> str:
    peer = writer.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) else ""


def _bound(writer: asyncio.StreamWriter) -> None:
    """Have the kernel hold little for one who does not read, and give up one who is gone."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MS)


async def _hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say that the call is over, let Asterisk close, and close; who does not is not waited for.

    What it still sends is read away: a socket closed with unread sound is reset, and the message
    may be lost with it.
    """
    try:
        with suppress(TimeoutError, OSError):  # it may be gone, and may be reset meanwhile
            writer.write(hangup())
            writer.write_eof()
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                while await reader.read(65_536):
                    pass
    finally:
        writer.transport.abort()


class _Call:
    def __init__(self, line: Line, writer: asyncio.StreamWriter) -> None:
        self._line = line
        line.backlog_seconds = CALL_BACKLOG_SECONDS
        self._served = line if isinstance(line, ServedLine) else None
        self._writer = writer
        self._voice = voice_of(line.conversation)
        self._from_wire = FromWire(WireFormat("int16", LINE_RATE))
        self._outlet = WireFormat("int16", LINE_RATE).outlet()

    async def read(self, reader: asyncio.StreamReader, messages: AudioSocketReader) -> None:
        """Hear the caller until the call is over."""
        while data := await reader.read(4_096):
            if self._served is not None:
                self._served.received(len(data))
            for message in messages.feed(data):
                if not self.message(message):
                    return

    def message(self, message: Message) -> bool:
        """Take a message; False when the call is over."""
        match message:
            case Audio(sample_rate, sound):
                if sample_rate != self._from_wire.wire.sample_rate:
                    self._from_wire = FromWire(WireFormat("int16", sample_rate))
                pcm = self._from_wire.process(sound)
                if len(pcm):
                    self._line.put(pcm)
            case Dtmf("*"):
                self._voice.hush()
            case Hangup():
                return False
            case Failure(code):
                logger.warning("Asterisk gave an AudioSocket call up: error %s", code[:8].hex())
                return False
            case _:
                pass
        return True

    async def speak(self) -> None:
        """Play every frame, silence too: Asterisk takes two seconds of nothing for the end."""
        async with aclosing(self._line.frames()) as frames:
            async for heard in frames:
                # One frame for each that was heard, so nothing piles up that could not be stopped.
                if self._writer.transport.get_write_buffer_size() > _UNSENT_BYTES:
                    self._line.end_reason = "slow_reader"
                    raise AudioSocketError("Asterisk does not read")
                self._writer.write(audio(self._outlet.push(heard.frame.pcm), LINE_RATE))
                if self._served is not None:
                    self._served.sent(heard)
