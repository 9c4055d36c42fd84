"""Spoken turns and typed ones side by side: neither takes the other's words."""

import numpy as np
import pytest

from coda_voice.events import SpeechEnded
from coda_voice.moshi.frames import FRAME_SECONDS, FrameOut, Word
from coda_voice.user_texts import UserTexts

DELAY = 6


class Talk:
    """A user who speaks ``spoken`` from second 1 on, a word every 0.4 s, and may type."""

    def __init__(self, spoken: str) -> None:
        self.texts = UserTexts()
        self.generation, self.told = 1, []
        self.texts.begin_turn(1)
        self.number = 0
        self.words = [
            Word(word, 1 + 0.4 * i, 1.3 + 0.4 * i) for i, word in enumerate(spoken.split())
        ]

    def next_turn(self) -> int:
        self.generation += 1
        return self.generation

    @property
    def now(self) -> float:
        return self.number * FRAME_SECONDS

    def listen(self, until: float, *, ends: bool = False) -> None:
        while self.now < until:
            due = tuple(
                w for w in self.words if round(w.start / FRAME_SECONDS) + DELAY == self.number
            )
            frame = FrameOut(
                self.number, np.zeros(1920, np.float32), 3, user_words=due, voiced=True
            )
            self.number += 1
            over = [SpeechEnded(conversation_id="a", speaker="user", time=self.now, duration=1)]
            said = self.texts.frame(frame, over if ends and self.now >= until else ())
            for text in said:
                own = self.texts.of_its_own(text, self.next_turn)
                if own is not None:
                    self.told.append((own.generation, own.text, own.final))

    def type(self) -> int:
        spoken = self.texts.cut(self.now)
        if spoken is not None:
            self.told.append((spoken.generation, spoken.text, spoken.final))
        self.texts.typed(self.next_turn(), self.now)
        return self.generation


def test_what_is_being_said_when_a_turn_is_typed_ends_as_a_turn_of_its_own():
    talk = Talk("what is the weather")
    talk.listen(2.1)
    assert talk.type() == 2
    assert talk.told[-1] == (1, "what is", True)


def test_words_that_were_on_their_way_do_not_become_the_typed_turn():
    talk = Talk("what is the weather")
    talk.listen(2.5)
    talk.type()
    talk.listen(4.0, ends=True)
    assert [told for told in talk.told if told[0] >= 2] == []


def test_whoever_speaks_on_after_typing_begins_a_new_turn():
    talk = Talk("one two three four five six seven eight")
    talk.listen(1.7)
    typed = talk.type()
    talk.listen(5.0, ends=True)
    after = [told for told in talk.told if told[0] >= typed]
    assert {generation for generation, _, _ in after} == {typed + 1}
    assert after[-1] == (typed + 1, "three four five six seven eight", True)


@pytest.mark.parametrize("spoken", ["", "hello"])
def test_a_typed_turn_after_silence_or_a_finished_turn_stands_alone(spoken):
    talk = Talk(spoken)
    talk.listen(2.5, ends=True)
    before = list(talk.told)
    typed = talk.type()
    talk.listen(4.0, ends=True)
    assert talk.told == before and typed == 2
