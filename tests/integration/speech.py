"""Spoken test audio as frames, and small loops over the engine that tests share."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr

from coda_voice.moshi.engine import Engine
from coda_voice.moshi.frames import FRAME_SAMPLES, FrameOut, Pcm
from coda_voice.moshi.slot import Slot

DATA = Path(__file__).parent.parent / "data"


def spoken(name: str, silence_after: int = 0) -> list[Pcm]:
    """Frames of a spoken file of tests/data, with silent frames behind it."""
    pcm, rate = soundfile.read(DATA / f"{name}.flac", dtype="float32")
    pcm = soxr.resample(pcm, rate, 24_000).astype(np.float32)
    pad = -len(pcm) % FRAME_SAMPLES + silence_after * FRAME_SAMPLES
    return list(np.pad(pcm, (0, pad)).reshape(-1, FRAME_SAMPLES))


def silence(frames: int) -> list[Pcm]:
    return [np.zeros(FRAME_SAMPLES, dtype=np.float32)] * frames


class Talk:
    """A lease fed from a list of frames, collecting what comes out."""

    def __init__(self, engine: Engine, **lease: object) -> None:
        self.changed = threading.Event()
        lease.setdefault("realtime", False)
        self.slot: Slot = engine.lease(on_output=self.changed.set, **lease)  # type: ignore[arg-type]
        self.out: list[FrameOut] = []

    def feed(self, frames: Iterable[Pcm]) -> list[FrameOut]:
        """Push frames and wait until each has come out; gives what came out for them."""
        before = len(self.out)
        wanted = before
        for frame in frames:
            while not self.slot.push(frame):
                self._wait()
            wanted += 1
        while len(self.out) < wanted:
            self._wait()
        return self.out[before:]

    def _wait(self) -> None:
        assert self.changed.wait(120), "the engine made nothing for two minutes"
        self.changed.clear()
        self.out += self.slot.take()
        assert self.slot.error is None, self.slot.error

    def close(self) -> list[FrameOut]:
        self.slot.release()
        return self.out


def words(frames: Sequence[FrameOut]) -> str:
    return " ".join(word.text for frame in frames for word in frame.words)


def audio(frames: Sequence[FrameOut]) -> Pcm:
    return np.concatenate([frame.pcm for frame in frames])
