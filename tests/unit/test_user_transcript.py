"""The user's words by turn: what nobody spoke is dropped, what was spoken stays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from coda_voice.moshi.frames import FRAME_SECONDS, FrameOut, Word
from coda_voice.moshi.transcript import EndOfSpeech, UserTranscript, Utterance

PCM = np.zeros(1920, dtype=np.float32)
DELAY = 6
ECHO = 0.3


def words(text: str, start: float, each: float = 0.4) -> list[Word]:
    """A word every ``each`` seconds."""
    return [
        Word(word, start + i * each, start + i * each + 0.3) for i, word in enumerate(text.split())
    ]


def frame_at(seconds: float) -> int:
    return round(seconds / FRAME_SECONDS)


def run(
    transcript: UserTranscript,
    seconds: float,
    *,
    user: Sequence[Word] = (),
    agent: Sequence[Word] = (),
    voiced: list[tuple[float, float]] | None = None,
    muted: bool = False,
    start: float = 0.0,
) -> list[Utterance]:
    """Frames from ``start`` on: words become known as late as they do with real models."""
    told = []
    for number in range(frame_at(start), frame_at(start + seconds)):
        time = number * FRAME_SECONDS

        voice = None
        if voiced is not None:
            voice = any(begin <= time < end for begin, end in voiced)
        utterance = transcript.push(
            FrameOut(
                frame=number,
                pcm=PCM,
                text_token=3,
                words=tuple(w for w in agent if frame_at(w.end + 0.2) == number),
                user_words=tuple(w for w in user if frame_at(w.start) + DELAY == number),
                muted=muted,
                voiced=voice,
            )
        )
        if utterance is not None:
            told.append(utterance)
    return told


def test_words_come_one_by_one_and_the_end_of_the_turn_makes_them_final() -> None:
    transcript = UserTranscript()
    transcript.begin_turn(4)
    told = run(transcript, 4.0, user=words("what is your name", 1.0), voiced=[(1.0, 2.6)])
    assert [u.text for u in told] == [
        "what",
        "what is",
        "what is your",
        "what is your name",
    ]
    assert {(u.final, u.generation) for u in told} == {(False, 4)}
    final = transcript.end_turn()
    assert final is not None
    assert (final.text, final.final, final.generation) == ("what is your name", True, 4)
    assert [word.start for word in final.words] == [1.0, 1.4, 1.8, 2.2]
    transcript.begin_turn(5)
    assert transcript.end_turn() is None


def test_a_word_that_comes_after_the_end_makes_the_turn_final_again() -> None:
    transcript = UserTranscript()
    both = words("thank you", 1.0)
    run(transcript, 1.8, user=both, voiced=[(1.0, 1.8)])
    first = transcript.end_turn()
    assert first is not None and (first.text, first.final) == ("thank", True)
    (late,) = run(transcript, 1.0, user=both, voiced=[(1.0, 1.8)], start=1.8)
    assert (late.text, late.final) == ("thank you", True)
    flushed = transcript.add(words("indeed", 1.6))
    assert flushed is not None and (flushed.text, flushed.final) == ("thank you indeed", True)


def test_what_was_invented_where_nobody_spoke_is_dropped_and_counted() -> None:
    transcript = UserTranscript()
    invented = words("thank you for watching", 4.0)
    told = run(transcript, 8.0, user=words("hello", 1.0) + invented, voiced=[(1.0, 1.5)])
    assert told[-1].text == "hello"
    assert transcript.silence_dropped == 4


def test_without_a_voice_detector_every_word_is_believed() -> None:
    transcript = UserTranscript()
    assert run(transcript, 3.0, user=words("hello", 1.0))[-1].text == "hello"
    assert transcript.silence_dropped == 0


def test_the_agents_echo_becomes_no_word_of_the_user() -> None:
    transcript = UserTranscript()
    agent = words("it is seven degrees in paris", 1.0)
    echo = words("it is seven degrees in paris", 1.0 + ECHO)
    told = run(transcript, 6.0, user=echo, agent=agent, voiced=[(1.3, 3.8)])
    assert transcript.end_turn() is None
    assert transcript.echo_dropped == 6
    assert not told or told[-1].text == ""


def test_an_echo_that_was_misheard_a_little_is_an_echo() -> None:
    transcript = UserTranscript()
    run(
        transcript,
        4.0,
        user=words("tempatures rising", 1.3),
        agent=words("temperatures rising", 1.0),
        voiced=[(1.3, 2.2)],
    )
    assert transcript.end_turn() is None


def test_an_interruption_is_heard_through_the_echo() -> None:
    transcript = UserTranscript()
    agent = words("the weather in paris is fine", 1.0)
    echo = words("the weather in paris is fine", 1.0 + ECHO)
    stop = words("stop that", 2.0, each=0.5)
    run(
        transcript,
        6.0,
        user=sorted(echo + stop, key=lambda w: w.start),
        agent=agent,
        voiced=[(1.3, 3.9)],
    )
    final = transcript.end_turn()
    assert final is not None and final.text == "stop that"


def test_an_echo_that_is_understood_before_the_agents_word_is_complete_is_taken_back() -> None:
    transcript = UserTranscript()
    slow = [Word("interesting", 1.0, 2.4)]  # known at 2.6; its echo was written at 1.8
    told = run(transcript, 4.0, user=words("interesting", 1.3), agent=slow, voiced=[(1.3, 2.7)])
    assert [u.text for u in told] == ["interesting", ""]
    assert transcript.end_turn() is None


def test_on_a_line_without_echo_the_user_may_repeat_the_agent() -> None:
    transcript = UserTranscript()
    agent = words("that will be eight euros and it takes five minutes", 1.0)
    run(transcript, 8.0, agent=agent, voiced=[])
    run(
        transcript,
        4.0,
        agent=words("five minutes", 9.0),
        user=words("five minutes", 9.6),
        voiced=[(9.6, 10.4)],
        start=8.0,
    )
    final = transcript.end_turn()
    assert final is not None and final.text == "five minutes"
    assert transcript.echo_dropped == 0


def test_an_answer_in_the_agents_words_is_no_echo_when_it_comes_later() -> None:
    transcript = UserTranscript()
    run(
        transcript,
        6.0,
        agent=words("tea or coffee", 1.0),
        user=words("coffee", 4.0),
        voiced=[(1.2, 2.4), (4.0, 4.4)],
    )
    final = transcript.end_turn()
    assert final is not None and final.text == "coffee"


def test_a_muted_agent_has_no_echo() -> None:
    transcript = UserTranscript()
    run(
        transcript,
        4.0,
        agent=words("hello", 1.0),
        user=words("hello", 1.2),
        voiced=[(1.2, 1.6)],
        muted=True,
    )
    final = transcript.end_turn()
    assert final is not None and final.text == "hello"


def ends(voice: str, pause: str | None = None) -> list[int]:
    """Frames at which speech is over: ``voice`` # or ., ``pause`` tenths of the first head."""
    judge = EndOfSpeech()
    return [
        number
        for number, mark in enumerate(voice)
        if judge.push(mark == "#", None if pause is None else (int(pause[number]) / 10,) * 4)
    ]


def test_speech_is_over_after_a_few_frames_without_voice_once_for_each_stretch() -> None:
    assert ends("..####......###...........") == [8, 17]
    assert ends("..###..###.#.####") == []
    assert ends("..........") == []


def test_the_pause_head_agrees_a_frame_sooner_but_never_alone() -> None:
    assert ends("..####......", "999000999999") == [7]
    assert ends("..####......", "999999000000") == [8]
    assert ends("..##########", "999999999999") == []


def test_without_a_voice_detector_the_pause_head_decides() -> None:
    judge = EndOfSpeech()
    heads = [0.9, 0.9, 0.1, 0.2, 0.5, 0.3, 0.8, 0.9, 0.9, 0.5, 0.9, 0.1, 0.9, 0.9]
    over = [i for i, head in enumerate(heads) if judge.push(None, (head, head))]
    assert over == [7, 13]
    assert not any(EndOfSpeech().push(None, None) for _ in heads)
