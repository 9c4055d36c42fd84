"""What a Live client wants its session to be: checked, merged, and what it means here."""

from __future__ import annotations

from typing import Literal

from openai.types.live import SessionConfig, SessionUpdateEvent
from openai.types.live.audio_format import AudioPCM, AudioPCMA, AudioPCMU
from pydantic import BaseModel

from coda_integrations.live.codec import LiveProtocolError
from coda_integrations.wire_audio import ALAW_8K, MULAW_8K, PCM_24K, WireFormat
from coda_voice.hybrid.llm import Message

MAX_INITIAL = 128
Backend = Literal["client", "responses"]
Role = Literal["system", "user", "assistant"]


def check(config: SessionConfig) -> None:
    """Look at what a ``session.start`` asks for. Raises LiveProtocolError."""
    unknown = sorted(config.model_extra or {})
    if unknown:
        raise LiveProtocolError(
            f"Unknown session field {unknown[0]!r}.",
            "unknown_parameter",
            param=f"session.{unknown[0]}",
        )
    if config.delegation is not None and config.delegation.type == "decisions":
        raise LiveProtocolError(
            "Decisions are not served here; delegate to 'client' or 'responses'.",
            param="session.delegation.type",
        )
    count = len(config.input or [])
    if count > MAX_INITIAL:
        raise LiveProtocolError(
            f"session.input has {count} messages; at most {MAX_INITIAL} are taken.",
            param="session.input",
        )


def wire_of(config: SessionConfig) -> WireFormat:
    """Give how sound is written, both ways. Raises LiveProtocolError."""
    match config.audio.format if config.audio is not None else None:
        case None:
            return PCM_24K
        case AudioPCM(rate=rate):
            return WireFormat("int16", rate)
        case AudioPCMU(rate=8_000):
            return MULAW_8K
        case AudioPCMA(rate=8_000):
            return ALAW_8K
        case _:
            raise LiveProtocolError("G.711 has 8000 Hz.", param="session.audio.format.rate")


def said_before(config: SessionConfig) -> list[Message]:
    """Give the messages with which the session begins."""
    before: list[Message] = []
    for item in config.input or []:
        role: Role = "system" if item.role == "developer" else item.role
        before.append(Message(role, " ".join(part.text for part in item.content)))
    return before


def backend_of(config: SessionConfig) -> Backend:
    """Give who thinks."""
    chosen = config.delegation
    return "responses" if chosen is not None and chosen.type == "responses" else "client"


def updated(config: SessionConfig, event: SessionUpdateEvent) -> SessionConfig:
    """Give the session after a ``session.update``. Raises LiveProtocolError."""
    old, given = config.delegation, event.session.delegation
    if given is None:
        return config
    if given.type != (old.type if old is not None else "client"):
        raise LiveProtocolError(
            "A session's delegation cannot change its type.", param="session.delegation.type"
        )
    merged = {
        **(old.model_dump(exclude_unset=True) if old is not None else {}),
        **given.model_dump(exclude_unset=True),
    }
    before = getattr(old, "responses", None)
    if isinstance(before, BaseModel) and isinstance(merged.get("responses"), dict):
        merged["responses"] = {**before.model_dump(exclude_unset=True), **merged["responses"]}
    return SessionConfig.model_validate(
        {**config.model_dump(exclude_unset=True), "delegation": merged}
    )
