"""Nothing that is there from the start is visited again by a collection of garbage."""

from __future__ import annotations

import gc
import time
import weakref

import pytest

from coda_voice.cli.garbage import none_while_starting


@pytest.fixture(autouse=True)
def _as_it_was():
    gc.unfreeze()
    yield
    gc.unfreeze()
    gc.enable()


class Round:
    """Part of a cycle."""

    itself: Round


def seconds_of_a_collection() -> float:
    began = time.thread_time()
    gc.collect()
    return time.thread_time() - began


def test_a_collection_does_not_hold_up_what_has_started():
    with none_while_starting():
        assert not gc.isenabled()
        kept = [[number] for number in range(300_000)]  # what a program imports and sets up
        before = seconds_of_a_collection()
    assert gc.isenabled()
    assert len(kept) == 300_000
    assert seconds_of_a_collection() < before / 3


def test_garbage_of_later_is_collected():
    with none_while_starting():
        pass
    around = Round()
    gone = weakref.ref(around)
    around.itself = around
    del around
    gc.collect()
    assert gone() is None


def test_who_could_not_start_collects_as_before():
    with pytest.raises(RuntimeError), none_while_starting():
        raise RuntimeError
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
