"""What a client may say to its session, whatever the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from coda_voice.config.model import Mode, Voicing

LONGEST_TEXT = 2_000
"""Characters of a typed turn."""


@dataclass(frozen=True, slots=True)
class Audio:
    """Sound at the session's rate: 16-bit PCM, or float32 samples."""

    chunk: bytes | NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Configure:
    """Settings of the connection; None leaves what is."""

    sample_rate: int | None = None
    events: bool | None = None


@dataclass(frozen=True, slots=True)
class Interrupt:
    """The agent shall stop speaking."""


@dataclass(frozen=True, slots=True)
class Mute:
    """The agent shall hear silence, or hear again."""

    muted: bool


@dataclass(frozen=True, slots=True)
class ChooseMode:
    """Another mode from the next turn on; ``voice`` None: Moshi is muted or not as it was."""

    mode: Mode
    voice: Voicing | None = None


@dataclass(frozen=True, slots=True)
class ChoosePersonality:
    """Another personality by name, or other traits of the present one."""

    name: str | None = None
    traits: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Type:
    """A turn of the user that was typed."""

    text: str


@dataclass(frozen=True, slots=True)
class Ping:
    """Answer with a Pong of the same id, in order."""

    id: int | str | None


@dataclass(frozen=True, slots=True)
class Close:
    """The conversation shall end."""


Command = (
    Audio | Configure | Interrupt | Mute | ChooseMode | ChoosePersonality | Type | Ping | Close
)
