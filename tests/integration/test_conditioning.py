"""A running coda-tiny is told things: at which frame, by which channel, and nothing is heard of it.

Whether it then answers well is judged by scripts/benchmark_memory_voice.py, not here.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from coda_voice.moshi.checkpoint import SpeechModels
from coda_voice.moshi.conditioning import Conditioner, Limits
from coda_voice.moshi.engine import Engine
from coda_voice.moshi.frames import FrameOut, Pcm, Sampling
from coda_voice.moshi.prompt import Prompt
from tests.integration.speech import Talk, audio, silence, spoken

CHESS, PARIS = "The user likes chess.", "The user lives in Paris."


@pytest.fixture
def talk(engine: Engine):
    talk = Talk(engine, sampling=Sampling.greedy(), prompt=Prompt("your name is coda"))
    yield talk
    talk.close()


def conditioner(talk: Talk, models: SpeechModels, **options: object) -> Conditioner:
    return Conditioner(talk.slot, models, persona="Your name is Coda.", **options)  # type: ignore[arg-type]


def prompt_only(models: SpeechModels) -> SpeechModels:
    return replace(models, reference_embedding=None)


def step_until(talk: Talk, done, frames: list[Pcm]) -> None:
    """Feed frame by frame until the future has resolved."""
    for frame in frames:
        if done.done():
            return
        talk.feed([frame])
    assert done.done(), "never swapped"


def test_a_new_prompt_in_mid_conversation_costs_no_frame_and_makes_no_click(talk, models):
    told = conditioner(talk, models)
    talk.feed(spoken("hello", 12))
    done = told.know([CHESS, PARIS])
    fed = spoken("what_do_i_like", 25)
    talk.feed(fed)
    talk.feed(spoken("thank_you", 12))
    made = done.result(timeout=30)
    assert made.channel == "prompt"
    assert made.told == (CHESS, PARIS)
    assert made.rendered == "your name is coda. the user lives in paris. the user likes chess"
    assert talk.slot.prompt.text == made.rendered
    swaps = [frame.frame for frame in talk.out if frame.renewed]
    assert swaps == [made.frame], "the report names the frame of the swap"
    assert [frame.frame for frame in talk.out] == list(range(len(talk.out)))
    assert talk.slot.counters.dropped_in == talk.slot.counters.dropped_out == 0
    renewed = talk.out[swaps[0]].renewed
    assert renewed is not None
    assert renewed.kept_frames == swaps[0], "all that was said before is still known"
    seam, jumps = swaps[0] * 1920, np.abs(np.diff(audio(talk.out)))
    assert jumps[seam - 2 : seam + 2].max() <= max(0.02, np.quantile(jumps, 0.999))


def talked(engine: Engine, models: SpeechModels, facts: list[str]) -> tuple[list[FrameOut], int]:
    talk = Talk(engine, sampling=Sampling.greedy(), prompt=Prompt("your name is coda"))
    talk.feed(spoken("hello")[:12])
    made = conditioner(talk, models).tell(facts).result() if facts else None
    talk.feed(spoken("what_do_i_like", 8))
    talk.close()
    if made is None:
        return talk.out, -1
    assert made.channel == "frame_sum" and made.told == tuple(facts) and made.frame is not None
    return talk.out, made.frame


def test_a_reference_reaches_the_model_from_its_frame_on(engine, models):
    def numbers(frames: list[FrameOut]) -> list[object]:
        return [(frame.text_token, frame.pcm.tobytes()) for frame in frames]

    without, _ = talked(engine, models, [])
    control, _ = talked(engine, models, [])
    assert numbers(without) == numbers(control), "the same audio is the same conversation"
    with_chess, frame = talked(engine, models, [CHESS])
    with_paris, _ = talked(engine, models, [PARIS])
    assert numbers(with_chess)[:frame] == numbers(without)[:frame]
    assert numbers(with_chess)[frame:] != numbers(without)[frame:]
    assert numbers(with_chess)[frame:] != numbers(with_paris)[frame:]


def test_what_a_new_turn_cut_off_by_frame_sum_does_not_count_as_told(talk, models):
    told = conditioner(talk, models)
    assert told.tell([CHESS, PARIS]).result().told == (CHESS, PARIS)
    message = len(models.encode_text("the user likes chess"))
    talk.feed(silence(message + 3))  # all of the first, a token or so of the second
    talk.slot.next_generation()
    again = told.tell([CHESS, PARIS]).result()
    assert again.told == (PARIS,)
    assert [refusal.text for refusal in again.refused] == [CHESS]
    talk.feed(silence(30))
    talk.slot.next_generation()
    assert told.tell([CHESS, PARIS]).result().told == (), "this time all of it was read"


def test_references_of_a_turn_that_is_over_are_not_told(talk, models):
    told = conditioner(talk, models)
    talk.slot.next_generation()
    made = told.tell([CHESS], generation=0).result()
    assert (made.channel, made.told) == ("none", ())
    assert "another turn" in made.refused[0].reason


def test_no_fact_twice_within_a_while_and_not_more_than_the_budget(talk, models):
    told = conditioner(talk, models, limits=Limits(words=9, repeat_after=20))
    first = told.tell([CHESS, PARIS, "The user likes tea."]).result()
    assert first.told == (CHESS, PARIS)
    assert "budget of 9 words" in first.refused[0].reason
    again = told.tell([CHESS, "the user likes  CHESS"]).result()
    assert again.told == () and again.channel == "none" and again.frame is None
    assert all("told 0.0 s ago" in refusal.reason for refusal in again.refused)
    talk.feed(silence(21))
    assert told.tell([CHESS]).result().told == (CHESS,)


def test_what_the_prompt_says_is_not_told_again(talk, models):
    told = conditioner(talk, models)
    begun = told.begin([CHESS])
    step_until(talk, begun, silence(60))
    assert begun.result().told == (CHESS,)
    made = told.tell([CHESS]).result()
    assert made.told == () and "prompt says so" in made.refused[0].reason
    assert told.know([CHESS]).result().channel == "none"


def test_what_nobody_waits_for_any_more_is_in_the_prompt_all_the_same(talk, models, caplog):
    told = conditioner(talk, models)
    assert told.know([CHESS]).cancel()
    for frame in silence(60):
        talk.feed([frame])
        if talk.out[-1].renewed:
            break
    assert "likes chess" in talk.slot.prompt.text
    assert told.tell([CHESS]).result(timeout=30).told == ()
    assert caplog.records == []


def test_what_leaves_the_prompt_as_it_is_has_its_own_reason(talk, models):
    told = conditioner(talk, models)
    step_until(talk, told.begin([CHESS]), silence(60))
    odd = "My shoe size is 38."
    reasons = {
        refused.text: refused.reason for refused in told.begin([CHESS, odd]).result().refused
    }
    assert "prompt says so" in reasons[CHESS]
    assert "learnt no such sentence" in reasons[odd] or "cannot read" in reasons[odd]


def test_the_prompt_is_exchanged_at_most_once_in_a_while_and_the_latest_wins(talk, models):
    told = conditioner(talk, prompt_only(models), limits=Limits(cooldown=40))
    first = told.know([CHESS])
    step_until(talk, first, silence(30))
    soon = told.know([CHESS, PARIS]).result()
    assert soon.channel == "none" and "at most once every 3.2 s" in soon.refused[0].reason
    assert told.tell([PARIS]).result().told == ()
    assert told.waiting and told.catch_up() is None
    talk.feed(silence(45))
    later = told.catch_up()
    assert later is not None
    step_until(talk, later, silence(60))
    assert later.result().told == (CHESS, PARIS)
    assert not told.waiting and told.catch_up() is None
    assert talk.slot.prompt.text.endswith("the user likes chess")


def test_without_references_a_memory_of_the_moment_goes_by_the_prompt(talk, models):
    told = conditioner(talk, prompt_only(models))
    assert told.channels == ("prompt",)
    made = told.tell([CHESS])
    step_until(talk, made, silence(60))
    assert made.result().channel == "prompt"
    assert "the user likes chess" in talk.slot.prompt.text


def test_what_has_left_the_prompt_may_be_told_again(talk, models):
    told = conditioner(talk, prompt_only(models), limits=Limits(cooldown=5, repeat_after=10_000))
    step_until(talk, told.tell([CHESS]), silence(60))
    assert "prompt says so" in told.tell([CHESS]).result().refused[0].reason
    talk.feed(silence(6))
    step_until(talk, told.know([PARIS]), silence(60))
    assert "chess" not in talk.slot.prompt.text
    talk.feed(silence(6))
    again = told.tell([CHESS])
    step_until(talk, again, silence(60))
    assert again.result().told == (CHESS, PARIS)
    assert "the user likes chess" in talk.slot.prompt.text


def test_what_the_prompt_leaves_out_of_the_character_is_said_once(talk, models):
    tells = "You tell long stories about the sea."
    told = conditioner(talk, models, limits=Limits(cooldown=1))
    told.describe(f"Your name is Coda. {tells}")
    begun = told.begin([CHESS])
    step_until(talk, begun, silence(60))
    assert [refusal.text for refusal in begun.result().refused] == [tells]
    talk.feed(silence(2))
    later = told.know([CHESS, PARIS])
    step_until(talk, later, silence(60))
    assert later.result().refused == ()


def test_a_prompt_that_is_too_long_says_of_each_thing_why_it_is_not_told(talk, models):
    tells, odd = "You tell long stories about the sea.", "My shoe size is 38."
    told = conditioner(talk, models, limits=Limits(prompt_tokens=100_000))
    told.describe("Your name is Coda. " + "You are kind. " * 2_000 + tells)
    refused = told.begin([CHESS, odd]).result().refused
    reasons = {refusal.text: refusal.reason for refusal in refused}
    assert reasons.keys() == {CHESS, odd, tells} and len(refused) == 3
    assert "shorten it" in reasons[CHESS]
    assert "shorten it" not in reasons[odd], "that would not help"


def test_a_checkpoint_that_takes_neither_says_so_and_can_only_speak(talk, models):
    stock = replace(
        models,
        reference_embedding=None,
        capabilities=replace(models.capabilities, prompt="none", frame_sum="none", name="stock"),
    )
    mute = conditioner(talk, stock)
    assert mute.channels == ()
    for made in (mute.begin([CHESS]), mute.know([CHESS]), mute.tell([CHESS])):
        assert made.result().channel == "none"
        assert made.result().refused[0].text == CHESS
        assert "stock takes neither a prompt nor references" in made.result().refused[0].reason
    said: list[tuple[str, int]] = []
    speaking = conditioner(talk, stock, say=lambda text, turn: said.append((text, turn)))
    made = speaking.tell([CHESS], aloud="By the way, you like chess.").result()
    assert made.channel == "speaking" and said == [("By the way, you like chess.", 0)]


def test_an_ended_conversation_is_told_nothing_and_nobody_hangs(engine, models):
    talk = Talk(engine, prompt=Prompt("your name is coda"))
    told = conditioner(talk, models)
    talk.feed(silence(2))
    talk.close()
    made = told.know([CHESS]).result(timeout=10)
    assert made.channel == "none" and "ended" in made.refused[0].reason


def test_live_audio_is_not_held_up_by_a_new_prompt(engine):
    """Two conversations in one batch: the neighbour's frames are as they are without it."""
    torch.set_num_threads(1)
    outs = []
    for tells in (False, True):
        one = Talk(engine, sampling=Sampling.greedy())
        two = Talk(engine, sampling=Sampling.greedy())
        for number, frame in enumerate(spoken("weather", 20)):
            if tells and number == 10:
                Conditioner(one.slot, engine.models).know([CHESS])
            one.feed([frame])
            two.feed([frame])
        outs.append([(frame.text_token, frame.pcm.tobytes()) for frame in two.out])
        assert bool(one.slot.counters.renewals) == tells
        one.close()
        two.close()
    assert outs[0] == outs[1]
