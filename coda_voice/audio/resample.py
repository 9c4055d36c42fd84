"""Any sample rate to any other, without drift: as a stream or in one go.

Streams use libsoxr's interpolating ("variable rate") filters at a fixed ratio, not its
block-FFT ones: the same pass band and over 110 dB against aliases, but the delay is
5–10 ms between 16, 24 and 48 kHz instead of 40–75 ms, and does not depend on how the
stream is cut into chunks (measured with python-soxr 1.1; tests/unit/test_audio_resample.py
holds the figures). Whole signals, where delay does not matter, use the block filters.
"""

from __future__ import annotations

import numpy as np
import soxr

from coda_voice.errors import AudioProcessingError
from coda_voice.moshi.frames import Pcm

MIN_RATE = 4_000
MAX_RATE = 768_000
_NOTHING = np.zeros(0, dtype=np.float32)


def check_rate(rate: int) -> int:
    """``rate`` itself if it can be resampled, AudioProcessingError otherwise."""
    if not MIN_RATE <= rate <= MAX_RATE:
        raise AudioProcessingError(
            f"A sample rate of {rate} Hz cannot be used; give {MIN_RATE} to {MAX_RATE} Hz.",
            sample_rate=rate,
        )
    return int(rate)


class Resampler:
    """A stream of mono float32 samples, from ``in_rate`` to ``out_rate`` Hz.

    Chunks may have any length, zero too. What comes out is time-aligned with what went
    in: output sample n is the signal at n / out_rate seconds (to 0.25 ms), it only comes a
    little later (``pending_seconds``). After ``flush`` exactly round(n · out_rate / in_rate)
    samples have come out for n that went in, however long the stream was.
    """

    def __init__(self, in_rate: int, out_rate: int) -> None:
        self.in_rate = check_rate(in_rate)
        self.out_rate = check_rate(out_rate)
        self._stream = self._new_stream()
        self._taken = 0
        self._given = 0

    def _new_stream(self) -> soxr.ResampleStream | None:
        if self.in_rate == self.out_rate:
            return None
        return soxr.ResampleStream(self.in_rate, self.out_rate, 1, quality="HQ", vr=True)

    @property
    def pending_seconds(self) -> float:
        """Length of the input whose output is still inside: the delay at this moment."""
        return self._taken / self.in_rate - self._given / self.out_rate

    def process(self, pcm: Pcm) -> Pcm:
        """Give what is ready after ``pcm``; may be empty."""
        self._taken += len(pcm)
        if self._stream is None:
            self._given += len(pcm)
            return pcm
        if not len(pcm):
            return _NOTHING
        out: Pcm = self._stream.resample_chunk(np.ascontiguousarray(pcm, dtype=np.float32))
        self._given += len(out)
        return out

    def flush(self) -> Pcm:
        """Give the rest of the stream, cut or filled to its exact length; begins a new stream."""
        out = _NOTHING
        if self._stream is not None and self._taken:
            due = round(self._taken * self.out_rate / self.in_rate) - self._given
            out = self._stream.resample_chunk(_NOTHING, last=True)[: max(due, 0)]
            out = np.pad(out, (0, max(due, 0) - len(out)))
        self.reset()
        return out

    def reset(self) -> None:
        """Forget everything: the next sample is the first of a new stream."""
        self._stream = self._new_stream()
        self._taken = self._given = 0


def resample(pcm: Pcm, in_rate: int, out_rate: int) -> Pcm:
    """Give a whole signal at another rate: round(len · out_rate / in_rate) samples."""
    check_rate(in_rate)
    check_rate(out_rate)
    if in_rate == out_rate or not len(pcm):
        return pcm
    due = round(len(pcm) * out_rate / in_rate)
    out: Pcm = soxr.resample(pcm, in_rate, out_rate, quality="HQ")[:due]
    return np.pad(out, (0, due - len(out)))
