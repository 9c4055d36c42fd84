"""What tests share: coda-tiny on an engine, and spoken audio with known texts and times."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from coda_voice.audio import files
from coda_voice.moshi.allocator import give_back_freed_memory
from coda_voice.moshi.checkpoint import SpeechModels, load_models
from coda_voice.moshi.engine import Engine, EngineOptions
from coda_voice.moshi.frames import Pcm

DATA = Path(__file__).parent / "data"
# Threads of small models wait for each other, and where others are busy they hardly ever meet:
# the same work took 20 s of two cores instead of one second of one.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # for processes that tests start


class Spoken:
    """The spoken files of tests/data: their bytes, samples, and what is in them."""

    def __init__(self) -> None:
        self.facts: dict[str, dict[str, Any]] = json.loads((DATA / "spoken.json").read_text())

    def bytes(self, name: str) -> bytes:
        return (DATA / self.facts[name]["file"]).read_bytes()

    def pcm(self, name: str, sample_rate: int = 24_000) -> Pcm:
        return files.read(DATA / self.facts[name]["file"]).at(sample_rate)

    def question(self, seconds: float = 5.0) -> Pcm:
        """A question and the silence in which coda-tiny answers it; it is silent meanwhile."""
        asked = self.pcm("what_is_your_name")
        return np.pad(asked, (0, int(seconds * 24_000) - len(asked)))


def pytest_collection_finish() -> None:
    """Leave what is imported out of every further look for garbage: it takes milliseconds then."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def nothing_left() -> Iterator[None]:
    """Give back what a file has used; models hold themselves, and malloc keeps what was freed.

    With that a process needs 2 GB in the end, and 4.5 GB without.
    """
    yield
    gc.collect()
    give_back_freed_memory()


@pytest.fixture(autouse=True)
def exact_small_numbers() -> None:
    """Undo what onnxruntime leaves in a thread that ran the VAD: hypothesis wants subnormals."""
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def spoken() -> Spoken:
    return Spoken()


@pytest.fixture(scope="session")
def models() -> SpeechModels:
    """coda-tiny; its streaming state belongs to ``engine``, other engines load their own."""
    return load_models("coda-tiny", "cpu")


@pytest.fixture(scope="session")
def engine(models: SpeechModels) -> Iterator[Engine]:
    """Three slots with small mailboxes; every test leases what it needs and gives it back."""
    options = EngineOptions(slots=3, threads=1, inbox_frames=12, outbox_frames=12)
    with Engine(models, options) as engine:
        yield engine
