"""Slots of one batch do not disturb each other."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from coda_voice.moshi.batch import SlotBatch
from coda_voice.moshi.checkpoint import load_models
from coda_voice.moshi.frames import Pcm, Sampling
from coda_voice.moshi.helper import Helper
from coda_voice.moshi.onnx_graph import Session
from coda_voice.moshi.transcriber import Written
from tests.integration.speech import spoken

SLOTS = 8
FRAMES = 40
NAMES = [
    "hello",
    "what_is_your_name",
    "what_do_i_like",
    "weather",
    "thank_you",
    "stop",
    "goodbye",
    "long_question",
]


@dataclass
class Trace:
    tokens: list[int | None] = field(default_factory=list)
    codes: list[list[int]] = field(default_factory=list)
    pcm: list[Pcm] = field(default_factory=list)
    written: list[Written | None] = field(default_factory=list)


@pytest.fixture(scope="module")
def batch() -> Iterator[SlotBatch]:
    torch.set_num_threads(1)
    helper = Helper()
    yield SlotBatch(load_models("coda-tiny", "cpu"), SLOTS, 100, helper)
    helper.close()


def inputs(name: str) -> list[Pcm]:
    frames = spoken(name, silence_after=FRAMES)
    return frames[:FRAMES]


def run(batch: SlotBatch, row: int, frames: list[Pcm], sampling: Sampling) -> Trace:
    """One conversation with nobody else in the batch."""
    batch.reset(row, sampling)
    trace = Trace()
    for frame in frames:
        given: list[Pcm | None] = [None] * SLOTS
        given[row] = frame
        keep(trace, batch.step(given), row)
    return trace


def keep(trace: Trace, result, row: int) -> None:
    trace.tokens.append(result.tokens[row])
    trace.codes.append(result.codes[row].tolist())
    trace.pcm.append(result.pcm[row])
    trace.written.append(result.written[row])


def tokens_written(trace: Trace) -> list[int]:
    """What the transcriber wrote of the user."""
    return [written.token for written in trace.written if written is not None]


def test_eight_conversations_come_and_go_and_each_is_as_it_is_alone(batch: SlotBatch) -> None:
    greedy = Sampling.greedy()
    alone = {name: run(batch, row, inputs(name), greedy) for row, name in enumerate(NAMES)}
    different = {tuple(map(tuple, trace.codes)) for trace in alone.values()}
    assert len(different) >= SLOTS // 2, "conversations that are all alike would prove nothing"

    chance = random.Random(7)
    together = {name: Trace() for name in NAMES}
    waiting = {name: inputs(name) for name in NAMES}
    joins = {name: chance.randrange(0, 20) for name in NAMES}
    rows: dict[str, int] = {}
    free = list(range(SLOTS))
    chance.shuffle(free)
    tick = 0
    while any(waiting.values()):
        given: list[Pcm | None] = [None] * SLOTS
        for name in NAMES:
            if name not in rows and tick >= joins[name]:
                rows[name] = free.pop()
                batch.reset(rows[name], greedy)
            # A frame in four comes late: that slot then sits this tick out.
            if name in rows and waiting[name] and chance.random() > 0.25:
                given[rows[name]] = waiting[name].pop(0)
        result = batch.step(given)
        for name, row in rows.items():
            if given[row] is not None:
                keep(together[name], result, row)
        for name in [name for name in rows if not waiting[name]]:
            free.append(rows[name])  # whoever left may be followed by somebody else
            del rows[name]
            joins[name] = 10**9
        tick += 1

    for name in NAMES:
        assert together[name].tokens == alone[name].tokens, name
        assert together[name].codes == alone[name].codes, name
        assert tokens_written(together[name]) == tokens_written(alone[name]), name
        for one, other in zip(together[name].written, alone[name].written, strict=True):
            assert one is not None and other is not None
            assert one.pause == pytest.approx(other.pause, abs=1e-4)
    transcripts = {tuple(tokens_written(trace)) for trace in alone.values()}
    assert len(transcripts) == len(NAMES), "everybody said something else"


def test_the_same_seed_is_the_same_conversation_wherever_and_with_whomever(
    batch: SlotBatch,
) -> None:
    frames = inputs("what_is_your_name")
    warm = Sampling(temperature=0.8, top_k=50, text_temperature=0.7, text_top_k=25, seed=5)
    alone = run(batch, 2, frames, warm)
    other = Sampling(temperature=1.0, top_k=200, seed=99)
    for row in range(SLOTS):
        batch.reset(row, warm if row == 6 else other)
    crowd = Trace()
    for frame in frames:
        keep(crowd, batch.step([frame] * SLOTS), 6)
    assert crowd.codes == alone.codes
    assert crowd.tokens == alone.tokens
    again = run(batch, 2, frames, Sampling(0.8, 50, 0.7, 25, seed=6))
    assert again.codes != alone.codes


def test_a_snapshot_goes_on_as_the_original_does_in_another_slot(batch: SlotBatch) -> None:
    frames = inputs("what_do_i_like")
    sampling = Sampling(seed=3)
    whole = run(batch, 1, frames, sampling)
    batch.reset(1, sampling)
    given: list[Pcm | None] = [None] * SLOTS
    for frame in frames[:20]:
        given[1] = frame
        batch.step(given)
    snapshot = batch.snapshot(1)
    for frame in frames[20:25]:  # the original goes on; the snapshot must not follow
        given[1] = frame
        batch.step(given)
    batch.restore(5, snapshot)
    rest = Trace()
    for frame in frames[20:]:
        result = batch.step([frame if row == 5 else None for row in range(SLOTS)])
        keep(rest, result, 5)
    assert rest.codes == whole.codes[20:]
    assert rest.tokens == whole.tokens[20:]
    np.testing.assert_allclose(np.array(rest.pcm), np.array(whole.pcm[20:]), atol=1e-5)


def test_muting_one_slot_silences_that_one_alone_and_changes_no_token(batch: SlotBatch) -> None:
    frames = inputs("hello")
    plain = run(batch, 0, frames, Sampling.greedy())
    for row in (0, 1):
        batch.reset(row, Sampling.greedy())
    batch.mute(0, True)
    muted, heard = Trace(), Trace()
    for frame in frames:
        result = batch.step([frame, frame] + [None] * (SLOTS - 2))
        keep(muted, result, 0)
        keep(heard, result, 1)
    assert not np.any(muted.pcm)
    assert np.any(heard.pcm)
    assert muted.codes == plain.codes == heard.codes


def test_slots_that_nobody_has_leased_cost_next_to_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch = SlotBatch(load_models("coda-tiny", "cpu"), SLOTS, 100)
    frame = inputs("hello")[0]
    numbers: list[int] = []
    run = Session.__call__

    def counted(session: Session, *given: torch.Tensor) -> list[torch.Tensor]:
        numbers.append(given[0].numel())
        return run(session, *given)

    monkeypatch.setattr(Session, "__call__", counted)

    def cost(conversations: int) -> int:
        """Numbers that the graphs take in, in a step."""
        numbers.clear()
        batch.step([frame if row < conversations else None for row in range(SLOTS)])
        return sum(numbers)

    one, half, every = cost(1), cost(SLOTS // 2), cost(SLOTS)
    assert one < 0.4 * every  # products of less than four rows are made of four
    assert 0.45 * every < half < 0.55 * every
