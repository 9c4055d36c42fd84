"""Memory that is freed in one frame is there for the next."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, threading
import torch
torch.set_num_threads(1)
from coda_voice.moshi.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()

def frame():
    [torch.ones(16, 16, 1920) for _ in range(16)]

def frames():
    for _ in range(20):
        frame()
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    for _ in range(20):
        frame()
    print(resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before)

engine = threading.Thread(target=frames)
engine.start()
engine.join()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc's allocator that is set")
def test_a_frames_memory_is_used_again_instead_of_being_fetched_from_the_kernel():
    faults = {
        how: int(subprocess.check_output([sys.executable, "-c", FAULTS, how], text=True))
        for how in ("keep", "leave")
    }
    assert faults["leave"] > 20_000, "what the library does by itself: else this tells nothing"
    assert 10 * faults["keep"] < faults["leave"]
