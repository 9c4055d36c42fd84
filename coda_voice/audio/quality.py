"""How good a recording of speech is, 0–1, from the recording alone.

The product of four factors, each 1 where there is nothing to complain about:

- signal to noise: speech level over the level of the quietest tenth of the time; 0 at 0 dB,
  1 from 35 dB on
- clipping: ``1 / (1 + share / 3 %)`` for the share of samples on flat tops
- bandwidth: up to where speech stands above the noise; 0.8 for a telephone's 3.4 kHz, 1
  from 7 kHz on
- level: 1 from −40 to −10 dBFS of active speech, falling to 0.2 at −70 and 0.8 at 0

It is no MOS: no listener stands behind the numbers. It falls when noise or clipping is
added, and is comparable between recordings of the same kind.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

from coda_voice.audio.framing import Framer
from coda_voice.audio.resample import resample
from coda_voice.moshi.frames import SAMPLE_RATE, Pcm

_BLOCK = 480
_BINS = _BLOCK // 2 + 1
_LOWEST_DB = -120
_STEP_DB = 2
_CLASSES = -_LOWEST_DB // _STEP_DB + 1
_ENOUGH_SPEECH_BLOCKS = 15
_WINDOW = np.hanning(_BLOCK).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Quality:
    """The figure and what it is made of."""

    score: float
    snr_db: float
    clipped_share: float
    bandwidth_hz: float
    level_dbfs: float


class QualityMeter:
    """Quality of a 24 kHz stream so far; constant memory (150 KB), any chunking."""

    def __init__(self) -> None:
        self._framer = Framer(_BLOCK)
        self._counts = np.zeros(_CLASSES, dtype=np.int64)
        self._powers = np.zeros(_CLASSES)
        self._spectra = np.zeros((_CLASSES, _BINS))
        self._samples = 0
        self._flat = 0

    def push(self, pcm: Pcm) -> None:
        """Take the next samples."""
        for block in self._framer.push(pcm):
            power = float(np.mean(np.square(block, dtype=np.float64)))
            level = 10 * np.log10(power + 1e-12)
            kind = min(max(int((level - _LOWEST_DB) // _STEP_DB), 0), _CLASSES - 1)
            self._counts[kind] += 1
            self._powers[kind] += power
            self._spectra[kind] += np.square(np.abs(fft.rfft(block * _WINDOW)))
            self._samples += _BLOCK
            self._flat += _flat_tops(block)

    def quality(self) -> Quality | None:
        """Judge what was heard so far; None while that is less than 0.3 s of speech."""
        below = np.cumsum(self._counts)
        if not below[-1]:
            return None
        quiet = int(np.searchsorted(below, max(0.1 * below[-1], 1)))
        loud = int(np.searchsorted(below, 0.95 * below[-1]))
        border = max((quiet + loud + 1) // 2, quiet + 1)
        spoken = int(self._counts[border:].sum())
        if spoken < _ENOUGH_SPEECH_BLOCKS or (loud - 1) * _STEP_DB + _LOWEST_DB < -75:
            return None
        still = max(int(self._counts[: quiet + 1].sum()), 1)
        noise = float(self._powers[: quiet + 1].sum()) / still
        heard = float(self._powers[border:].sum()) / spoken
        snr = 10 * np.log10(max(heard - noise, 1e-12) / max(noise, 1e-12))
        level = 10 * np.log10(max(heard - noise, 1e-12))
        speech = self._spectra[border:].sum(axis=0) / spoken
        hiss = self._spectra[: quiet + 1].sum(axis=0) / still
        wide = np.flatnonzero((speech > 2 * hiss) & (speech > speech.max() * 1e-5))
        bandwidth = float(wide[-1]) * SAMPLE_RATE / _BLOCK if len(wide) else 0.0
        flat = self._flat / self._samples
        score = (
            float(np.clip(snr / 35.0, 0.0, 1.0))
            / (1.0 + flat / 0.03)
            * float(np.interp(bandwidth, [300.0, 3_400.0, 7_000.0], [0.4, 0.8, 1.0]))
            * float(np.interp(level, [-70.0, -40.0, -10.0, 0.0], [0.2, 1.0, 1.0, 0.8]))
        )
        return Quality(score, float(snr), flat, bandwidth, float(level))


def _flat_tops(block: Pcm) -> int:
    """Count the samples in runs of three or more at the block's extremes: a clipped wave."""
    peak = float(np.abs(block).max())
    if peak < 0.02:
        return 0
    flat = 0
    for side in (block, -block):
        at_top = side > peak * 0.995
        runs = at_top[:-2] & at_top[1:-1] & at_top[2:]
        flat += int(np.count_nonzero(runs)) + (2 if runs.any() else 0)
    # A slow wave's crest is flat for a few samples too; a clipped one for longer.
    return flat if flat > 6 else 0


def quality(pcm: Pcm, sample_rate: int = SAMPLE_RATE) -> Quality | None:
    """Judge a whole recording; None where there is too little speech to judge."""
    meter = QualityMeter()
    meter.push(resample(pcm, sample_rate, SAMPLE_RATE))
    return meter.quality()
