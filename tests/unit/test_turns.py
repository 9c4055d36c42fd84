"""Turns, latency and barge-in, derived from frames."""

import numpy as np
import pytest

from coda_voice.audio.features import level_dbfs
from coda_voice.events import BargeIn, Event, SpeechEnded, SpeechStarted, TurnLatency, WordSpoken
from coda_voice.moshi.frames import FRAME_SECONDS, Word
from coda_voice.turns import TurnTracker, UserSpeech

QUIET, LOUD = -79.0, -15.0


def play(
    tracker: TurnTracker,
    frames: int,
    *,
    agent: list[tuple[int, int]] = (),
    words: dict[int, str] | None = None,
    user: dict[int, list[UserSpeech]] | None = None,
) -> list[Event]:
    """Feed ``frames`` frames; ``agent`` gives the loud stretches, ``words`` word tokens."""
    events = []
    for frame in range(frames):
        said = (words or {}).get(frame)
        events += tracker.observe(
            frame * FRAME_SECONDS,
            user=(user or {}).get(frame, ()),
            agent_level=LOUD if any(a <= frame < b for a, b in agent) else QUIET,
            word_token=said is not None,
            words=(
                [Word(said, frame * FRAME_SECONDS, (frame + 2) * FRAME_SECONDS)] if said else ()
            ),
        )
    return events


def of(kind: type[Event], events: list[Event]) -> list:
    return [event for event in events if isinstance(event, kind)]


def start(time: float) -> UserSpeech:
    return UserSpeech("start", time)


def end(time: float) -> UserSpeech:
    return UserSpeech("end", time)


def test_agent_speech_has_the_times_of_its_sound():
    tracker = TurnTracker("c")
    events = play(tracker, 60, agent=[(10, 30)], words={9: "one", 15: "moment"})
    [began], [ended] = of(SpeechStarted, events), of(SpeechEnded, events)
    assert began.speaker == "agent"
    assert began.time == pytest.approx(10 * FRAME_SECONDS)
    assert ended.time == pytest.approx(30 * FRAME_SECONDS)
    assert ended.duration == pytest.approx(20 * FRAME_SECONDS)
    assert [turn.text for turn in tracker.turns] == ["one moment"]
    assert tracker.agent_turns == 1


def test_pauses_between_words_do_not_end_a_turn_but_half_a_second_does():
    tracker = TurnTracker("c")
    talk = {10: "a", 18: "b", 40: "c"}
    events = play(tracker, 80, agent=[(10, 15), (20, 25), (40, 45)], words=talk)
    assert len(of(SpeechStarted, events)) == 2
    assert [turn.text for turn in tracker.turns] == ["a b", "c"]


def test_a_click_is_no_speech_and_a_wordless_laugh_is():
    tracker = TurnTracker("c")
    events = play(tracker, 80, agent=[(10, 13), (40, 46)])
    [began] = of(SpeechStarted, events)
    assert began.time == pytest.approx(40 * FRAME_SECONDS)


def test_silence_makes_no_events():
    assert play(TurnTracker("c"), 200) == []


def test_latency_is_from_the_end_of_the_users_speech_to_the_agents_first_sound():
    tracker = TurnTracker("c")
    user = {5: [start(0.3)], 25: [end(1.5)]}
    events = play(tracker, 80, agent=[(40, 60)], words={39: "yes"}, user=user)
    [latency] = of(TurnLatency, events)
    assert latency.seconds == pytest.approx(40 * FRAME_SECONDS - 1.5)


def test_latency_of_an_answer_quicker_than_the_voice_detector():
    """The end at 1.5 s is known only a second later, when the agent speaks already."""
    tracker = TurnTracker("c")
    user = {5: [start(0.3)], 32: [end(1.5)]}
    events = play(tracker, 80, agent=[(22, 50)], words={21: "yes"}, user=user)
    [latency] = of(TurnLatency, events)
    assert latency.seconds == pytest.approx(22 * FRAME_SECONDS - 1.5)


def test_only_the_first_sound_after_a_question_is_its_answer():
    tracker = TurnTracker("c")
    user = {5: [start(0.3)], 20: [end(1.0)]}
    events = play(tracker, 120, agent=[(30, 40), (60, 70)], words={29: "a", 59: "b"}, user=user)
    assert len(of(TurnLatency, events)) == 1


def test_speech_long_after_the_question_is_no_answer():
    tracker = TurnTracker("c")
    user = {5: [start(0.3)], 20: [end(1.0)]}
    events = play(tracker, 220, agent=[(190, 200)], words={189: "hm"}, user=user)
    assert of(TurnLatency, events) == []


def test_barge_in_tells_how_long_the_agent_went_on():
    tracker = TurnTracker("c")
    user = {34: [start(32 * FRAME_SECONDS)], 60: [end(52 * FRAME_SECONDS)]}
    events = play(tracker, 80, agent=[(10, 36)], words={9: "i", 12: "will"}, user=user)
    [barge] = of(BargeIn, events)
    assert barge.time == pytest.approx(32 * FRAME_SECONDS)
    assert barge.silent_after == pytest.approx(4 * FRAME_SECONDS)


def test_an_agent_that_talks_on_gives_a_barge_in_without_silence():
    tracker = TurnTracker("c")
    user = {34: [start(32 * FRAME_SECONDS)], 50: [end(44 * FRAME_SECONDS)]}
    events = play(tracker, 120, agent=[(10, 100)], words={9: "i"}, user=user)
    [barge] = of(BargeIn, events)
    assert barge.silent_after is None


def test_a_backchannel_is_no_barge_in():
    tracker = TurnTracker("c")
    user = {34: [start(32 * FRAME_SECONDS)], 42: [end(35 * FRAME_SECONDS)]}
    events = play(tracker, 120, agent=[(10, 100)], words={9: "i"}, user=user)
    assert of(BargeIn, events) == []


def test_a_backchannel_at_the_end_of_the_agents_speech_is_no_barge_in():
    """The detector needs a while to be sure of the end; the overlap itself was short."""
    tracker = TurnTracker("c")
    user = {34: [start(32 * FRAME_SECONDS)], 60: [end(35 * FRAME_SECONDS)]}
    events = play(tracker, 80, agent=[(10, 36)], words={9: "i"}, user=user)
    assert of(BargeIn, events) == []


def test_an_agent_that_begins_again_was_still_silenced():
    tracker = TurnTracker("c")
    user = {34: [start(32 * FRAME_SECONDS)], 70: [end(62 * FRAME_SECONDS)]}
    events = play(tracker, 90, agent=[(10, 36), (50, 80)], words={9: "i", 49: "so"}, user=user)
    [barge] = of(BargeIn, events)
    assert barge.silent_after == pytest.approx(4 * FRAME_SECONDS)


def test_the_user_beginning_in_the_agents_trailing_silence_is_no_barge_in():
    tracker = TurnTracker("c")
    user = {35: [start(33 * FRAME_SECONDS)], 60: [end(52 * FRAME_SECONDS)]}
    events = play(tracker, 80, agent=[(10, 31)], words={9: "i"}, user=user)
    assert of(BargeIn, events) == []


def test_finish_closes_what_is_open():
    tracker = TurnTracker("c")
    user = {5: [start(0.3)]}
    play(tracker, 30, agent=[(20, 30)], words={19: "so"}, user=user)
    closed = of(SpeechEnded, tracker.finish())
    assert {event.speaker for event in closed} == {"user", "agent"}
    assert not tracker.user_speaking and not tracker.agent_speaking
    assert tracker.finish() == []


def test_a_word_completed_after_the_sound_belongs_to_the_turn_that_spoke_it():
    tracker = TurnTracker("c")
    play(tracker, 40, agent=[(10, 20)], words={9: "thank"})
    late = Word("you", 15 * FRAME_SECONDS, 18 * FRAME_SECONDS)
    [word] = tracker.observe(40 * FRAME_SECONDS, agent_level=QUIET, words=[late])
    assert isinstance(word, WordSpoken)
    assert tracker.turns[-1].text == "thank you"


def test_levels_are_in_decibels_below_full_scale():
    assert level_dbfs(np.ones(1920, dtype=np.float32)) == pytest.approx(0.0)
    assert level_dbfs(np.full(1920, 0.01, dtype=np.float32)) == pytest.approx(-40.0, abs=0.01)
    assert level_dbfs(np.zeros(1920, dtype=np.float32)) == -120.0
    assert level_dbfs(np.zeros(0, dtype=np.float32)) == -120.0
