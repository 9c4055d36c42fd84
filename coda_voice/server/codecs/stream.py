"""``/v1/stream``: 16-bit PCM in binary messages, everything else in JSON.

Described in docs/reference/protocols.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from coda_voice.config.model import Mode, Voicing
from coda_voice.errors import ProtocolError
from coda_voice.events import (
    ConversationFailed,
    Event,
    MemoryInjected,
    MemoryStored,
    SpeechEnded,
    SpeechStarted,
    Transcript,
    WordSpoken,
)
from coda_voice.moshi.frames import FRAME_SAMPLES
from coda_voice.server.codecs import Message
from coda_voice.server.codecs.pcm_out import pcm_message
from coda_voice.server.commands import (
    LONGEST_TEXT,
    Audio,
    ChooseMode,
    ChoosePersonality,
    Close,
    Command,
    Configure,
    Interrupt,
    Mute,
    Ping,
    Type,
)
from coda_voice.server.outputs import (
    AgentAudio,
    Confirmed,
    Draining,
    Dropped,
    Ended,
    Failed,
    Happened,
    Output,
    Pong,
    Ready,
    Waiting,
)

LONGEST_JSON = 65_536
"""Characters of a JSON message."""


class _Message(BaseModel):
    # Strict: "false" is no flag and "24000" no number; what is guessed may be what nobody meant.
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class _Config(_Message):
    type: Literal["config"]
    sample_rate: int | None = Field(default=None, ge=8_000, le=48_000)
    events: bool | None = None

    def command(self) -> Command:
        return Configure(self.sample_rate, self.events)


class _Interrupt(_Message):
    type: Literal["interrupt"]

    def command(self) -> Command:
        return Interrupt()


class _Mute(_Message):
    type: Literal["mute"]
    muted: bool = True

    def command(self) -> Command:
        return Mute(self.muted)


class _Mode(_Message):
    type: Literal["mode"]
    mode: Mode
    voice: Voicing | None = None

    def command(self) -> Command:
        return ChooseMode(self.mode, self.voice)


class _Personality(_Message):
    type: Literal["personality"]
    name: str | None = Field(default=None, min_length=1, max_length=64)
    traits: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        default_factory=dict, max_length=32
    )

    def command(self) -> Command:
        return ChoosePersonality(self.name, self.traits)


class _Text(_Message):
    type: Literal["text"]
    text: str = Field(min_length=1, max_length=LONGEST_TEXT)

    def command(self) -> Command:
        return Type(self.text)


class _Ping(_Message):
    type: Literal["ping"]
    id: int | Annotated[str, Field(max_length=64)] | None = None

    def command(self) -> Command:
        return Ping(self.id)


class _Close(_Message):
    type: Literal["close"]

    def command(self) -> Command:
        return Close()


_ClientMessage = Annotated[
    _Config | _Interrupt | _Mute | _Mode | _Personality | _Text | _Ping | _Close,
    Field(discriminator="type"),
]
_CLIENT: TypeAdapter[
    _Config | _Interrupt | _Mute | _Mode | _Personality | _Text | _Ping | _Close
] = TypeAdapter(_ClientMessage)


class StreamCodec:
    """Translates one ``/v1/stream`` connection. ``events``: pass typed events on, too."""

    def __init__(self, *, events: bool = False) -> None:
        self.events = events

    def receive(self, message: Message) -> list[Command]:
        """Say what a client's message means. Raises ProtocolError."""
        if isinstance(message, bytes):
            return [Audio(message)]
        if len(message) > LONGEST_JSON:
            raise ProtocolError(
                f"A JSON message has at most {LONGEST_JSON} characters.", "message_too_big"
            )
        try:
            command = _CLIENT.validate_json(message).command()
        except ValidationError as error:
            raise ProtocolError(what_is_wrong(error)) from error
        if isinstance(command, Configure) and command.events is not None:
            self.events = command.events
        return [command]

    def send(self, output: Output) -> list[Message]:
        """Put an output into messages."""
        if isinstance(output, AgentAudio):
            return pcm_message(output)
        if isinstance(output, Happened):
            return self._event(output.event)
        return [dump(STATUS[type(output)](output))]

    def _event(self, event: Event) -> list[Message]:
        told: list[Message] = []
        spoken = in_words(event)
        if spoken is not None:
            told.append(dump({**spoken, "event_id": event.id}))
        if self.events:
            told.append(f'{{"type":"event","event":{event.model_dump_json()}}}')
        return told


def dump(message: Mapping[str, object]) -> str:
    """Write a message as JSON, one line."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"), default=str)


def what_is_wrong(error: ValidationError) -> str:
    """Say in a sentence what is wrong with a message."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = "".join(f"{part}: " for part in first["loc"])
    return f"This message cannot be understood: {where}{first['msg']}."[:500]


def in_words(event: Event) -> dict[str, object] | None:
    """Give what everybody is told of an event: speech, words, memories. None for the rest."""
    if isinstance(event, (SpeechStarted, SpeechEnded)):
        return {
            "type": "speech",
            "speaker": event.speaker,
            "speaking": isinstance(event, SpeechStarted),
            "time": round(event.time, 3),
        }
    if isinstance(event, Transcript):
        return {
            "type": "transcript",
            "speaker": event.speaker,
            "text": event.text,
            "final": event.final,
            "turn": event.generation,
        }
    if isinstance(event, MemoryInjected) and event.injected:
        told = list(event.injected)
        return {"type": "memory", "action": "told", "items": told, "injected": told}
    if isinstance(event, MemoryStored):
        gone = list(event.taken_back)
        items = list(event.facts) or ([] if gone else [event.text])
        stored: dict[str, object] = {"type": "memory", "action": "stored", "items": items}
        return {**stored, "taken_back": gone} if gone else stored
    if isinstance(event, ConversationFailed):
        return {"type": "error", "code": event.code, "message": event.message, "fatal": False}
    if isinstance(event, WordSpoken) and event.speaker == "agent":
        return {
            "type": "transcript",
            "speaker": event.speaker,
            "text": event.text,
            "final": True,
            "start": round(event.start, 3),
            "end": round(event.end, 3),
            "turn": event.generation,
        }
    return None


def _ready(output: Ready) -> dict[str, object]:
    return {
        "type": "status",
        "status": "ready",
        "conversation_id": output.conversation_id,
        "resume_token": output.resume_token,
        "resume_seconds": output.resume_seconds,
        "resumed": output.resumed,
        "sample_rate": output.sample_rate,
        "frame_samples": FRAME_SAMPLES * output.sample_rate // 24_000,
        "frames": output.frames,
        "mode": output.mode,
        "checkpoint": output.checkpoint,
        "muted": output.muted,
        "recorded": output.recorded,
        "personality": output.personality,
        "missed": output.missed,
        "under_way": output.under_way,
    }


def _confirmed(output: Confirmed) -> dict[str, object]:
    key = "muted" if output.what == "mute" else output.what
    return {"type": "status", "status": output.what, key: output.value}


def failure(output: Failed) -> dict[str, object]:
    """Give an error message; without ``retry_after`` where there is none."""
    message: dict[str, object] = {
        "type": "error",
        "code": output.code,
        "message": output.message,
        "fatal": output.fatal,
    }
    if output.retry_after is not None:
        message["retry_after"] = output.retry_after
    return message


def _status(name: str, *fields: str) -> Callable[[Output], dict[str, object]]:
    def write(output: Output) -> dict[str, object]:
        values = {field: getattr(output, field) for field in fields}
        return {"type": "status", "status": name, **values}

    return write


STATUS: dict[type, Callable[..., dict[str, object]]] = {
    Waiting: _status("waiting", "position"),
    Ready: _ready,
    Dropped: _status("dropped", "where", "frames"),
    Confirmed: _confirmed,
    Draining: _status("draining", "seconds"),
    Ended: _status("ended", "reason", "frames"),
    Pong: lambda output: {"type": "pong", "id": output.id},
    Failed: failure,
}
"""How each output that is neither audio nor an event is put."""
