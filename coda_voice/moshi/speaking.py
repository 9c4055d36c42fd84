"""Putting words into Moshi's mouth: a script, forced into the inner monologue word by word.

What those who tried it found (design.md §3, "Speaking"): one text token a frame is all the
monologue takes; a word must be led by EPAD, or the model stays in PAD and the word is lost;
tokens back to back sound rushed. So the model keeps its own rhythm: where it samples PAD it
may pause, where it samples EPAD or a word it gets the next word of the script, and only the
length of a pause has an upper bound. A script begins politely, on a PAD or where the model
would begin a word of its own, after the user has been quiet. One that answers the user begins
sooner where the model, silent so far, takes the turn: its sense of whose turn it is holds for
the script, too, whose words come in place of its own. Where an answer is due at any moment the
model's first word is held back a few frames for it: begun, it would be cut short. A script
yields when the user speaks over it; one that came too late is not begun; a newer one replaces
one that has not begun. A model that will not pause is made to, after a while. A word that made
no sound is said again: it happens to the first, where the model has just ended a sentence of
its own. Which words were said, and in which frame, is kept exactly: what the user heard is
decided from that.

Forced silence in the monologue does not silence the sound, so the speaker also says when the
voice is to be muted: after an interruption until the user is done, and, where only scripts
shall be heard, whenever none is spoken.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from coda_voice.moshi.script import (
    SILENT_FRAMES,
    SOUNDING_FRAMES,
    Manners,
    SaidWord,
    Script,
    ScriptState,
)

Encode = Callable[[str], Sequence[int]]
Words = Callable[[str], list[str]]
_LAG = 2
"""Frames from a word's choice to where its sound is known."""
_VOICE_MEMORY = 6
_ROOM_PADS = 2
"""PADs that cut a model short which will not pause by itself."""


class Speaker:
    """One conversation's scripts: the policy behind ``Slot.steer``.

    ``choose`` runs in the engine's thread, once a frame; everything else may be called
    from any thread.
    """

    def __init__(
        self,
        encode: Encode,
        pad: int = 3,
        epad: int = 0,
        manners: Manners | None = None,
        mute: Callable[[bool], None] | None = None,
        words: Words = str.split,
    ) -> None:
        self.manners = manners or Manners()
        self._encode = encode
        self._split = words
        self._pad, self._epad = pad, epad
        self._lock = threading.Lock()
        self._script: Script | None = None
        self._last: Script | None = None
        """The script that was done last."""
        self._pieces: deque[int] = deque(maxlen=64)
        self._led = False
        self._pads = 0
        self._stopping = 0
        self._model_pads = 0
        self._onset = False
        """The last token was the EPAD of the model's own first word after a silence."""
        self._quiet = 0
        self._voice: deque[bool] = deque(maxlen=_VOICE_MEMORY)
        self._step = 0
        self._mute = mute
        self._muted = False
        self._interrupted = False
        self._only_scripts = False
        self._tail = self._making_room = self._made_to_wait = 0
        self._answer_due = False
        self._holds_left = 0
        self._held = 0
        """Frames for which the script's end has waited for its last word's sound."""
        self._known = self._last_sound = 0
        """Number of the last frame of which is known whether it sounded, and that did."""

    # -- scripts -----------------------------------------------------------------------------

    def say(
        self,
        text: str = "",
        *,
        generation: int = 0,
        complete: bool = True,
        stale_after: int | None = None,
        answers: bool = False,
    ) -> Script:
        """Begin a script; with ``complete=False`` more follows by ``append``.

        One that has not begun yet is replaced; one that is being spoken is replaced after
        the word it is at. ``stale_after``: frames, in place of the manners'. One that
        ``answers`` the user may begin as soon as the model would answer by itself.
        """
        script = Script(generation=generation, stale_after=stale_after, answers=answers)
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
            script.ahead.extend(self._split(text))
            script.complete = script.complete or complete
            return True

    def finish(self, script: Script) -> None:
        """Say that nothing will be appended any more; one without words is over at once."""
        with self._lock:
            script.complete = True
            unsaid = script.state is ScriptState.WAITING and not script.ahead
            if script is self._script and unsaid:
                self._drop(ScriptState.DONE)

    def cancel(self) -> None:
        """Drop what is waiting or being said, after the word it is at."""
        with self._lock:
            self._drop(ScriptState.CANCELLED)

    def hush(self) -> None:
        """Fall silent at once, the model's own words included, until the user is done."""
        with self._lock:
            self._interrupt(ScriptState.CANCELLED)
            self._set_mute()

    def _interrupt(self, state: ScriptState) -> None:
        self._pieces.clear()  # the rest of the word, too
        if self._last is not None and self._last.sounding(self._step):
            self._last.state, self._last.ended_step = state, self._step
        self._drop(state)
        self._stopping = self.manners.stop_pads
        self._interrupted = True

    def heard(self, voiced: bool) -> None:
        """Learn whether the user's voice was in the frame that is pushed now."""
        with self._lock:
            self._voice.append(voiced)
            self._quiet = 0 if voiced else self._quiet + 1
            if self._sounding and voiced and sum(self._voice) >= self.manners.barge_in:
                self._interrupt(ScriptState.INTERRUPTED)
            elif not self._stopping and self._quiet >= _VOICE_MEMORY // 2:
                self._interrupted = False
            self._set_mute()

    def sounded(self, frame: int, sound: bool) -> None:
        """Learn whether there was sound in the voice's frame of this number.

        Where the voice is muted or another one's it cannot be told, and counts as sound.
        Frames may be left out: what is not known is taken for sound.
        """
        with self._lock:
            if sound or frame != self._known + 1:
                self._last_sound = frame
            self._known = frame

    def only_scripts(self, only: bool) -> None:
        """Have the voice muted except where a script is spoken, or no longer."""
        with self._lock:
            self._only_scripts = only
            self._set_mute()

    def expect_answer(self, due: bool) -> None:
        """Learn whether an answer is due at any moment: the model's own lead waits for it."""
        with self._lock:
            if due and not self._answer_due:
                self._holds_left = self.manners.hold_back
            self._answer_due = due

    @property
    def voiced(self) -> int:
        """In how many of the last six frames the user's voice was."""
        return sum(self._voice)

    @property
    def quiet(self) -> int:
        """For how many frames the user has been quiet."""
        return self._quiet

    @property
    def script(self) -> Script | None:
        """What is waiting or being said."""
        return self._script

    @property
    def step(self) -> int:
        """Steps the model has made."""
        return self._step

    @property
    def speaking(self) -> bool:
        """Whether a script is being said at this moment."""
        script = self._script
        return script is not None and script.state is ScriptState.SPEAKING

    @property
    def _sounding(self) -> bool:
        return self.speaking or bool(self._pieces) or self._tail > 0

    def _drop(self, state: ScriptState) -> None:
        if self._script is not None and not self._script.over:
            self._script.state = state
            self._script.ended_step = self._step
            if state in (ScriptState.INTERRUPTED, ScriptState.CANCELLED):
                self._take_back(self._script, SOUNDING_FRAMES)
            self._script.ahead.clear()
            if state is ScriptState.DONE:
                self._last = self._script
        self._script = None
        self._led = False
        self._making_room = 0
        if state is not ScriptState.REPLACED:
            self._tail = self._made_to_wait = 0

    def _set_mute(self) -> None:
        if self._mute is None:
            return
        muted = self._interrupted or (self._only_scripts and not self._sounding)
        if muted != self._muted:
            self._muted = muted
            self._mute(muted)

    # -- the engine's thread -------------------------------------------------------------------

    def choose(self, sampled: int) -> int:
        """Give the token to say where the model sampled ``sampled``."""
        with self._lock:
            self._step += 1
            holds_left = self._holds_left
            token = self._choose(sampled)
            self._onset = self._model_silent and sampled == token == self._epad
            if self._holds_left == holds_left:  # else it is as silent as it was
                self._model_pads = self._model_pads + 1 if sampled == self._pad else 0
            self._set_mute()
            return token

    def _choose(self, sampled: int) -> int:
        if self._pieces:  # a word once begun is finished
            return self._pieces.popleft()
        if self._stopping:
            self._stopping -= 1
            return self._pad
        script = self._script
        if script is not None and script.state is ScriptState.WAITING:
            return self._wait(script, sampled)
        if script is not None:
            return self._next(script, sampled)
        return self._after(sampled)

    def _after(self, sampled: int) -> int:
        """Say nothing while the last script's last word sounds; then what the model says."""
        if self._tail:
            self._tail -= 1
            return self._pad
        waits = self._answer_due and self._holds_left > 0 and not self._onset
        if waits and self._takes_turn(sampled):
            self._holds_left -= 1
            return self._pad
        return sampled

    def _wait(self, script: Script, sampled: int) -> int:
        """Say what the model says until the script may begin; then lead its first word in."""
        script.waited += 1
        stale_after = script.stale_after
        if script.waited > (self.manners.stale_after if stale_after is None else stale_after):
            self._drop(ScriptState.STALE)
            return sampled
        manners, onset = self.manners, script.answers and self._takes_turn(sampled)
        quiet = manners.quiet_at_onset if onset else manners.quiet_before
        if not self._may_begin(script, quiet):
            self._making_room = 0
            return self._after(sampled)
        if onset:
            return self._begin(script, led=self._onset)
        # Two PADs in a row: the model is between words, not inside one. An EPAD is the last
        # PAD before a word of its own: the script's first word comes in that one's place.
        between = sampled == self._epad or (sampled == self._pad and self._model_pads >= 1)
        if not between and not self._tail and not self._only_scripts:
            self._made_to_wait += 1
            patience = manners.patience
            if patience is None or self._made_to_wait <= patience:
                return sampled
            self._making_room += 1
            if self._making_room <= _ROOM_PADS:
                return self._pad
        return self._begin(script)

    def _begin(self, script: Script, *, led: bool = False) -> int:
        self._made_to_wait = self._making_room = 0
        script.state = ScriptState.SPEAKING
        self._led = led
        self._pads = self.manners.longest_pause  # the first word is led in at once
        return self._next(script, self._pad)

    @property
    def _model_silent(self) -> bool:
        return self._model_pads > self.manners.longest_pause

    def _takes_turn(self, sampled: int) -> bool:
        """Whether the model begins to speak after a silence: soon a script would cut it short."""
        begins = self._onset or (self._model_silent and sampled != self._pad)
        return begins and not self._tail

    def _may_begin(self, script: Script, quiet: int) -> bool:
        """Whether there is something to say, and the user has been quiet for so many frames.

        Not while the voice is still muted: what was said then nobody would hear.
        """
        return bool(script.ahead) and self._quiet >= quiet and not self._interrupted

    def _take_back(self, script: Script, frames: int) -> str | None:
        """Take back the last word if its first ``frames`` were silent; gives it."""
        if not script.said:
            return None
        word = script.said[-1]
        if self._last_sound >= word.step or self._known < word.step + frames - 1:
            return None
        script.silent.append(script.said.pop())
        return word.text

    def _still_silent(self, script: Script) -> bool:
        """Whether the last word is yet to sound, or to turn out to be lost."""
        if len(script.said) <= script.sure:
            return False
        begun = script.said[-1].step
        # What sounded is known a little later than it was chosen, or never.
        told = self._known > 0 and self._step <= begun + SILENT_FRAMES + _LAG
        return told and self._last_sound < begun

    def _next(self, script: Script, sampled: int) -> int:
        if len(script.said) > script.sure and (lost := self._take_back(script, SILENT_FRAMES)):
            script.sure = len(script.said) + 1  # if it is silent again, it goes on
            script.ahead.appendleft(lost)
            self._led = False
            self._pads = self.manners.longest_pause
        if not script.ahead:
            if not script.complete:
                return self._pad  # the writer is slower than the voice
            if self._still_silent(script):
                self._held += 1
                return self._pad
            tail = max(0, self.manners.tail_pads - self._held)
            self._drop(ScriptState.DONE)
            self._tail = tail
            return self._pad if tail else sampled
        if self._led:
            return self._word(script)
        if sampled == self._pad and self._pads < self.manners.longest_pause:
            self._pads += 1
            return self._pad
        if sampled in (self._pad, self._epad) or self.manners.lead_every_word:
            self._led = True
            return self._epad
        return self._word(script)  # the model goes straight on to a next word

    def _word(self, script: Script) -> int:
        word = script.ahead.popleft()
        script.said.append(SaidWord(word, self._step))
        self._led, self._pads, self._held = False, 0, 0
        self._pieces.extend(self._encode(word))
        return self._pieces.popleft() if self._pieces else self._pad
