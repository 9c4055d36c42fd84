"""What a process has left for thinking, over all its conversations.

An LLM that runs on the same machine takes from Moshi what it gets, and one that serves many
conversations at once makes each of them wait. In mode adaptive the router asks here first.
"""

from __future__ import annotations

from typing import Protocol
from weakref import WeakSet

from coda_voice.moshi.frames import FRAME_SECONDS

FULL = 0.9
"""Share of a frame's time that the models take when there is nothing left to share."""
_SMOOTH = 25.0
"""Frames over which that share is averaged (two seconds of one conversation)."""


class Thinker(Protocol):
    """Whoever may be thinking about a turn."""

    @property
    def thinking(self) -> bool:
        """Whether it is."""


class Resources:
    """Counts who thinks and how full the frames are; one for all conversations.

    ``at_once``: turns that may be thought about at the same time before questions that Moshi
    can meet by itself are left to it. Used on the event loop only.
    """

    def __init__(self, at_once: int = 8) -> None:
        self._at_once = at_once
        self._thinkers: WeakSet[Thinker] = WeakSet()
        self._load = 0.0

    def add(self, thinker: Thinker) -> None:
        """Count one more who may think, for as long as it lives."""
        self._thinkers.add(thinker)

    def frame(self, compute_seconds: float) -> None:
        """Note what the models took for a frame."""
        self._load += (compute_seconds / FRAME_SECONDS - self._load) / _SMOOTH

    def shortage(self) -> str | None:
        """Say what is short, or None."""
        if self._load > FULL:
            return f"resources: the models take {self._load:.0%} of a frame's time"
        thinking = sum(thinker.thinking for thinker in self._thinkers)
        if thinking >= self._at_once:
            return f"resources: {thinking} turns are being thought about"
        return None
