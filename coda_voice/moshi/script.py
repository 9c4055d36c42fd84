"""A script: words to be said, when and how, and what became of them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

_MAX_WORDS = 2_048
SOUNDING_FRAMES = 3
"""From a word's first token to where one can tell by ear which word it is."""
SILENT_FRAMES = 6
"""A word's sound begins within so many frames, if it comes at all."""


@dataclass(frozen=True, slots=True)
class Manners:
    """When and how scripts are spoken; all counts are frames of 80 ms."""

    quiet_before: int = 6
    """The user's silence before a script begins."""
    quiet_at_onset: int = 2
    """The user's silence before one begins in place of the model's own first word."""
    hold_back: int = 4
    """So long the model's own first word waits for an answer that is due at any moment."""
    patience: int | None = None
    """So long a script waits for a pause of the model, the user being quiet; then it makes
    one. None: as long as it takes."""
    barge_in: int = 4
    """The user's voiced frames (of the last six) that end a script."""
    stale_after: int = 100
    """A script not begun by then is not begun any more."""
    longest_pause: int = 8
    """PADs in a row between two words before the next word is forced."""
    stop_pads: int = 6
    """PADs forced after an interruption, so that the model finds out of its sentence."""
    tail_pads: int = 0
    """PADs forced after the last word, while it is still sounding."""
    lead_every_word: bool = False
    """Whether the checkpoint needs an EPAD before each word, also where it goes straight on."""


class ScriptState(Enum):
    """What became of a script."""

    WAITING = "waiting"
    SPEAKING = "speaking"
    DONE = "done"
    INTERRUPTED = "interrupted"
    STALE = "stale"
    REPLACED = "replaced"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class SaidWord:
    """A word of a script and the step in which its first piece was forced."""

    text: str
    step: int


@dataclass(slots=True)
class Script:
    """What is to be said, growing while it is written; ``complete`` when nothing follows."""

    generation: int
    complete: bool = False
    state: ScriptState = ScriptState.WAITING
    said: list[SaidWord] = field(default_factory=list)
    silent: list[SaidWord] = field(default_factory=list)
    """What was forced into the monologue and made no sound; said again, as a rule."""
    sure: int = 0
    """So many words are not taken back any more."""
    waited: int = 0
    stale_after: int | None = None
    """In place of the manners' own."""
    answers: bool = False
    """Whether it is said to what the user has just said, as the model's own words would be."""
    ended_step: int | None = None
    """The step in which it ended."""
    ahead: deque[str] = field(default_factory=lambda: deque(maxlen=_MAX_WORDS))
    """Words that were added and not said."""

    @property
    def words_left(self) -> int:
        """How many words were added and not said."""
        return len(self.ahead)

    def heard(self) -> list[str]:
        """Give the words that could be heard: of one that was cut off, only the begun.

        The last word of an interrupted script counts where it had a moment to sound.
        """
        until = self.ended_step
        if until is None or self.state not in (ScriptState.INTERRUPTED, ScriptState.CANCELLED):
            return [word.text for word in self.said]
        return [word.text for word in self.said if word.step + SOUNDING_FRAMES <= until]

    @property
    def over(self) -> bool:
        """Whether nothing of it will be said any more."""
        return self.state not in (ScriptState.WAITING, ScriptState.SPEAKING)

    def sounding(self, step: int) -> bool:
        """Whether the last word of one that is done could still be cut off in ``step``."""
        done = self.state is ScriptState.DONE and bool(self.said)
        return done and step < self.said[-1].step + SOUNDING_FRAMES
