"""What the engine's thread hands over is done once, by whoever comes first."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
import torch

from coda_voice.moshi.helper import Helper


@pytest.fixture
def helper():
    helper = Helper()
    yield helper
    helper.close()


def test_a_free_helper_takes_a_part_over(helper: Helper) -> None:
    begun = threading.Event()

    def part() -> int:
        begun.set()
        return threading.get_ident()

    done = helper.share(part)
    assert begun.wait(30)
    assert done() != threading.get_ident()


def test_what_a_busy_helper_has_not_begun_the_caller_does_himself(helper: Helper) -> None:
    begun, go_on, calls = threading.Event(), threading.Event(), []

    def long() -> None:
        begun.set()
        go_on.wait(30)

    busy = helper.share(long)
    assert begun.wait(30)
    done = helper.share(lambda: calls.append(threading.get_ident()))
    done()
    go_on.set()
    busy()
    helper.close()  # after all that was offered
    assert calls == [threading.get_ident()]


def test_an_error_reaches_the_caller_whoever_met_it(helper: Helper) -> None:
    begun = threading.Event()

    def fail() -> None:
        begun.set()
        raise ValueError("no")

    done = helper.share(fail)
    assert begun.wait(30)
    with pytest.raises(ValueError, match="no"):
        done()
    with pytest.raises(ValueError, match="no"):
        Helper(False).share(fail)()


def test_a_part_keeps_no_gradients_and_one_thread(helper: Helper) -> None:
    weight = torch.ones(3, requires_grad=True)
    begun = threading.Event()

    def part() -> tuple[bool, int]:
        begun.set()
        return (weight * 2).requires_grad, torch.get_num_threads()

    done = helper.share(part)
    assert begun.wait(30)
    assert done() == (False, 1)


def test_closed_the_caller_does_everything(helper: Helper) -> None:
    helper.close()
    assert helper.share(threading.get_ident)() == threading.get_ident()


def test_a_program_that_ends_with_the_engine_running_ends_without_a_word() -> None:
    program = """
import threading, time
from coda_voice.moshi.helper import Helper

helper, begun = Helper(), threading.Event()

def tick():
    while True:
        done = helper.share(lambda: None)
        done()
        begun.set()

threading.Thread(target=tick, daemon=True).start()
begun.wait(30)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
