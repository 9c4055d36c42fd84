"""When a tick is due."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from coda_voice.moshi.checkpoint import load_models
from coda_voice.moshi.engine import Engine, EngineOptions
from coda_voice.moshi.frames import FRAME_SAMPLES, FRAME_SECONDS, FrameOut, Sampling
from coda_voice.moshi.monologue import Monologue
from coda_voice.moshi.pacing import Pacer
from coda_voice.moshi.prompt import Prompt
from coda_voice.moshi.slot import Slot, SlotState
from coda_voice.moshi.user_words import TranscriptFormat, UserWords

SILENCE = np.zeros(FRAME_SAMPLES, dtype=np.float32)
NOW = 100.0


@pytest.fixture(scope="module")
def make() -> Callable[..., Slot]:
    """Make running slots of an engine that is not started: only their mailboxes matter."""
    engine = Engine(load_models("coda-tiny", "cpu"), EngineOptions(slots=1))

    def slot(*, realtime: bool, arrivals: tuple[float, ...] = ()) -> Slot:
        made = Slot(
            engine,
            0,
            realtime=realtime,
            sampling=Sampling(),
            prompt=Prompt(),
            monologue=Monologue(engine.models.tokenizer),
            user_words=UserWords(TranscriptFormat(engine.models.tokenizer, 3, 0, delay=6)),
            inbox_frames=4,
            outbox_frames=1,
            on_output=None,
        )
        made.state = SlotState.RUNNING
        for arrived in arrivals:
            made.push(SILENCE, arrived)
        return made

    return slot


def pacer(tick: float = 0.02) -> Pacer:
    made = Pacer()
    made.ticked(tick)
    return made


def test_nobody_has_a_frame_so_it_sleeps_until_woken(make: Callable[..., Slot]) -> None:
    assert pacer().pause([], NOW) is None
    assert pacer().pause([make(realtime=True)], NOW) is None


def test_a_single_caller_is_answered_at_once(make: Callable[..., Slot]) -> None:
    assert pacer().pause([make(realtime=True, arrivals=(NOW,))], NOW) == 0


def test_files_never_wait(make: Callable[..., Slot]) -> None:
    slots = [make(realtime=False, arrivals=(NOW - 9,)), make(realtime=False)]
    assert pacer().pause(slots, NOW) == 0


def test_it_waits_for_a_caller_who_is_due_but_not_for_long(
    make: Callable[..., Slot],
) -> None:
    early = make(realtime=True, arrivals=(NOW,))
    due = make(realtime=True, arrivals=(NOW - FRAME_SECONDS + 0.01,))
    due.inbox.clear()
    pause = pacer(tick=0.02).pause([early, due], NOW)
    assert pause is not None and 0.01 <= pause <= 0.02 / 2 + 1e-6, "less than a tick"
    slow = pacer(tick=0.07).pause([early, due], NOW)
    assert slow is not None and slow <= 0, "a slow machine has no time to wait"


def test_a_caller_who_went_silent_is_not_waited_for(make: Callable[..., Slot]) -> None:
    early = make(realtime=True, arrivals=(NOW,))
    stalled = make(realtime=True, arrivals=(NOW - 1.0,))
    stalled.inbox.clear()
    assert pacer().pause([early, stalled], NOW) == 0


def test_a_file_whose_output_is_not_fetched_does_not_step(make: Callable[..., Slot]) -> None:
    slot = make(realtime=False, arrivals=(NOW,))
    slot.outbox.put(FrameOut(0, SILENCE, None))
    assert not slot.ready
    assert pacer().pause([slot], NOW) is None
