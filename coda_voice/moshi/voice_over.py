"""Scripts in another voice: a synthesizer's sound in place of Moshi's, under the same manners.

For checkpoints that speak forced text badly. Everything a ``Speaker`` is for stays the same:
scripts begin politely, yield to the user, are replaced and go stale, and which words could be
heard is known. What differs is the sound: while a script is spoken Moshi is kept to PADs and
not heard, and each frame is taken from the synthesizer, which also tells which words have
begun by it. Where the sound does not come (too slow, or its process is gone) the rest of the
script is forced into Moshi's monologue as ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from coda_voice.moshi.frames import FRAME_SAMPLES, FRAME_SECONDS, OtherSound, Pcm, Word
from coda_voice.moshi.script import SOUNDING_FRAMES, Manners, SaidWord, Script, ScriptState
from coda_voice.moshi.speaking import Encode, Speaker, Words
from coda_voice.moshi.synthesizer import Synthesizer, Utterance

BEGIN_FRAMES = 3
"""Frames that must be there before a script begins, so that it does not stop at once."""
LATE_FRAMES = 25
"""So long a script that may begin waits for its sound, and one under way in all for more."""
_SENTENCE_ENDS = (".", "!", "?", "…")


@dataclass(frozen=True, slots=True)
class FellBack:
    """Why a script, or the rest of it, was left to Moshi's own voice."""

    reason: Literal["slow", "failed"]
    detail: str


class VoiceOver(Speaker):
    """A ``Speaker`` whose scripts a synthesizer reads.

    ``sound`` runs in the engine's thread, once a frame and after ``choose``. ``forced_speech``:
    whether the checkpoint speaks forced words, where the synthesizer gives none.
    """

    def __init__(
        self,
        synthesizer: Synthesizer,
        encode: Encode,
        pad: int = 3,
        epad: int = 0,
        manners: Manners | None = None,
        mute: Callable[[bool], None] | None = None,
        words: Words = str.split,
        *,
        forced_speech: bool = True,
    ) -> None:
        super().__init__(encode, pad, epad, manners, mute, words)
        self._synthesizer = synthesizer
        self._forced_speech = forced_speech
        self._utterance: Utterance | None = None
        self._of: Script | None = None
        """The script that the utterance is the sound of."""
        self._missed = 0
        """Frames for which the script has waited for its sound."""
        self._taken = 0
        """Words of the utterance that have begun."""
        self._open: SaidWord | None = None
        self._words_out: deque[Word] = deque(maxlen=64)
        self._silence = np.zeros(FRAME_SAMPLES, dtype=np.float32)
        self.fallbacks: deque[FellBack] = deque(maxlen=16)
        """What is still to be told of scripts that were left to Moshi."""
        self._told: set[Literal["slow", "failed"]] = set()
        """Reasons that the user knows of; slow is one until a script is read to its end again."""

    @property
    def synthesizer_name(self) -> str:
        """Who reads."""
        return self._synthesizer.name

    # -- scripts -----------------------------------------------------------------------------

    def append(self, script: Script, text: str, *, complete: bool = False) -> bool:
        """Add what the writer has written meanwhile; its sound begins to be made at once."""
        if not super().append(script, text, complete=complete):
            return False
        with self._lock:
            if script is self._script and self._with_sound(script):
                assert self._utterance is not None
                self._utterance.add(self._split(text))
        return True

    def _with_sound(self, script: Script) -> bool:
        """Whether the script is read by the synthesizer; begins its utterance."""
        if self._of is script:
            return self._utterance is not None
        self._of = script
        if self._synthesizer.failure is None:
            self._utterance = self._synthesizer.begin()
            self._missed = self._taken = 0
            return True
        self._fall_back("failed", self._synthesizer.failure)
        return False

    def _drop(self, state: ScriptState) -> None:
        utterance, self._utterance = self._utterance, None
        super()._drop(state)
        if utterance is not None:
            utterance.drop()
            self._close_word(self._step, cut_off=state is not ScriptState.DONE)

    def _fall_back(self, reason: Literal["slow", "failed"], detail: str) -> None:
        """Leave what is unsaid of the script to Moshi."""
        if reason not in self._told:
            self._told.add(reason)
            self.fallbacks.append(FellBack(reason, detail))
        utterance, self._utterance = self._utterance, None
        if utterance is not None:
            utterance.drop()
            self._close_word(self._step, cut_off=True)
        self._led, self._pads = False, self.manners.longest_pause
        if not self._forced_speech:
            self._drop(ScriptState.CANCELLED)

    # -- the engine's thread -------------------------------------------------------------------

    def _may_begin(self, script: Script, quiet: int) -> bool:
        may = super()._may_begin(script, quiet)
        utterance = self._utterance
        if utterance is None or not may:
            return may
        if utterance.waiting >= BEGIN_FRAMES or (utterance.waiting and not utterance.pending):
            return True
        if self._out_of_patience(utterance):
            return self._script is script  # by Moshi itself, unless it cannot
        return False

    def _out_of_patience(self, utterance: Utterance) -> bool:
        """Note that a frame is missing; give up at some time."""
        if utterance.failure is not None:
            self._fall_back("failed", utterance.failure)
            return True
        self._missed += 1
        if self._missed > LATE_FRAMES:
            seconds = self._missed * FRAME_SECONDS
            self._fall_back("slow", f"its sound was {seconds:.1f} s late in all")
            return True
        return False

    def _next(self, script: Script, sampled: int) -> int:
        if self._utterance is None:
            return super()._next(script, sampled)
        return self._pad  # not to be heard, and to be out of its own sentence afterwards

    def sound(self) -> OtherSound | None:
        """Give what is heard in the frame of the latest step; None where it is Moshi."""
        with self._lock:
            pcm = self._sound()
            self._set_mute()
            if pcm is None and not self._words_out:
                return None
            words = tuple(self._words_out)
            self._words_out.clear()
            return OtherSound(pcm, words)

    def _sound(self) -> Pcm | None:
        script, utterance = self._script, self._utterance
        if script is None or utterance is None or script.state is not ScriptState.SPEAKING:
            return None
        frame = utterance.take()
        if frame is not None:
            self._note_words(script, frame.said)
            return frame.pcm
        if utterance.pending:
            return None if self._out_of_patience(utterance) else self._silence
        # All that was written has been read: what made no sound (a dash) is over, too.
        self._note_words(script, self._taken + len(script.ahead))
        if script.complete:
            self._told.discard("slow")
            self._drop(ScriptState.DONE)
            # Muting takes effect with the next frame; Moshi is not to be heard in this one.
            return self._silence if self._only_scripts else None
        return self._silence  # the writer is slower than the voice

    def _note_words(self, script: Script, said: int) -> None:
        """Keep account of the words that begin in this frame."""
        # ``choose`` has counted this frame already, and a word's step is its frame's number.
        step = self._step - 1
        while self._taken < said and script.ahead:
            self._taken += 1
            self._close_word(step)
            self._open = SaidWord(script.ahead.popleft(), step)
            script.said.append(self._open)

    def _close_word(self, step: int, *, cut_off: bool = False) -> None:
        """End the word that is sounding, as far as it could be heard."""
        word, self._open = self._open, None
        if word is None or (cut_off and word.step + SOUNDING_FRAMES > step):
            return
        self._words_out.append(
            Word(
                word.text,
                word.step * FRAME_SECONDS,
                max(step, word.step + 1) * FRAME_SECONDS,
                sentence_end=word.text.endswith(_SENTENCE_ENDS),
            )
        )
