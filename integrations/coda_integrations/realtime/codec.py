"""OpenAI Realtime messages: JSON text to typed client events, typed server events to JSON text.

The types are those of the openai package, which its own clients parse with. Source of the
protocol: openai-python 3.52, ``types/realtime``. Pure: no sockets, no state.
"""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from collections.abc import Mapping

from openai.types.realtime import (
    ConversationItemCreateEvent,
    ConversationItemDeleteEvent,
    ConversationItemRetrieveEvent,
    ConversationItemTruncateEvent,
    InputAudioBufferAppendEvent,
    InputAudioBufferClearEvent,
    InputAudioBufferCommitEvent,
    OutputAudioBufferClearEvent,
    RealtimeError,
    RealtimeErrorEvent,
    ResponseCancelEvent,
    ResponseCreateEvent,
    SessionUpdateEvent,
)
from pydantic import BaseModel, ValidationError

ClientEvent = (
    SessionUpdateEvent
    | InputAudioBufferAppendEvent
    | InputAudioBufferCommitEvent
    | InputAudioBufferClearEvent
    | OutputAudioBufferClearEvent
    | ConversationItemCreateEvent
    | ConversationItemDeleteEvent
    | ConversationItemRetrieveEvent
    | ConversationItemTruncateEvent
    | ResponseCreateEvent
    | ResponseCancelEvent
)

_CLIENT_EVENTS: Mapping[str, type[ClientEvent]] = {
    "session.update": SessionUpdateEvent,
    "input_audio_buffer.append": InputAudioBufferAppendEvent,
    "input_audio_buffer.commit": InputAudioBufferCommitEvent,
    "input_audio_buffer.clear": InputAudioBufferClearEvent,
    "output_audio_buffer.clear": OutputAudioBufferClearEvent,
    "conversation.item.create": ConversationItemCreateEvent,
    "conversation.item.delete": ConversationItemDeleteEvent,
    "conversation.item.retrieve": ConversationItemRetrieveEvent,
    "conversation.item.truncate": ConversationItemTruncateEvent,
    "response.create": ResponseCreateEvent,
    "response.cancel": ResponseCancelEvent,
}

MAX_MESSAGE_BYTES = 20 * 1024 * 1024
"""OpenAI allows 15 MiB of audio in one append; as base64 that is 20 MiB."""


class RealtimeProtocolError(Exception):
    """The client sent what cannot be understood or done; told in an ``error`` event.

    ``code`` and ``param`` are OpenAI's names; ``event_id`` is the client's, where known.
    """

    def __init__(
        self,
        message: str,
        code: str = "invalid_value",
        *,
        param: str | None = None,
        event_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param
        self.event_id = event_id

    def event(self) -> RealtimeErrorEvent:
        """Give the event that tells the client."""
        return RealtimeErrorEvent(
            type="error",
            event_id=new_id("event"),
            error=RealtimeError(
                type="invalid_request_error",
                code=self.code,
                message=self.message,
                param=self.param,
                event_id=self.event_id,
            ),
        )


def new_id(kind: str) -> str:
    """Make an id as OpenAI's look: ``item_…``, ``resp_…``, ``event_…``."""
    return f"{kind}_{uuid.uuid4().hex[:24]}"


def decode(text: str | bytes) -> ClientEvent:
    """Read one message. Raises RealtimeProtocolError and nothing else."""
    if len(text) > MAX_MESSAGE_BYTES:
        raise RealtimeProtocolError(
            f"The message has {len(text)} bytes; at most {MAX_MESSAGE_BYTES} are taken. Send audio "
            "in smaller chunks.",
            "message_too_large",
        )
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RealtimeProtocolError(
            "The message is no JSON; send one JSON object in each text message.", "invalid_json"
        ) from error
    if not isinstance(message, dict):
        raise RealtimeProtocolError(
            "The message is no JSON object; send an object with a 'type'.", "invalid_json"
        )
    given = message.get("event_id")
    event_id = given if isinstance(given, str) else None
    kind = message.get("type")
    event_type = _CLIENT_EVENTS.get(kind) if isinstance(kind, str) else None
    if event_type is None:
        raise RealtimeProtocolError(
            f"Unknown event type {str(kind)[:80]!r}; known are {', '.join(_CLIENT_EVENTS)}.",
            "unknown_event_type",
            param="type",
            event_id=event_id,
        )
    if event_type is SessionUpdateEvent and isinstance(message.get("session"), dict):
        # Clients of the beta leave the session's type out.
        message["session"] = {"type": "realtime", **message["session"]}
    try:
        return event_type.model_validate(message)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"] if str(part).islower())
        raise RealtimeProtocolError(
            f"{kind}: {where or 'the event'}: {first['msg']}.",
            "missing_required_parameter" if first["type"] == "missing" else "invalid_value",
            param=where or None,
            event_id=event_id,
        ) from error


def encode(event: BaseModel) -> str:
    """Write one message; fields that were set are in it, null where they are None."""
    return event.model_dump_json(exclude_unset=True)


def audio_bytes(text: str, *, event_id: str | None = None, param: str = "audio") -> bytes:
    """Read base64 audio. Raises RealtimeProtocolError."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RealtimeProtocolError(
            f"'{param}' is no base64.", "invalid_value", param=param, event_id=event_id
        ) from error


def audio_text(data: bytes) -> str:
    """Write audio as base64."""
    return base64.b64encode(data).decode("ascii")
