"""A word that the model leaves silent is said again, and does not count as heard."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from coda_voice.analytics import Analytics
from coda_voice.bell import Bells
from coda_voice.config import LoggingConfig
from coda_voice.event_bus import EventBus
from coda_voice.events import WordSpoken
from coda_voice.heard import FrameReader, Surroundings
from coda_voice.logs import Logs
from coda_voice.moshi.frames import FRAME_SAMPLES, FRAME_SECONDS, FrameOut, Word
from coda_voice.moshi.script import SILENT_FRAMES, Manners, ScriptState
from coda_voice.moshi.speaking import Speaker

PAD, EPAD = 3, 0
PIECES = {word: [100 + n, 200 + n] for n, word in enumerate(("yes", "you", "like", "chess"))}


class Talk:
    """A model that pauses where it can, and sounds where ``sounds`` says, from frame to frame."""

    def __init__(self, sounds: Callable[[Speaker], bool], **manners: int) -> None:
        self.speaker = Speaker(PIECES.__getitem__, PAD, EPAD, Manners(**manners))
        self.tokens: list[int] = []
        self._sounds = sounds

    def run(self, frames: int, *, voiced: bool = False) -> None:
        for _ in range(frames):
            self.speaker.heard(voiced)
            self.tokens.append(self.speaker.choose(PAD))
            self.speaker.sounded(len(self.tokens), self._sounds(self.speaker))


def all_but_the_first_attempt(speaker: Speaker) -> bool:
    script = speaker.script
    return script is not None and bool(script.said) and bool(script.silent)


def test_a_lost_word_is_said_again_at_once() -> None:
    talk = Talk(all_but_the_first_attempt)
    script = talk.speaker.say("you like chess")
    talk.run(60)
    assert script.state is ScriptState.DONE
    assert script.heard() == ["you", "like", "chess"]
    (lost,) = script.silent
    again = script.said[0]
    assert (lost.text, again.text) == ("you", "you")
    assert SILENT_FRAMES < again.step - lost.step <= SILENT_FRAMES + 2
    assert talk.tokens[again.step - 2] == EPAD, "it is led in like any other"
    assert sum(token == PIECES["you"][0] for token in talk.tokens) == 2


def test_it_is_said_again_only_once() -> None:
    talk = Talk(lambda speaker: False)
    script = talk.speaker.say("you like chess")
    talk.run(120)
    assert script.state is ScriptState.DONE
    assert [word.text for word in script.silent] == ["you", "like", "chess"]
    assert [word.text for word in script.said] == ["you", "like", "chess"]


@pytest.mark.parametrize("tail", [0, 12])
def test_the_end_waits_until_the_only_word_sounds(tail: int) -> None:
    talk = Talk(all_but_the_first_attempt, tail_pads=tail)
    script = talk.speaker.say("yes")
    talk.run(60)
    assert script.state is ScriptState.DONE
    assert [word.text for word in script.silent] == ["yes"]
    assert script.heard() == ["yes"]


def test_it_does_not_wait_for_sound_that_nobody_tells_of() -> None:
    speaker = Speaker(PIECES.__getitem__, PAD, EPAD, Manners())
    script = speaker.say("yes")
    while not script.said:
        speaker.heard(False)
        speaker.choose(PAD)
    for _ in range(2):
        speaker.choose(PAD)
    assert script.state is ScriptState.DONE


def test_the_tail_is_no_longer_for_the_waiting() -> None:
    def last_pad(sounds: Callable[[Speaker], bool]) -> int:
        talk = Talk(sounds, tail_pads=10)
        script = talk.speaker.say("yes")
        while not script.said or talk.speaker.choose(900) == PAD:
            talk.run(1)
        return talk.speaker.step - script.said[0].step

    late = last_pad(lambda speaker: speaker.script is not None and bool(speaker.script.said))
    assert abs(late - last_pad(lambda speaker: True)) <= 1


def test_what_is_interrupted_before_its_sound_came_was_not_heard() -> None:
    talk = Talk(lambda speaker: False)
    script = talk.speaker.say("you like chess")
    while not script.said:
        talk.run(1)
    talk.run(5, voiced=True)
    assert script.state is ScriptState.INTERRUPTED
    assert script.heard() == []
    assert [word.text for word in script.silent] == ["you"]


def test_frames_that_are_not_told_of_are_taken_for_sound() -> None:
    speaker = Speaker(PIECES.__getitem__, PAD, EPAD, Manners())
    script = speaker.say("you like chess")
    for number in range(1, 61):
        speaker.heard(False)
        speaker.choose(PAD)
        if number % 4:
            speaker.sounded(number, False)
    assert not script.silent and script.state is ScriptState.DONE


def frame_out(number: int, pcm: float, *words: Word) -> FrameOut:
    wave = np.full(FRAME_SAMPLES, pcm, dtype=np.float32)
    return FrameOut(number, wave, PAD, words)


@pytest.mark.parametrize(("loud", "told"), [(3, []), (11, ["you"])])
def test_words_without_sound_are_no_event(loud: int, told: list[str]) -> None:
    """A word begun in frame 10, and told of when the monologue has left it, in frame 16."""
    reader = FrameReader("c", Surroundings(EventBus(), Analytics(), Logs(LoggingConfig()), Bells()))
    word = Word("you", 10 * FRAME_SECONDS, 12 * FRAME_SECONDS)
    events = []
    for number in range(20):
        said = (word,) if number == 16 else ()
        heard = reader.hear(frame_out(number, 0.1 if number == loud else 0.0, *said))
        events += [event for event in heard.events if isinstance(event, WordSpoken)]
    assert [event.text for event in events] == told
