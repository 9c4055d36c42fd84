"""How the probe talks to a server: one link for each protocol, frames in and sound out."""

from __future__ import annotations

import base64
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import Literal

import numpy as np
import sphn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from coda_voice.audio.pcm import decode_samples, encode_samples
from coda_voice.errors import MoshiConnectionError, SlotsFullError
from coda_voice.moshi.frames import SAMPLE_RATE, Pcm
from coda_voice.remote import STREAM_PATH, RemoteConversation, RemoteFrame, refused, websocket_url

ProtocolName = Literal["v1-stream", "moshi", "kyutai", "realtime"]
OPEN_SECONDS = 15.0


class Link(ABC):
    """A conversation by one protocol. ``aligned``: frame n out belongs to frame n in."""

    aligned: bool = True

    @abstractmethod
    async def open(self) -> None:
        """Connect until sound is taken. Raises MoshiConnectionError or SlotsFullError."""

    @abstractmethod
    async def send(self, pcm: Pcm) -> None:
        """Send 80 ms of sound, 24 kHz."""

    @abstractmethod
    def sound(self) -> AsyncIterator[Pcm]:
        """Give the agent's sound as it comes, 24 kHz."""

    @abstractmethod
    async def close(self) -> None:
        """End the conversation."""


class StreamLink(Link):
    """Our own protocol, ``/v1/stream``."""

    def __init__(self, address: str, token: str | None) -> None:
        self._conversation = RemoteConversation(address, token)

    async def open(self) -> None:
        """See ``Link.open``."""
        await self._conversation.__aenter__()

    async def send(self, pcm: Pcm) -> None:
        """See ``Link.send``."""
        await self._conversation.send(pcm)

    async def sound(self) -> AsyncIterator[Pcm]:
        """See ``Link.sound``."""
        async for message in self._conversation.messages():
            if isinstance(message, RemoteFrame):
                yield message.pcm

    async def close(self) -> None:
        """See ``Link.close``."""
        await self._conversation.close()


class _SocketLink(Link):
    path = STREAM_PATH

    def __init__(self, address: str, token: str | None) -> None:
        self._url = websocket_url(address, self.path)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._socket: ClientConnection | None = None

    async def open(self) -> None:
        """Connect, and wait for what says that the conversation has begun."""
        try:
            self._socket = await connect(
                self._url,
                additional_headers=self._headers,
                max_size=None,
                open_timeout=OPEN_SECONDS,
                compression=None,
            )
            await self._begin()
        except InvalidStatus as error:
            raise refused(error.response, "The server") from error
        except (OSError, InvalidHandshake, TimeoutError) as error:
            raise MoshiConnectionError(
                f"The server cannot be reached: {error or type(error).__name__}."
            ) from error
        except ConnectionClosed as error:
            code = error.rcvd.code if error.rcvd is not None else None
            if code == 1013:
                raise SlotsFullError("The server takes no more (1013).") from error
            raise MoshiConnectionError(f"The server closed at once ({code}).") from error

    @property
    def socket(self) -> ClientConnection:
        """The open connection."""
        if self._socket is None:
            raise MoshiConnectionError("The connection is not open.")
        return self._socket

    @abstractmethod
    async def _begin(self) -> None: ...

    async def _put(self, message: str | bytes) -> None:
        try:
            await self.socket.send(message)
        except ConnectionClosed as error:
            raise MoshiConnectionError("The server closed the connection.") from error

    async def _messages(self) -> AsyncIterator[str | bytes]:
        try:
            async for message in self.socket:
                yield message
        except ConnectionClosed as error:
            raise MoshiConnectionError("The server closed the connection.") from error

    async def close(self) -> None:
        """See ``Link.close``."""
        if self._socket is not None:
            try:
                await self._socket.close()
            finally:
                self._socket.transport.abort()  # where the leave-taking was cut short


class MoshiLink(_SocketLink):
    """The speech-to-speech protocol, ``/moshi``: a JSON ``config``, then int16."""

    path = "/moshi"

    async def _begin(self) -> None:
        await self.socket.send(json.dumps({"type": "config", "sample_rate": SAMPLE_RATE}))
        while True:
            message = await self.socket.recv()
            fields = json.loads(message) if isinstance(message, str) else {}
            if fields.get("type") == "ready":
                return
            if fields.get("type") == "error":
                raise SlotsFullError(str(fields.get("message")))

    async def send(self, pcm: Pcm) -> None:
        """See ``Link.send``."""
        await self._put(encode_samples(pcm, "int16"))

    async def sound(self) -> AsyncIterator[Pcm]:
        """See ``Link.sound``."""
        async for message in self._messages():
            if isinstance(message, bytes):
                yield decode_samples(message, "int16")


class KyutaiLink(_SocketLink):
    """Kyutai's protocol, ``/api/chat``: Ogg/Opus behind a byte that says the kind."""

    path = "/api/chat"

    def __init__(self, address: str, token: str | None) -> None:
        super().__init__(address, token)
        self._writer = sphn.OpusStreamWriter(SAMPLE_RATE)
        self._reader = sphn.OpusStreamReader(SAMPLE_RATE)

    async def _begin(self) -> None:
        while True:
            message = await self.socket.recv()
            if isinstance(message, bytes) and message[:1] == b"\x00":
                return

    async def send(self, pcm: Pcm) -> None:
        """See ``Link.send``."""
        data = self._writer.append_pcm(pcm)
        if data:
            await self._put(b"\x01" + data)

    async def sound(self) -> AsyncIterator[Pcm]:
        """See ``Link.sound``."""
        async for message in self._messages():
            if isinstance(message, bytes) and message[:1] == b"\x01":
                pcm = np.asarray(self._reader.append_bytes(message[1:]), dtype=np.float32)
                if len(pcm):
                    yield pcm


class RealtimeLink(_SocketLink):
    """OpenAI Realtime, ``/v1/realtime``: sound comes only while a response lasts."""

    path = "/v1/realtime"
    aligned = False

    async def _begin(self) -> None:
        while True:
            fields = json.loads(await self.socket.recv())
            if fields.get("type") == "session.created":
                return
            if fields.get("type") == "error":
                raise SlotsFullError(str(fields["error"].get("message")))

    async def send(self, pcm: Pcm) -> None:
        """See ``Link.send``."""
        audio = base64.b64encode(encode_samples(pcm, "int16")).decode("ascii")
        await self._put(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))

    async def sound(self) -> AsyncIterator[Pcm]:
        """See ``Link.sound``."""
        async for message in self._messages():
            fields = json.loads(message)
            if fields.get("type") == "response.output_audio.delta":
                yield decode_samples(base64.b64decode(fields["delta"]), "int16")


def link_to(protocol: ProtocolName, address: str, token: str | None) -> Link:
    """Make a link; nothing is connected yet. Raises ConfigurationError for a bad address."""
    match protocol:
        case "v1-stream":
            return StreamLink(address, token)
        case "moshi":
            return MoshiLink(address, token)
        case "kyutai":
            return KyutaiLink(address, token)
        case "realtime":
            return RealtimeLink(address, token)
