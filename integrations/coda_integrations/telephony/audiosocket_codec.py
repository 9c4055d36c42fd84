"""Asterisk's AudioSocket: a stream of bytes cut into messages, and messages into bytes.

Each message is a kind (1 byte), a length (2 bytes, big-endian) and so many bytes. Source:
Asterisk's res_audiosocket.c. Asterisk hangs up on any other kind from us, and on length 0.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

_HEADER = 3
HANGUP, ID, DTMF, AUDIO, ERROR = 0x00, 0x01, 0x03, 0x10, 0xFF
AUDIO_RATES: Mapping[int, int] = {
    0x10: 8_000,
    0x11: 12_000,
    0x12: 16_000,
    0x13: 24_000,
    0x14: 32_000,
    0x15: 44_100,
    0x16: 48_000,
    0x17: 96_000,
    0x18: 192_000,
}
"""Hz of each kind of audio: signed 16-bit, little-endian, mono."""
MAX_PAYLOAD = 0xFFFF


class AudioSocketError(Exception):
    """Bytes that are no AudioSocket."""


@dataclass(frozen=True, slots=True)
class CallId:
    """Which call this is: the UUID of the dialplan."""

    call_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class Audio:
    """Sound of the caller."""

    sample_rate: int
    sound: bytes


@dataclass(frozen=True, slots=True)
class Dtmf:
    """A key was pressed."""

    digit: str


@dataclass(frozen=True, slots=True)
class Hangup:
    """The caller has hung up."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Asterisk reports an error; ``code`` is its bits."""

    code: bytes


Message = CallId | Audio | Dtmf | Hangup | Failure


class AudioSocketReader:
    """Takes the bytes of a connection in any pieces, gives its messages."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Add bytes; give the messages they complete. Raises AudioSocketError.

        Holds at most one incomplete message (64 KiB) beside what is fed.
        """
        self._bytes += data
        messages: list[Message] = []
        begin = 0
        while len(self._bytes) - begin >= _HEADER:
            kind = self._bytes[begin]
            length = int.from_bytes(self._bytes[begin + 1 : begin + _HEADER], "big")
            end = begin + _HEADER + length
            if kind not in AUDIO_RATES and kind not in (HANGUP, ID, DTMF, ERROR):
                raise AudioSocketError(f"a message of unknown kind 0x{kind:02x}")
            if len(self._bytes) < end:
                break
            messages.append(_message(kind, bytes(self._bytes[begin + _HEADER : end])))
            begin = end
        del self._bytes[:begin]
        return messages


def _message(kind: int, payload: bytes) -> Message:
    if kind in AUDIO_RATES:
        return Audio(AUDIO_RATES[kind], payload)
    if kind == HANGUP:
        return Hangup()
    if kind == ID:
        if len(payload) != 16:
            raise AudioSocketError(f"an id of {len(payload)} bytes")
        return CallId(uuid.UUID(bytes=payload))
    if kind == DTMF:
        return Dtmf(payload[:1].decode("ascii", "replace"))
    return Failure(payload)


def audio(sound: bytes, sample_rate: int = 8_000) -> bytes:
    """Write sound, in messages of 20 ms. Raises AudioSocketError for a rate without a kind."""
    kind = next((k for k, rate in AUDIO_RATES.items() if rate == sample_rate), None)
    if kind is None:
        raise AudioSocketError(f"no kind of audio has {sample_rate} Hz")
    step = sample_rate // 50 * 2
    pieces = [sound[begin : begin + step] for begin in range(0, len(sound), step)]
    return b"".join(bytes((kind,)) + len(p).to_bytes(2, "big") + p for p in pieces)


def hangup() -> bytes:
    """Write that we hang up."""
    return bytes((HANGUP, 0, 0))
