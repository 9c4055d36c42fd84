"""A turn that the user cut off himself by going on: it is answered together with what follows."""

from __future__ import annotations

from coda_voice.attendants import UserText
from coda_voice.hybrid.heard_history import HeardHistory

UNANSWERED_SECONDS = 10.0
"""A turn that was cut off by its own continuation is answered with it, if it is no older."""


class Unanswered:
    """Keeps one such turn, the latest; ``now`` is seconds on the event loop's clock."""

    def __init__(self, history: HeardHistory) -> None:
        self._history = history
        self._kept: tuple[str, int, float] | None = None
        """Text, generation and time."""

    def keep(self, text: str, generation: int, now: float) -> None:
        """Note that this turn was cut off before its answer began."""
        self._kept = (text, generation, now)

    def forget(self) -> None:
        """It was answered, or is not to be."""
        self._kept = None

    def before(self, said: UserText, now: float) -> str:
        """Give what was cut off by ``said``, and then ``said``; in the history they are one."""
        if self._kept is None:
            return said.text
        text, generation, since = self._kept
        if now - since > UNANSWERED_SECONDS or generation >= said.generation:
            self.forget()
            return said.text
        if said.final:
            self._history.forget_user(generation)
            self._history.user(said.generation, f"{text} {said.text}")
        return f"{text} {said.text}"

    def take(self, generation: int) -> str | None:
        """Give the turn, to be answered as that of ``generation``; None where there is none."""
        if self._kept is None:
            return None
        text, before, _ = self._kept
        self.forget()
        self._history.forget_user(before)
        self._history.user(generation, text)
        return text
