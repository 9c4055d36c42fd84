"""``/moshi``: speech to speech, begun by a JSON ``config``; PCM both ways.

Described in docs/reference/protocols.md.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from coda_voice.errors import ProtocolError
from coda_voice.events import Event, SpeechEnded, SpeechStarted
from coda_voice.server.codecs import Message
from coda_voice.server.codecs.pcm_out import pcm_message
from coda_voice.server.codecs.stream import (
    LONGEST_JSON,
    dump,
    failure,
    in_words,
    what_is_wrong,
)
from coda_voice.server.commands import Audio, Command
from coda_voice.server.outputs import AgentAudio, Failed, Happened, Output, Ready


class SpeechConfig(BaseModel):
    """The first message of a ``/moshi`` client."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    type: Literal["config"]
    session_id: str | None = Field(default=None, max_length=256)
    sample_rate: int = Field(default=24_000, ge=8_000, le=48_000)
    system_prompt: str | None = Field(default=None, max_length=8_000)
    voice: str | None = Field(default=None, max_length=80)


def read_config(message: Message) -> SpeechConfig:
    """Read the first message. Raises ProtocolError (fatal) for anything else."""
    if isinstance(message, bytes):
        raise ProtocolError(
            'Audio before the configuration; first send {"type": "config", "sample_rate": …}.',
            "config_first",
            fatal=True,
        )
    try:
        return SpeechConfig.model_validate_json(message)
    except ValidationError as error:
        raise ProtocolError(what_is_wrong(error), "bad_config", fatal=True) from error


class SpeechCodec:
    """Translates one ``/moshi`` connection after its configuration."""

    def __init__(self, config: SpeechConfig) -> None:
        self._config = config

    def receive(self, message: Message) -> list[Command]:
        """Say what a client's message means. Raises ProtocolError."""
        if isinstance(message, bytes):
            return [Audio(message)]
        if len(message) > LONGEST_JSON:
            raise ProtocolError(f"At most {LONGEST_JSON} characters.", "message_too_big")
        raise ProtocolError("After the configuration only audio is understood.")

    def send(self, output: Output) -> list[Message]:
        """Put an output into messages."""
        if isinstance(output, AgentAudio):
            return pcm_message(output)
        if isinstance(output, Ready):
            ready = {
                "type": "ready",
                "session_id": self._config.session_id,
                "conversation_id": output.conversation_id,
                "sample_rate": output.sample_rate,
            }
            return [dump(ready)]
        if isinstance(output, Failed):
            return [dump(failure(output))]
        if isinstance(output, Happened):
            told = _told(output.event)
            return [] if told is None else [dump(told)]
        return []


def _told(event: Event) -> dict[str, object] | None:
    if isinstance(event, SpeechStarted):
        return {"type": "speech_start", "speaker": event.speaker, "time": round(event.time, 3)}
    if isinstance(event, SpeechEnded):
        return {
            "type": "speech_end",
            "speaker": event.speaker,
            "time": round(event.time, 3),
            "duration": round(event.duration, 3),
        }
    spoken = in_words(event)
    return spoken if spoken is not None and spoken["type"] == "transcript" else None
