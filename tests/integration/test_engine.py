"""The engine as its users see it: leases, frames in, frames out, and what goes wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from coda_voice.errors import (
    AudioProcessingError,
    ConfigurationError,
    ConversationError,
    SlotsFullError,
    ValidationError,
)
from coda_voice.moshi.checkpoint import load_models
from coda_voice.moshi.engine import Engine, EngineOptions
from coda_voice.moshi.frames import FRAME_SAMPLES, Sampling
from coda_voice.moshi.prompt import Prompt
from tests.integration.speech import Talk, audio, silence, spoken, words

GREEDY = Sampling.greedy()
PROMPT = Prompt("your name is nova. the user is anna. the user likes chess")


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    options = EngineOptions(slots=2, inbox_frames=10, outbox_frames=10)
    with Engine(load_models("coda-tiny", "cpu"), options) as running:
        yield running


def test_as_many_frames_come_out_as_went_in_and_the_agent_speaks(engine: Engine) -> None:
    talk = Talk(engine, sampling=GREEDY)
    out = talk.feed([*spoken("hello", 10), *spoken("what_is_your_name", 30)])
    talk.close()
    assert [frame.frame for frame in out] == list(range(len(out)))
    assert out[0].text_token is None and np.abs(out[0].pcm).max() < 0.01
    assert words(out)
    assert np.abs(audio(out)).max() > 0.05
    for frame in out:
        assert frame.times.encode > 0 and frame.times.model > 0 and frame.times.decode > 0
        assert frame.times.queued >= 0


def test_all_slots_leased_is_an_explicit_refusal_and_a_released_one_can_be_had_again(
    engine: Engine,
) -> None:
    first, second = Talk(engine), Talk(engine)
    with pytest.raises(SlotsFullError, match="all 2 slots"):
        engine.lease()
    first.close()
    first.close()
    third = Talk(engine)
    third.feed(silence(2))
    second.close()
    third.close()


def test_a_file_is_never_dropped_and_pushing_is_refused_while_there_is_no_room(
    engine: Engine,
) -> None:
    talk = Talk(engine, sampling=GREEDY)
    refused = 0
    for frame in silence(60):
        while not talk.slot.push(frame):
            refused += 1
            talk.changed.wait(60)
            talk.changed.clear()
            talk.out += talk.slot.take()
    talk.slot.finish()
    while not talk.slot.drained:
        talk.changed.wait(60)
        talk.changed.clear()
        talk.out += talk.slot.take()
    talk.out += talk.slot.take()
    talk.close()
    assert refused > 0
    assert len(talk.out) == 60
    assert talk.slot.counters.dropped_in == talk.slot.counters.dropped_out == 0


def test_a_realtime_session_that_sends_too_fast_loses_its_oldest_frames_and_counts_them(
    engine: Engine,
) -> None:
    talk = Talk(engine, realtime=True, prompt=PROMPT)
    kept = [talk.slot.push(frame) for frame in silence(40)]
    talk.slot.finish()
    while not talk.slot.drained:
        assert talk.changed.wait(60)
        talk.changed.clear()
        talk.out += talk.slot.take()
    talk.close()
    counters = talk.slot.counters
    assert counters.dropped_in == kept.count(False) > 0
    assert counters.frames_out == 40 - counters.dropped_in
    assert counters.dropped_out == counters.frames_out - len(talk.out)


def test_a_consumer_that_does_not_fetch_loses_the_oldest_output_of_a_realtime_session(
    engine: Engine,
) -> None:
    done = threading.Event()
    talk = Talk(engine, realtime=True)
    slot = talk.slot
    for frame in silence(25):
        while len(slot.inbox) > 5:
            talk.changed.wait(60)
            talk.changed.clear()
        slot.push(frame)
    slot.finish()
    while not slot.drained:
        talk.changed.wait(60)
        talk.changed.clear()
    done.set()
    out = slot.take()
    talk.close()
    assert len(out) == 10
    assert out[-1].frame == 24
    assert slot.counters.dropped_out == 15


def test_forced_tokens_are_said_one_a_frame_and_appear_in_the_monologue(engine: Engine) -> None:
    models = engine.models
    text = "the answer is seven"
    tokens = [0, *models.encode_text(text), 0]
    talk = Talk(engine, sampling=GREEDY)
    talk.feed(silence(5))
    talk.slot.force(tokens)
    out = talk.feed(silence(len(tokens) + 10))
    talk.close()
    assert text in words(out)
    said = [frame.text_token for frame in out]
    start = said.index(tokens[1]) - 1
    assert said[start : start + len(tokens)] == tokens


def test_what_was_forced_for_an_older_turn_dies_with_it(engine: Engine) -> None:
    talk = Talk(engine, sampling=GREEDY)
    talk.feed(silence(2))
    old = talk.slot.generation
    talk.slot.force(engine.models.encode_text("the answer is seven"), generation=old)
    talk.slot.next_generation()
    assert not talk.slot.force(engine.models.encode_text("stale"), generation=old)
    out = talk.feed(silence(12))
    talk.close()
    assert not any(frame.forced for frame in out)
    assert {frame.generation for frame in out} == {1}


def test_a_steering_policy_sees_every_sampled_token_and_has_the_last_word(engine: Engine) -> None:
    seen: list[int] = []

    def only_pads(sampled: int) -> int:
        seen.append(sampled)
        return 3

    talk = Talk(engine, sampling=GREEDY)
    talk.slot.steer(only_pads)
    out = talk.feed(spoken("hello", 20))
    talk.close()
    assert len(seen) == len(out)
    assert any(token != 3 for token in seen), "the model wanted to say something"
    assert words(out) == ""


def test_references_change_the_model_and_only_of_the_slot_they_were_given_to(
    engine: Engine,
) -> None:
    vectors = engine.models.reference_vectors(engine.models.encode_text("the user likes chess"))
    question = spoken("what_do_i_like", 20)
    plain, told = Talk(engine, sampling=GREEDY), Talk(engine, sampling=GREEDY)
    told.slot.reference(20 * vectors)
    one, other = plain.feed(question), told.feed(question)
    plain.close()
    told.close()
    again = Talk(engine, sampling=GREEDY)
    repeated = again.feed(question)
    again.close()
    assert [frame.text_token for frame in one] == [frame.text_token for frame in repeated]
    assert np.array_equal(audio(one), audio(repeated))
    assert not np.array_equal(audio(one), audio(other))


def test_a_muted_agent_is_silent_until_it_is_unmuted(engine: Engine) -> None:
    talk = Talk(engine, sampling=GREEDY)
    talk.slot.mute(True)
    muted = talk.feed(spoken("hello", 20))
    talk.slot.mute(False)
    heard = talk.feed(spoken("hello", 20))
    talk.close()
    assert not np.any(audio(muted)) and all(frame.muted for frame in muted)
    assert np.any(audio(heard))


def test_the_second_conversation_with_a_prompt_takes_it_from_the_cache(engine: Engine) -> None:
    prompt = replace(PROMPT, text=PROMPT.text + " and music")
    before = engine.stats()
    first, second = (Talk(engine, sampling=GREEDY, prompt=prompt) for _ in range(2))
    one = first.feed(spoken("what_do_i_like", 20))
    first.close()
    second.close()
    third = Talk(engine, sampling=GREEDY, prompt=prompt)
    other = third.feed(spoken("what_do_i_like", 20))
    third.close()
    after = engine.stats()
    assert after.prompt_cache_hits > before.prompt_cache_hits
    assert [f.text_token for f in one] == [f.text_token for f in other]


def test_a_prompt_takes_no_more_room_in_the_cache_than_it_has_filled() -> None:
    """A whole context of coda-tiny's is 6 MB (Moshi-7B's 1.6 GB: no default has room for it)."""
    models = load_models("coda-tiny", "cpu")
    with Engine(models, EngineOptions(slots=1, prompt_cache_mb=1)) as engine:
        out = []
        for prompt in (PROMPT, replace(PROMPT, text="your name is ruby"), PROMPT):
            # The slot goes to the next with all its frames' keys and values still in it.
            talk = Talk(engine, sampling=GREEDY, prompt=prompt)
            frames = talk.feed(spoken("what_do_i_like", 30))
            out.append([(frame.text_token, frame.pcm.tobytes()) for frame in frames])
            talk.close()
        assert engine.stats().prompt_cache_hits == 1
    assert out[0] == out[2] != out[1]


def test_a_new_prompt_is_swapped_in_without_a_frame_missing(engine: Engine) -> None:
    talk = Talk(engine, sampling=GREEDY, prompt=PROMPT)
    talk.feed(spoken("hello", 10))
    future = talk.slot.prime(Prompt("your name is echo. the user likes tea"))
    out = talk.feed(spoken("thank_you", 30))
    renewal = future.result(60)
    talk.close()
    assert [frame.frame for frame in out] == list(range(out[0].frame, out[0].frame + len(out)))
    swaps = [frame.renewed for frame in out if frame.renewed]
    assert swaps == [renewal]
    assert renewal.prompt_frames > 0 and renewal.kept_frames > 0


def test_a_snapshot_is_restored_into_another_conversation(engine: Engine) -> None:
    question = spoken("what_is_your_name", 20)
    talk = Talk(engine, sampling=GREEDY, prompt=PROMPT)
    talk.feed(question[:15])
    snapshot = talk.slot.snapshot().result(60)
    rest = talk.feed(question[15:])
    talk.close()
    other = Talk(engine, sampling=GREEDY)
    other.feed(silence(3))
    other.slot.restore(snapshot).result(60)
    assert other.slot.prompt == PROMPT, "the next renewal needs it"
    again = other.feed(question[15:])
    other.close()
    assert [f.text_token for f in rest] == [f.text_token for f in again]
    np.testing.assert_allclose(audio(rest), audio(again), atol=1e-4)


def test_a_policy_that_fails_is_dropped_and_everybody_goes_on(engine: Engine) -> None:
    def broken(sampled: int) -> int:
        raise KeyError("no such word")

    good, bad = Talk(engine, sampling=GREEDY), Talk(engine, sampling=GREEDY)
    bad.slot.steer(broken)
    assert len(bad.feed(silence(4))) == 4
    assert len(good.feed(silence(4))) == 4
    assert "no such word" in (bad.slot.policy_error or "")
    good.close()
    bad.close()


def test_a_consumer_that_fails_ends_its_own_conversation_only(engine: Engine) -> None:
    def broken() -> None:
        raise OSError("the socket is gone")

    good = Talk(engine, sampling=GREEDY)
    bad = engine.lease(realtime=False, on_output=broken)
    bad.push(silence(1)[0])
    assert len(good.feed(silence(5))) == 5
    assert bad.drained and "the socket is gone" in (bad.error or "")
    bad.release()
    good.close()


def test_what_nobody_waits_for_any_more_does_not_disturb(engine: Engine) -> None:
    talk = Talk(engine, sampling=GREEDY, prompt=PROMPT)
    talk.slot.prime(Prompt("your name is echo")).cancel()
    talk.slot.snapshot().cancel()
    assert len(talk.feed(silence(30))) == 30
    talk.close()


def test_vectors_of_another_model_are_refused(engine: Engine) -> None:
    talk = Talk(engine)
    with pytest.raises(ValidationError, match="256"):
        talk.slot.reference(torch.zeros(5, 4096))
    assert len(talk.feed(silence(2))) == 2
    talk.close()


def test_references_that_find_no_room_are_counted(engine: Engine) -> None:
    talk = Talk(engine)
    talk.slot.reference(torch.zeros(600, 256))
    talk.feed(silence(2))
    talk.close()
    assert talk.slot.counters.dropped_references == 600 - 512


def test_references_of_an_older_turn_die_with_it(engine: Engine) -> None:
    vectors = engine.models.reference_vectors(engine.models.encode_text("the user likes chess"))
    plain, told = Talk(engine, sampling=GREEDY), Talk(engine, sampling=GREEDY)
    told.slot.reference(20 * vectors)
    told.slot.next_generation()
    question = spoken("what_do_i_like")[:15]
    assert np.array_equal(audio(plain.feed(question)), audio(told.feed(question)))
    plain.close()
    told.close()


@pytest.fixture(scope="module")
def undisturbed(engine: Engine) -> np.ndarray:
    """What the agent makes of "stop" with nobody beside it."""
    talk = Talk(engine, sampling=GREEDY)
    talk.feed(spoken("stop"))
    return audio(talk.close())


@pytest.mark.parametrize(
    ("frame", "complaint"),
    [
        (np.zeros(1919, dtype=np.float32), "1920"),
        (np.zeros(FRAME_SAMPLES), "float64"),
        (np.full(FRAME_SAMPLES, np.nan, dtype=np.float32), "NaN"),
        (np.full(FRAME_SAMPLES, -np.inf, dtype=np.float32), "NaN or infinite"),
    ],
)
def test_a_frame_that_is_none_is_refused_and_the_neighbour_notices_nothing(
    engine: Engine, undisturbed: np.ndarray, frame: np.ndarray, complaint: str
) -> None:
    good, bad = Talk(engine, sampling=GREEDY), Talk(engine, sampling=GREEDY)
    with pytest.raises(AudioProcessingError, match=complaint):
        bad.slot.push(frame)
    out = good.feed(spoken("stop"))
    assert len(bad.feed(silence(2))) == 2, "a refused frame does not end the conversation"
    good.close()
    bad.close()
    assert np.array_equal(audio(out), undisturbed)


def test_a_prompt_that_leaves_no_room_is_refused_before_anything_starts(engine: Engine) -> None:
    with pytest.raises(ConfigurationError, match="shorten it"):
        engine.lease(prompt=Prompt("the user likes chess. " * 200))
    with pytest.raises(ConfigurationError, match="voice prompt"):
        engine.lease(prompt=Prompt(voice=np.zeros(48_000, dtype=np.float32)))
    assert engine.stats().leased == 0


def test_after_release_nothing_can_be_pushed(engine: Engine) -> None:
    talk = Talk(engine)
    talk.close()
    with pytest.raises(ConversationError):
        talk.slot.push(silence(1)[0])
    with pytest.raises(ConversationError, match="has ended"):
        talk.slot.snapshot().result(60)


def test_closing_ends_every_lease_and_says_so() -> None:
    torch.set_num_threads(1)
    engine = Engine(load_models("coda-tiny", "cpu"), EngineOptions(slots=1))
    engine.start()
    talk = Talk(engine)
    talk.feed(silence(1))
    engine.close()
    assert talk.slot.drained
    with pytest.raises(ConversationError, match="closed"):
        talk.slot.push(silence(1)[0])
    with pytest.raises(ConversationError, match="not running"):
        engine.lease()
