"""OpenAI Live messages: JSON text to typed client events, typed server events to JSON text.

The types are those of the openai package (3.52, ``types/live``). Pure: no sockets, no state.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping

from openai.types.live import (
    CommentaryAppendEvent,
    Error,
    ErrorEvent,
    InputAudioAppendEvent,
    InputAudioMuteEvent,
    InputAudioUnmuteEvent,
    InstructionsAppendEvent,
    ResponseCreateEvent,
    ResponseItemCreateEvent,
    SessionCloseEvent,
    SessionStartEvent,
    SessionUpdateEvent,
    ThinkingAppendEvent,
)
from pydantic import BaseModel, ValidationError

from coda_integrations.realtime.codec import new_id

ClientEvent = (
    SessionStartEvent
    | SessionUpdateEvent
    | SessionCloseEvent
    | InputAudioAppendEvent
    | InputAudioMuteEvent
    | InputAudioUnmuteEvent
    | InstructionsAppendEvent
    | ThinkingAppendEvent
    | CommentaryAppendEvent
    | ResponseItemCreateEvent
    | ResponseCreateEvent
)

_CLIENT_EVENTS: Mapping[str, type[ClientEvent]] = {
    "session.start": SessionStartEvent,
    "session.update": SessionUpdateEvent,
    "session.close": SessionCloseEvent,
    "session.input_audio.append": InputAudioAppendEvent,
    "session.input_audio.mute": InputAudioMuteEvent,
    "session.input_audio.unmute": InputAudioUnmuteEvent,
    "session.instructions.append": InstructionsAppendEvent,
    "session.thinking.append": ThinkingAppendEvent,
    "session.commentary.append": CommentaryAppendEvent,
    "response.item.create": ResponseItemCreateEvent,
    "response.create": ResponseCreateEvent,
}
MAX_MESSAGE_BYTES = 20 * 1024 * 1024


class LiveProtocolError(Exception):
    """The client sent what cannot be understood or done; told in an ``error`` event."""

    def __init__(
        self,
        message: str,
        code: str = "invalid_value",
        *,
        param: str | None = None,
        client_event_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param
        self.client_event_id = client_event_id

    def event(self) -> ErrorEvent:
        """Give the event that tells the client."""
        return error_event(
            self.code,
            self.message,
            kind="invalid_request_error",
            param=self.param,
            client_event_id=self.client_event_id,
        )


def error_event(
    code: str,
    message: str,
    *,
    kind: str = "server_error",
    param: str | None = None,
    client_event_id: str | None = None,
) -> ErrorEvent:
    """Make an ``error`` event."""
    error = Error(
        code=code, message=message, type=kind, param=param, client_event_id=client_event_id
    )
    return ErrorEvent(
        type="error", event_id=new_id("event"), error=error, client_event_id=client_event_id
    )


def decode(text: str | bytes) -> ClientEvent:
    """Read one message. Raises LiveProtocolError and nothing else."""
    if len(text) > MAX_MESSAGE_BYTES:
        raise LiveProtocolError(f"A message of {len(text)} bytes is too big.", "message_too_large")
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LiveProtocolError(
            "The message is no JSON; send one JSON object in each text message.", "invalid_json"
        ) from error
    if not isinstance(message, dict):
        raise LiveProtocolError("The message is no JSON object.", "invalid_json")
    given = message.get("event_id")
    event_id = given if isinstance(given, str) else None
    kind = message.get("type")
    event_type = _CLIENT_EVENTS.get(kind) if isinstance(kind, str) else None
    if event_type is None:
        raise LiveProtocolError(
            f"Unknown event type {str(kind)[:80]!r}; known are {', '.join(_CLIENT_EVENTS)}.",
            "unknown_event_type",
            param="type",
            client_event_id=event_id,
        )
    try:
        return event_type.model_validate(message)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"] if str(part).islower())
        raise LiveProtocolError(
            f"{kind}: {where or 'the event'}: {first['msg']}.",
            "missing_required_parameter" if first["type"] == "missing" else "invalid_value",
            param=where or None,
            client_event_id=event_id,
        ) from error


def encode(event: BaseModel) -> str:
    """Write one message."""
    return event.model_dump_json(exclude_unset=True)


def audio_bytes(event: InputAudioAppendEvent) -> bytes:
    """Read the audio of an append. Raises LiveProtocolError."""
    try:
        return base64.b64decode(event.audio, validate=True)
    except (binascii.Error, ValueError) as error:
        raise LiveProtocolError(
            "'audio' is no base64.", param="audio", client_event_id=event.event_id
        ) from error
