"""What can be measured in one frame: level, peak, clipping, brightness, pitch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

from coda_voice.moshi.frames import SAMPLE_RATE, Pcm

SILENCE_DBFS = -120.0
"""What digital silence measures as."""
_CLIPPED = 0.999
_PITCH_HZ = (60.0, 400.0)
_CLEARLY_PERIODIC = 0.6


@dataclass(frozen=True, slots=True)
class AudioFeatures:
    """Measurements of one frame.

    Levels in dB relative to full scale (a full-scale square wave is 0), ``clipped`` is the
    share of samples at full scale, ``zero_crossing_hz`` sign changes a second,
    ``centroid_hz`` the spectrum's centre of gravity (0 in silence), ``pitch_hz`` the
    fundamental of a voiced frame, None where there is none.
    """

    level_dbfs: float
    peak_dbfs: float
    clipped: float
    zero_crossing_hz: float
    centroid_hz: float
    pitch_hz: float | None


def dbfs(power: float) -> float:
    """Mean square to dB relative to full scale, −120 at least."""
    return float(10 * np.log10(max(power, 10 ** (SILENCE_DBFS / 10))))


def level_dbfs(pcm: Pcm) -> float:
    """Root mean square of ``pcm`` in dB relative to full scale; −120 for silence."""
    return dbfs(float(pcm @ pcm) / len(pcm)) if len(pcm) else SILENCE_DBFS


def measure(pcm: Pcm, sample_rate: int = SAMPLE_RATE) -> AudioFeatures:
    """Measure one frame of mono samples; under 0.5 ms for 80 ms at 24 kHz."""
    if not len(pcm):
        return AudioFeatures(SILENCE_DBFS, SILENCE_DBFS, 0.0, 0.0, 0.0, None)
    peak = float(np.abs(pcm).max())
    negative = np.signbit(pcm)
    crossings = int(np.count_nonzero(negative[1:] != negative[:-1]))
    magnitude = np.abs(fft.rfft(pcm * np.hanning(len(pcm))))
    total = float(magnitude.sum())
    hertz = np.arange(len(magnitude)) * (sample_rate / len(pcm))
    return AudioFeatures(
        level_dbfs=level_dbfs(pcm),
        peak_dbfs=dbfs(peak * peak),
        clipped=float(np.count_nonzero(np.abs(pcm) >= _CLIPPED)) / len(pcm),
        zero_crossing_hz=crossings * sample_rate / len(pcm),
        centroid_hz=float((hertz * magnitude).sum()) / total if total > 1e-6 else 0.0,
        pitch_hz=pitch(pcm, sample_rate),
    )


def pitch(pcm: Pcm, sample_rate: int = SAMPLE_RATE) -> float | None:
    """Fundamental frequency of a frame, 60–400 Hz, or None if it is not clearly periodic.

    The first strong peak of the normalised square difference (P. McLeod, G. Wyvill: "A
    smarter way to find pitch", ICMC 2005).
    """
    shortest, longest = (round(sample_rate / hertz) for hertz in reversed(_PITCH_HZ))
    count = len(pcm)
    if count < 2 * longest or level_dbfs(pcm) < -60.0:
        return None
    signal = pcm.astype(np.float64) - float(pcm.mean())
    size = fft.next_fast_len(count + longest + 1, real=True)
    spectrum = fft.rfft(signal, size)
    lags = longest + 2
    correlation = fft.irfft(np.square(np.abs(spectrum)), size)[:lags]
    energy = np.concatenate([[0.0], np.cumsum(np.square(signal))])
    shift = np.arange(lags)
    both = energy[count - shift] + (energy[count] - energy[shift])
    likeness = 2 * correlation / np.maximum(both, 1e-12)
    inner = likeness[shortest : longest + 1]
    best = float(inner.max())
    if best < _CLEARLY_PERIODIC:
        return None
    before, after = likeness[shortest - 1 : longest], likeness[shortest + 1 : longest + 2]
    peaks = np.flatnonzero((inner >= 0.9 * best) & (inner >= before) & (inner >= after))
    if not len(peaks):
        return None
    lag = int(peaks[0]) + shortest
    left, middle, right = likeness[lag - 1 : lag + 2].tolist()
    bend = left - 2 * middle + right
    offset = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return float(sample_rate / (lag + offset))
