"""A conversation outlives the model's context."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from coda_voice.moshi.batch import SlotBatch
from coda_voice.moshi.checkpoint import SpeechModels, load_models
from coda_voice.moshi.engine import Engine, EngineOptions
from coda_voice.moshi.frames import Sampling
from coda_voice.moshi.monologue import Monologue
from coda_voice.moshi.prompt import Prompt, Steps
from coda_voice.moshi.rebuild import Rebuilder
from coda_voice.moshi.slot import Slot
from coda_voice.moshi.user_words import TranscriptFormat, UserWords
from tests.integration.speech import Talk, audio, silence, spoken

CONTEXT = 140
PROMPT = Prompt("your name is nova. the user is anna")


@pytest.fixture
def models() -> SpeechModels:
    """coda-tiny, told that its context is short, so that the limit comes soon."""
    torch.set_num_threads(1)
    models = load_models("coda-tiny", "cpu")
    return replace(models, capabilities=replace(models.capabilities, context_frames=CONTEXT))


def test_a_long_conversation_is_renewed_without_a_frame_missing_or_a_click(
    models: SpeechModels,
) -> None:
    frames = [
        frame
        for name in ("hello", "what_do_i_like", "thank_you", "weather", "goodbye")
        for frame in spoken(name, 25)
    ]
    assert len(frames) > 1.5 * CONTEXT
    with Engine(models, EngineOptions(slots=1)) as engine:
        talk = Talk(engine, sampling=Sampling.greedy(), prompt=PROMPT)
        out = talk.feed(frames)
        talk.close()
    swaps = [frame.frame for frame in out if frame.renewed]
    assert swaps and talk.slot.counters.renewals == len(swaps)
    assert [frame.frame for frame in out] == list(range(len(frames)))
    pcm = audio(out)
    jumps = np.abs(np.diff(pcm))
    for swap in swaps:
        seam = swap * 1920
        assert jumps[seam - 2 : seam + 2].max() <= max(0.02, np.quantile(jumps, 0.999))


def test_what_is_swapped_in_is_what_the_slot_lived_through(models: SpeechModels) -> None:
    """Drive the rebuild by hand, frame by frame, and compare states."""
    batch = SlotBatch(models, 2, history_frames=CONTEXT)
    rebuilder = Rebuilder(batch, keep_seconds=None, cache_bytes=1 << 28)
    slot = Slot(
        Engine(models, EngineOptions(slots=2)),
        1,
        realtime=False,
        sampling=Sampling.greedy(),
        prompt=PROMPT,
        monologue=Monologue(models.tokenizer),
        user_words=UserWords(TranscriptFormat(models.tokenizer, pad=3, epad=0, delay=6)),
        inbox_frames=1,
        outbox_frames=1,
        on_output=None,
    )
    batch.reset(1, slot.sampling)
    rebuilder.begin(slot)
    while rebuilder.busy:
        rebuilder.advance(0.0)
    prompt_frames = slot.prompt_frames
    feed = [*spoken("hello", 20), *spoken("what_do_i_like", 20), *silence(CONTEXT)]
    for lived, frame in enumerate(feed, start=1):  # noqa: B007 - read after the loop
        batch.step([None, frame])
        slot.context_used += 1
        rebuilder.after_step([slot])
        if slot.renewed:
            break
    assert slot.renewed is not None, "the context limit never came"
    assert prompt_frames + lived < CONTEXT, "renewed only after the prompt had slid out"
    renewal = slot.renewed
    assert renewal.prompt_frames == prompt_frames
    assert slot.context_used == renewal.prompt_frames + renewal.kept_frames

    swapped = batch.read_model(1)
    again = batch.prefill(
        Steps.join([rebuilder._prompt_steps(PROMPT), batch.recent(1, renewal.kept_frames)])
    ).finish()
    for name, expected in again.tensors.items():
        if name == "gen:.cache":
            continue  # tokens of which the next step reads one column only
        torch.testing.assert_close(swapped.tensors[name], expected, atol=1e-4, rtol=1e-4, msg=name)
    column = int(swapped.tensors["gen:.offsets"]) % swapped.tensors["gen:.cache"].shape[1]
    assert torch.equal(
        swapped.tensors["gen:.cache"][:9, column], again.tensors["gen:.cache"][:9, column]
    )
