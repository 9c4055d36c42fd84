"""What is freed can be used again, by whoever comes next, and by the kernel."""

import subprocess
import sys
from pathlib import Path

import pytest

FRAMES = """
import resource
import numpy as np
import torch
torch.set_num_threads(1)
from coda_voice.moshi.batch import SlotBatch
from coda_voice.moshi.checkpoint import load_models

batch = SlotBatch(load_models("coda-tiny", "cpu"), 8, history_frames=20)
frames = [np.zeros(1920, dtype=np.float32)] * 8
for _ in range(5):
    batch.step(frames)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    batch.step(frames)
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 10)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is Linux's accounts that are read")
def test_a_frame_fetches_no_memory_from_the_kernel():
    """A thousand pages for eight conversations, twelve times a second, and back again."""
    assert int(subprocess.check_output([sys.executable, "-c", FRAMES], text=True)) < 50


PIECES = """
import psutil
from coda_voice.moshi.allocator import give_back_freed_memory

process = psutil.Process()
pieces = [bytearray(1 << 16) for _ in range(3_200)]
for piece in pieces:
    piece[:] = b"x" * len(piece)
last = pieces.pop()  # what lies behind the others holds them
pieces.clear()
before = process.memory_info().rss
assert give_back_freed_memory()
print((before - process.memory_info().rss) >> 20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc's allocator that is set")
def test_what_lies_free_between_what_is_in_use_can_be_given_back():
    given = subprocess.check_output([sys.executable, "-c", PIECES], text=True)
    assert int(given) > 150


STOCKS = """
import ctypes, sys, threading
from coda_voice.moshi.allocator import share_freed_memory
if sys.argv[1] == "share":
    assert share_freed_memory()
library = ctypes.CDLL(None)
library.fopen.restype = ctypes.c_void_p
together = threading.Barrier(9)

def hold():
    held = [bytes(2_000) for _ in range(100)]
    together.wait()
    together.wait()

threads = [threading.Thread(target=hold) for _ in range(8)]
[thread.start() for thread in threads]
together.wait()
file = ctypes.c_void_p(library.fopen(sys.argv[2].encode(), b"w"))
library.malloc_info(0, file)
library.fclose(file)
together.wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc's allocator that is set")
def test_what_one_thread_freed_another_can_use(tmp_path):
    stocks = {how: _stocks(tmp_path / how, STOCKS, how) for how in ("share", "leave")}
    assert stocks["leave"] > 4, "what the library does by itself: else this tells nothing"
    assert stocks["share"] <= 2


REMEMBERING = """
import asyncio, ctypes, sys, threading
from coda_voice import VoiceManager

async def start():
    config = {"integration": {"memory_store": sys.argv[3]}, "logging": {"level": "error"}}
    async with VoiceManager({**config, "moshi": {"device": "cpu"}}):
        pass

asyncio.run(start())
library = ctypes.CDLL(None)
library.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(library.fopen(sys.argv[2].encode(), b"w"))
library.malloc_info(0, file)
library.fclose(file)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc's allocator that is set")
def test_nor_do_the_memory_stores_many_threads_each_keep_what_they_free(tmp_path):
    """Set once the store is open it would come too late: how many there may be is settled."""
    assert _stocks(tmp_path / "told", REMEMBERING, "all", str(tmp_path / "store")) <= 3


def _stocks(told: Path, program: str, *words: str) -> int:
    how, *rest = words
    subprocess.run([sys.executable, "-c", program, how, str(told), *rest], check=True)
    return told.read_text().count("<heap nr=")
