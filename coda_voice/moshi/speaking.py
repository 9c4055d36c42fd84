"""Putting words into Moshi's mouth: a script, forced into the inner monologue word by word.

What those who tried it found (design.md §3, "Speaking"): one text token a frame is all the
monologue takes; a word must be led by EPAD, or the model stays in PAD and the word is lost;
tokens back to back sound rushed. So the model keeps its own rhythm: where it samples PAD it
may pause, where it samples EPAD or a word it gets the next word of the script, and only the
length of a pause has an upper bound. A script begins politely, on a PAD, after the user has
been quiet; it yields when the user speaks over it; one that came too late is not begun; a
newer one replaces one that has not begun. Which words were said, and in which frame, is
kept exactly: what the user heard is decided from that.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

Encode = Callable[[str], Sequence[int]]
_MAX_WORDS = 2_048


@dataclass(frozen=True, slots=True)
class Manners:
    """When and how scripts are spoken; all counts are frames of 80 ms."""

    quiet_before: int = 6
    """The user's silence before a script begins."""
    barge_in: int = 4
    """The user's voiced frames that end a script."""
    stale_after: int = 100
    """A script not begun by then is not begun any more."""
    longest_pause: int = 8
    """PADs in a row between two words before the next word is forced."""
    stop_pads: int = 6
    """PADs forced after an interruption, so that the model finds out of its sentence."""


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
    waited: int = 0
    _words: deque[str] = field(default_factory=lambda: deque(maxlen=_MAX_WORDS))

    @property
    def words_left(self) -> int:
        """Words that were added and not said."""
        return len(self._words)

    @property
    def over(self) -> bool:
        """Whether nothing of it will be said any more."""
        return self.state not in (ScriptState.WAITING, ScriptState.SPEAKING)


class Speaker:
    """One conversation's scripts: the policy behind ``Slot.steer``.

    ``choose`` runs in the engine's thread, once a frame; everything else may be called
    from any thread.
    """

    def __init__(
        self, encode: Encode, pad: int = 3, epad: int = 0, manners: Manners | None = None
    ) -> None:
        self.manners = manners or Manners()
        self._encode = encode
        self._pad, self._epad = pad, epad
        self._lock = threading.Lock()
        self._script: Script | None = None
        self._pieces: deque[int] = deque(maxlen=64)
        self._led = False
        self._pads = 0
        self._stopping = 0
        self._model_pads = 0
        self._quiet = self._voiced = 0
        self._step = 0

    # -- scripts -----------------------------------------------------------------------------

    def say(self, text: str = "", *, generation: int = 0, complete: bool = True) -> Script:
        """Begin a script; with ``complete=False`` more follows by ``append``.

        One that has not begun yet is replaced; one that is being spoken is replaced after
        the word it is at.
        """
        script = Script(generation=generation)
        with self._lock:
            self._drop(ScriptState.REPLACED)
            self._script = script
        self.append(script, text, complete=complete)
        return script

    def append(self, script: Script, text: str, *, complete: bool = False) -> bool:
        """Add what the writer has written meanwhile; False if the script is over."""
        with self._lock:
            if script.over:
                return False
            script._words.extend(text.split())
            script.complete = script.complete or complete
            return True

    def cancel(self) -> None:
        """Drop what is waiting or being said, after the word it is at."""
        with self._lock:
            self._drop(ScriptState.CANCELLED)

    def turn_began(self, generation: int) -> None:
        """A new user turn began: scripts of older ones die."""
        with self._lock:
            if self._script is not None and self._script.generation < generation:
                self._drop(ScriptState.CANCELLED)

    def heard(self, voiced: bool) -> None:
        """Learn whether the user's voice was in the frame that is pushed now."""
        with self._lock:
            self._voiced = self._voiced + 1 if voiced else 0
            self._quiet = 0 if voiced else self._quiet + 1
            script = self._script
            if (
                script is not None
                and script.state is ScriptState.SPEAKING
                and self._voiced >= self.manners.barge_in
            ):
                self._pieces.clear()  # the rest of the word, too
                self._drop(ScriptState.INTERRUPTED)
                self._stopping = self.manners.stop_pads

    @property
    def speaking(self) -> bool:
        """Whether a script is being said at this moment."""
        script = self._script
        return script is not None and script.state is ScriptState.SPEAKING

    def _drop(self, state: ScriptState) -> None:
        if self._script is not None and not self._script.over:
            self._script.state = state
            self._script._words.clear()
        self._script = None
        self._led = False

    # -- the engine's thread -------------------------------------------------------------------

    def choose(self, sampled: int) -> int:
        """Give the token to say where the model sampled ``sampled``."""
        with self._lock:
            self._step += 1
            token = self._choose(sampled)
            self._model_pads = self._model_pads + 1 if sampled == self._pad else 0
            return token

    def _choose(self, sampled: int) -> int:
        if self._pieces:  # a word once begun is finished
            return self._pieces.popleft()
        if self._stopping:
            self._stopping -= 1
            return self._pad
        script = self._script
        if script is None:
            return sampled
        if script.state is ScriptState.WAITING and not self._may_begin(script, sampled):
            return sampled
        return self._next(script, sampled)

    def _may_begin(self, script: Script, sampled: int) -> bool:
        script.waited += 1
        if script.waited > self.manners.stale_after:
            self._drop(ScriptState.STALE)
            return False
        # Two PADs in a row: the model is between words, not inside one.
        if sampled != self._pad or self._model_pads < 1 or not script._words:
            return False
        if self._quiet < self.manners.quiet_before:
            return False
        script.state = ScriptState.SPEAKING
        self._pads = self.manners.longest_pause  # the first word is led in at once
        return True

    def _next(self, script: Script, sampled: int) -> int:
        if not script._words:
            if script.complete:
                script.state = ScriptState.DONE
                self._script = None
                return sampled
            return self._pad  # the writer is slower than the voice
        if self._led:
            return self._word(script)
        if sampled == self._pad and self._pads < self.manners.longest_pause:
            self._pads += 1
            return self._pad
        if sampled in (self._pad, self._epad):
            self._led = True
            return self._epad
        return self._word(script)  # the model goes straight on to a next word

    def _word(self, script: Script) -> int:
        word = script._words.popleft()
        script.said.append(SaidWord(word, self._step))
        self._led, self._pads = False, 0
        self._pieces.extend(self._encode(word))
        return self._pieces.popleft() if self._pieces else self._pad
