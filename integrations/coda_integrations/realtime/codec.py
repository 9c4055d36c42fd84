"""OpenAI Realtime messages: JSON text to typed client events, typed server events to JSON text.

The types are those of the openai package, which its own clients parse with. Source of the
protocol: openai-python 3.52, ``types/realtime``. Pure: no sockets, no state.
"""

from __future__ import annotations

import base64
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

from coda_integrations import openai_messages
from coda_integrations.openai_messages import (
    MAX_MESSAGE_BYTES,
    Message,
    MessageError,
    encode,
    new_id,
)

__all__ = [
    "MAX_MESSAGE_BYTES",
    "ClientEvent",
    "RealtimeProtocolError",
    "audio_bytes",
    "audio_text",
    "decode",
    "encode",
    "new_id",
]

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


class RealtimeProtocolError(MessageError):
    """A MessageError, told as Realtime tells it."""

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


def _complete(message: Message) -> None:
    """Clients of the beta leave the session's type out."""
    session = message.get("session")
    if message["type"] == "session.update" and isinstance(session, dict):
        message["session"] = {"type": "realtime", **session}


def decode(text: str | bytes) -> ClientEvent:
    """Read one message. Raises RealtimeProtocolError and nothing else."""
    return openai_messages.read_event(text, _CLIENT_EVENTS, RealtimeProtocolError, _complete)


def audio_bytes(text: str, *, event_id: str | None = None, param: str = "audio") -> bytes:
    """Read base64 audio. Raises RealtimeProtocolError."""
    return openai_messages.audio_bytes(text, RealtimeProtocolError, event_id=event_id, param=param)


def audio_text(data: bytes) -> str:
    """Write audio as base64."""
    return base64.b64encode(data).decode("ascii")
