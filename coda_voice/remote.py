"""A conversation held by another server of ours, over ``/v1/stream`` (docs/reference/protocols.md).

Sound is mono float32 at 24 kHz, in frames of 1920 samples, as everywhere here.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidStatus,
    InvalidURI,
    WebSocketException,
)
from websockets.http11 import Response

from coda_voice.audio.pcm import decode_samples, encode_samples
from coda_voice.errors import ConfigurationError, MoshiConnectionError, SlotsFullError
from coda_voice.moshi.frames import FRAME_SAMPLES, Pcm

STREAM_PATH = "/v1/stream"
MAX_MESSAGE_BYTES = 1024 * 1024
CONNECT_SECONDS = 10.0
_FULL = ("slots_full", "too_many_conversations")
_ADVICE = {
    401: "it wants a token or a key.",
    403: "the token may not, or the origin is not allowed.",
    404: "it does not speak this protocol at this path.",
    429: "it takes no more conversations now; try again later.",
    503: "it takes no more conversations now; try again later.",
}


@dataclass(frozen=True, slots=True)
class RemoteFrame:
    """80 ms of the agent."""

    pcm: Pcm


@dataclass(frozen=True, slots=True)
class RemoteMessage:
    """Everything else the server says: ``fields`` as in the protocol."""

    type: str
    fields: Mapping[str, object]

    def text(self, name: str) -> str:
        """Give a field as text; empty where there is none."""
        value = self.fields.get(name)
        return value if isinstance(value, str) else ""

    def number(self, name: str) -> float:
        """Give a field as a number; 0 where there is none."""
        value = self.fields.get(name)
        return float(value) if isinstance(value, (int, float)) else 0.0

    @property
    def event_id(self) -> int:
        """The id of the event that it tells of; 0 where it tells of none."""
        event = self.fields.get("event")
        told = event.get("id") if isinstance(event, dict) else self.fields.get("event_id")
        return told if isinstance(told, int) else 0


def decode(message: str | bytes) -> RemoteFrame | RemoteMessage:
    """Read a message of the server. Raises MoshiConnectionError and nothing else."""
    if isinstance(message, bytes):
        if len(message) % 2:
            raise MoshiConnectionError(
                "The server sent sound of half a sample; is it one of ours?", "bad_answer"
            )
        return RemoteFrame(decode_samples(message, "int16"))
    try:
        fields = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise MoshiConnectionError(
            "The server's message is no JSON; is it one of ours?", "bad_answer"
        ) from error
    if not isinstance(fields, dict) or not isinstance(fields.get("type"), str):
        raise MoshiConnectionError(
            "The server's message has no type; is it one of ours?", "bad_answer"
        )
    return RemoteMessage(fields["type"], fields)


def websocket_url(address: str, path: str, query: Mapping[str, str] | None = None) -> str:
    """Give the WebSocket URL of an address: http becomes ws, ``path`` holds where there is none.

    The address's own query is kept. Raises ConfigurationError.
    """
    parts = urlsplit(address if "://" in address else f"ws://{address}")
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss") or not parts.hostname:
        raise ConfigurationError(
            f"{address!r} is no address of a voice server; write wss://HOST or ws://HOST:PORT.",
            "bad_endpoint",
        )
    own = dict(parse_qsl(parts.query))
    return urlunsplit(
        (
            scheme,
            parts.netloc,
            path if parts.path in ("", "/") else parts.path,
            urlencode({**own, **(query or {})}),
            "",
        )
    )


class RemoteConversation:
    """One conversation on the other server, open while it is entered.

    ``on_position`` hears the place in the line while every slot is taken, where the query asks
    to ``wait``.
    """

    def __init__(
        self,
        endpoint: str,
        token: str | None = None,
        query: Mapping[str, str] | None = None,
        on_position: Callable[[int], None] | None = None,
    ) -> None:
        self._endpoint, self._query = endpoint, dict(query or {})
        self._url = websocket_url(endpoint, STREAM_PATH, query)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._on_position = on_position
        self._socket: ClientConnection | None = None
        self.ready: RemoteMessage | None = None
        """The server's description of the conversation."""
        self._told: int | None = None
        """The last event that the server told, by its id."""

    async def __aenter__(self) -> Self:
        """Connect, and wait until the conversation takes audio.

        Raises MoshiConnectionError, SlotsFullError where the server has no room.
        """
        await self._connect(self._url)
        return self

    async def resume(self) -> None:
        """Take the conversation up again after its connection was lost.

        The server keeps it for ``resume_seconds`` of ``ready``. Raises MoshiConnectionError, also
        where the server no longer has it (code ``resume_unknown``).
        """
        token = self.ready.text("resume_token") if self.ready is not None else ""
        if not token:
            raise MoshiConnectionError("There is no conversation to take up again.", "closed")
        await self.close()
        query = {**self._query, "resume": token}
        if self._told is not None:
            query["after"] = str(self._told)  # what was on its way when the line died comes again
        await self._connect(websocket_url(self._endpoint, STREAM_PATH, query))

    async def _connect(self, url: str) -> None:
        try:
            self._socket = await connect(
                url,
                additional_headers=self._headers,
                max_size=MAX_MESSAGE_BYTES,
                open_timeout=CONNECT_SECONDS,
                compression=None,
            )
            async for message in self.messages():
                if not isinstance(message, RemoteMessage):
                    continue
                if message.text("status") == "ready":
                    self.ready = message
                    return
                if message.text("status") == "waiting" and self._on_position is not None:
                    self._on_position(int(message.number("position")))
        except InvalidStatus as error:
            raise refused(error.response, f"The voice server at {_shown(url)}") from error
        except (OSError, InvalidHandshake, InvalidURI, TimeoutError) as error:
            raise MoshiConnectionError(
                f"The voice server at {_shown(url)} cannot be reached "
                f"({error or type(error).__name__}); check the endpoint, and whether it runs.",
                "unreachable",
            ) from error
        except BaseException:
            await self.close()
            raise
        await self.close()
        raise MoshiConnectionError("The server closed before the conversation began.", "closed")

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the conversation."""
        await self.close()

    async def close(self) -> None:
        """End the conversation and the connection."""
        socket, self._socket = self._socket, None
        if socket is not None:
            try:
                await socket.close()
            finally:
                socket.transport.abort()  # where the leave-taking was cut short; else it is closed

    async def send(self, pcm: Pcm) -> None:
        """Send a frame of the user. Raises MoshiConnectionError."""
        await self._send(encode_samples(pcm, "int16"))

    async def tell(self, kind: str, **fields: object) -> None:
        """Send a JSON message. Raises MoshiConnectionError."""
        await self._send(json.dumps({"type": kind, **fields}))

    async def _send(self, message: str | bytes) -> None:
        try:
            await self._open.send(message)
        except ConnectionClosed as error:
            raise _lost(error) from error

    @property
    def _open(self) -> ClientConnection:
        if self._socket is None:
            raise MoshiConnectionError("The connection is not open.", "closed")
        return self._socket

    async def messages(self) -> AsyncIterator[RemoteFrame | RemoteMessage]:
        """Give what the server says until it closes.

        Raises SlotsFullError or MoshiConnectionError for a fatal error of the server's, and
        MoshiConnectionError for a connection that is lost.
        """
        try:
            async for raw in self._open:
                message = decode(raw)
                if isinstance(message, RemoteMessage):
                    self._told = message.event_id or self._told
                    if message.type == "error":
                        _raise_if_fatal(message)
                yield message
        except ConnectionClosed as error:
            raise _lost(error) from error
        except WebSocketException as error:
            raise MoshiConnectionError(
                f"The voice server broke its protocol: {error}.", "bad_answer"
            ) from error


def frames_of(pcm: Pcm) -> list[Pcm]:
    """Cut sound into whole frames; the rest is dropped."""
    count = len(pcm) // FRAME_SAMPLES
    return [pcm[n * FRAME_SAMPLES : (n + 1) * FRAME_SAMPLES] for n in range(count)]


def _raise_if_fatal(message: RemoteMessage) -> None:
    if message.fields.get("fatal") is not True:
        return
    code, said = message.text("code") or "failed", message.text("message") or "no reason given"
    if code in _FULL:
        raise SlotsFullError(said, code, retry_after=message.number("retry_after"))
    raise MoshiConnectionError(f"The voice server ended the conversation: {said}", code)


def refused(answer: Response, who: str) -> MoshiConnectionError | SlotsFullError:
    """Give the error that a refused handshake stands for, with what the server says of it."""
    status = answer.status_code
    try:
        told = json.loads(answer.body or b"")["error"]
        code, said = str(told["code"]), str(told["message"])
    except (ValueError, TypeError, LookupError):  # not ours, or something between us and it
        code = "slots_full" if status in (429, 503) else f"http_{status}"
        said = _ADVICE.get(status, "is it one of ours?")
    text = f"{who} refused the connection ({status}): {said}"
    full = code in _FULL or status == 429
    return SlotsFullError(text, code) if full else MoshiConnectionError(text, code)


def _lost(error: ConnectionClosed) -> MoshiConnectionError:
    code = error.rcvd.code if error.rcvd is not None else None
    why = (error.rcvd.reason if error.rcvd is not None else "") or f"code {code or 'none'}"
    return MoshiConnectionError(
        f"The connection to the voice server was lost ({why}); start a new conversation.", "lost"
    )


def _shown(url: str) -> str:
    """Give the address without its query, which may hold what is nobody's business."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"
