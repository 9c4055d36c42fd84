"""OpenAI Live messages: JSON text to typed client events, typed server events to JSON text.

The types are those of the openai package (3.52, ``types/live``). Pure: no sockets, no state.
"""

from __future__ import annotations

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

from coda_integrations import openai_messages
from coda_integrations.openai_messages import MAX_MESSAGE_BYTES, MessageError, encode, new_id

__all__ = [
    "MAX_MESSAGE_BYTES",
    "ClientEvent",
    "LiveProtocolError",
    "audio_bytes",
    "decode",
    "encode",
    "error_event",
]

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


class LiveProtocolError(MessageError):
    """A MessageError, told as Live tells it."""

    def event(self) -> ErrorEvent:
        """Give the event that tells the client."""
        return error_event(
            self.code,
            self.message,
            kind="invalid_request_error",
            param=self.param,
            client_event_id=self.event_id,
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
    return openai_messages.read_event(text, _CLIENT_EVENTS, LiveProtocolError)


def audio_bytes(event: InputAudioAppendEvent) -> bytes:
    """Read the audio of an append. Raises LiveProtocolError."""
    return openai_messages.audio_bytes(event.audio, LiveProtocolError, event_id=event.event_id)
