"""One turn that is being thought about, and the handing over of its sentences to the voice."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from coda_voice.hybrid.answer import MAX_SENTENCES, Answer, Sentence
from coda_voice.scripted_voice import ScriptedVoice, Spoken


@dataclass(eq=False)
class TurnUnderWay:
    """What the user said, and how far its answer is.

    ``voice`` says the sentences; ``enough`` is called when it was cut off and nothing more
    need be thought; ``script_ended`` is told what was heard of each script. ``moshi_answered``:
    whether Moshi alone has answered this turn, None while that is not known.
    """

    text: str
    generation: int
    answer: Answer
    voice: ScriptedVoice
    enough: Callable[[], None]
    script_ended: Callable[[Spoken], None]
    moshi_answered: Callable[[], bool | None] = lambda: False
    spoken: Spoken | None = None
    asking: Spoken | None = None
    """The script that asks for leave."""
    task: asyncio.Task[None] | None = None
    finished: bool = False
    """All sentences have been handed to the voice."""
    _released: bool = False
    _held: deque[Sentence] = field(default_factory=lambda: deque(maxlen=MAX_SENTENCES))
    """Sentences that came before the user seemed to be done, or into an announcement."""
    _all_there: bool = False
    """No more sentences will come."""

    @property
    def begun(self) -> bool:
        """Whether a word of it has been said."""
        return self.spoken is not None and bool(self.spoken.script.said)

    def note_heard(self) -> None:
        """Let the answer know once a word of it, and not of a filler, has been said."""
        spoken = self.spoken
        if spoken is None or spoken.answer_from is None:
            return
        if len(spoken.script.said) > spoken.answer_from:
            self.answer.heard = True

    @property
    def answer_waits(self) -> bool:
        """Whether an answer is held back or about to begin, not only a filler or an apology."""
        spoken = self.spoken
        begins = spoken is not None and spoken.answer_from == 0 and not self.begun
        return (begins and not self.over) or any(
            sentence.kind not in ("filler", "apology") for sentence in self._held
        )

    @property
    def over(self) -> bool:
        """Whether its last word has been said."""
        return self.finished and (self.spoken is None or self.spoken.over)

    def release(self) -> None:
        """The user seems to be done: have said what is there, and what comes as it comes.

        What is there is with the voice when this returns, so that the very next frame can
        begin with it; a filler is left out where the answer is there already.
        """
        self._released = True
        self.pass_on()

    def pass_on(self) -> None:
        """Hand over what was held back, where nothing is in its way any more; once a frame."""
        if not self._may_speak:
            return
        needless = any(sentence.kind != "filler" for sentence in self._held)
        while self._held:
            if self._held[0].kind == "apology" and self.spoken is None:
                if (answered := self.moshi_answered()) is None:
                    return
                if answered:
                    self._held.clear()
                    break
            sentence = self._held.popleft()
            if sentence.kind == "filler" and needless:
                continue
            if not self._hand_over(sentence):
                self._held.clear()
        if self._all_there and not self.finished:
            self._finish()

    @property
    def _may_speak(self) -> bool:
        return self._released and not self.voice.announcing

    async def speak(self) -> None:
        """Hand the sentences to the voice, when it is time for them."""
        async for sentence in self.answer:
            if self._held or not self._may_speak or sentence.kind == "apology":
                self._held.append(sentence)
                self.pass_on()
            elif not self._hand_over(sentence):
                break
        self._all_there = True
        self.pass_on()

    def _finish(self) -> None:
        if self.spoken is not None:
            self.voice.finish(self.spoken)
        self.finished = True

    def _hand_over(self, sentence: Sentence) -> bool:
        """Have a sentence spoken; False if the answer was cut off and nothing more is due."""
        due = self._say(sentence)
        if due and sentence.kind == "question":
            self.asking = self.spoken
        return due

    def _ended(self, spoken: Spoken) -> None:
        """Tell what was heard; a question counts as asked only if that is all of it."""
        self.note_heard()
        if spoken is self.asking and not spoken.unsaid:
            self.answer.question_heard()
        self.script_ended(spoken)

    def _say(self, sentence: Sentence) -> bool:
        spoken = self.spoken
        filler = sentence.kind == "filler"
        if spoken is not None and not spoken.over:
            if spoken.answer_from is None and not filler:
                spoken.answer_from = len(spoken.text.split())
            return self.voice.append(spoken, sentence.text)
        if spoken is not None and spoken.origin == "answer":
            if not filler:
                self.enough()
            return filler
        self.spoken = self.voice.say(
            sentence.text,
            origin="filler" if filler else "answer",
            generation=self.generation,
            complete=filler,
            offline=sentence.offline,
            on_end=self._ended,
        )
        self.spoken.answer_from = None if filler else 0
        return True

    def drop(self) -> None:
        """Hand nothing more over; what is being said comes to its end, what waits does not."""
        if self.task is not None:
            self.task.cancel()
        spoken = self.spoken
        if spoken is not None and not spoken.over and not self.voice.speaking:
            self.voice.speaker.cancel()
        elif spoken is not None:
            self.voice.finish(spoken)
