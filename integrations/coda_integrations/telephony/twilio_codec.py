"""Twilio Media Streams messages, both ways. Pure: text in, typed messages out.

Source: Twilio's documentation, "Media Streams: WebSocket messages". Sound is µ-law, 8 kHz.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from coda_voice.json_text import read_json

MAX_MESSAGE_BYTES = 1024 * 1024


class TwilioProtocolError(Exception):
    """A message that is none of Twilio's."""


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


class Connected(_Message):
    """The first message of all."""

    event: Literal["connected"]


class _StartDetails(_Message):
    stream_sid: str = Field(alias="streamSid")
    account_sid: str = Field(default="", alias="accountSid")
    call_sid: str = Field(default="", alias="callSid")
    custom_parameters: dict[str, str] = Field(default={}, alias="customParameters")


class Start(_Message):
    """The call's media begins; its ids, and the parameters of the TwiML."""

    event: Literal["start"]
    start: _StartDetails


class _MediaDetails(_Message):
    payload: str
    track: str = "inbound"


class Media(_Message):
    """Sound of the caller."""

    event: Literal["media"]
    media: _MediaDetails

    def sound(self) -> bytes:
        """Give the µ-law bytes; empty for the other direction's. Raises TwilioProtocolError."""
        if self.media.track not in ("inbound", "inbound_track"):
            return b""
        try:
            return base64.b64decode(self.media.payload, validate=True)
        except (binascii.Error, ValueError) as error:
            raise TwilioProtocolError("media.payload is no base64") from error


class _MarkDetails(_Message):
    name: str


class Mark(_Message):
    """The sound up to a mark has been played, or was dropped by ``clear``."""

    event: Literal["mark"]
    mark: _MarkDetails


class _DtmfDetails(_Message):
    digit: str = Field(max_length=1)


class Dtmf(_Message):
    """A key was pressed."""

    event: Literal["dtmf"]
    dtmf: _DtmfDetails


class Stop(_Message):
    """The call has ended."""

    event: Literal["stop"]


Message = Connected | Start | Media | Mark | Dtmf | Stop
_MESSAGES: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="event")])
_KNOWN = frozenset({"connected", "start", "media", "mark", "dtmf", "stop"})


def decode(text: str | bytes) -> Message | None:
    """Read a message; None for an event Twilio has added since. Raises TwilioProtocolError."""
    if len(text) > MAX_MESSAGE_BYTES:
        raise TwilioProtocolError(f"a message of {len(text)} bytes")
    try:
        read = read_json(text)
    except ValueError as error:
        raise TwilioProtocolError("a message that is no JSON") from error
    if not isinstance(read, dict) or not isinstance(read.get("event"), str):
        raise TwilioProtocolError("a message without an event")
    if read["event"] not in _KNOWN:
        return None
    try:
        return _MESSAGES.validate_python(read)
    except ValidationError as error:
        raise TwilioProtocolError(f"a {read['event']} message that lacks something") from error


def media(stream_sid: str, sound: bytes) -> str:
    """Write µ-law bytes to be played."""
    payload = base64.b64encode(sound).decode("ascii")
    return json.dumps({"event": "media", "streamSid": stream_sid, "media": {"payload": payload}})


def mark(stream_sid: str, name: str) -> str:
    """Ask to be told when everything so far has been played."""
    return json.dumps({"event": "mark", "streamSid": stream_sid, "mark": {"name": name}})


def clear(stream_sid: str) -> str:
    """Drop what has not been played."""
    return json.dumps({"event": "clear", "streamSid": stream_sid})


def signature(url: str, auth_token: str, fields: Mapping[str, str] | None = None) -> str:
    """Give what ``X-Twilio-Signature`` must be: HMAC-SHA1 of the URL and the sorted form fields.

    Source: Twilio's documentation, "Security: validating requests".
    """
    text = url + "".join(f"{name}{value}" for name, value in sorted((fields or {}).items()))
    digest = hmac.new(auth_token.encode(), text.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode("ascii")


def signed(
    given: str | None, url: str, auth_token: str, fields: Mapping[str, str] | None = None
) -> bool:
    """Whether a request is Twilio's."""
    expected = signature(url, auth_token, fields)
    return given is not None and hmac.compare_digest(
        given.encode("utf-8", "replace"), expected.encode()
    )
