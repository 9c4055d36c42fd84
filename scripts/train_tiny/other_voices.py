"""More voices out of few: what somebody said, as somebody else might have said it.

WORLD takes speech apart into pitch, spectral envelope and breath (Morise et al. 2016, "WORLD: a
vocoder-based high-quality speech synthesis system for real-time applications"); here each is moved
by itself, as resampling cannot: another pitch and melody, another vocal tract, another rhythm, and
now and then the smooth spectra of a statistical synthesizer.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyworld
from scipy.signal import resample_poly

from .speech import SAMPLE_RATE, Speech

RATE = 16_000  # what most of the synthesizers have
PERIOD = 0.005  # seconds
PITCH, PITCH_HZ = (0.7, 1.45), (75.0, 330.0)
MELODY = (0.4, 1.5)  # how much livelier
TRACT, TRACT_EACH = (0.86, 1.16), 0.07  # formants together, and each by itself
TRACT_HZ = np.array([0.0, 800, 1800, 3000, 4500, RATE / 2])
PACE, PACE_WITHIN, PACE_FRAMES = 0.15, (0.8, 1.25), 60
SMOOTH, SMOOTH_ORDER = 0.4, (16, 36)  # how often, and cepstral coefficients left
SHARP, SHARP_BY = 0.3, (0.8, 1.2)
BREATH = (0.6, 1.5)


class Parts(NamedTuple):
    """Pitch in Hz [frames] (0: none), log power spectrum and aperiodicity [frames, bins]."""

    pitch: np.ndarray
    envelope: np.ndarray
    breath: np.ndarray


def taken_apart(pcm: np.ndarray) -> Parts:
    """WORLD's parts of float32 PCM at 24 kHz."""
    sound = resample_poly(pcm.astype(np.float64), RATE // 8000, SAMPLE_RATE // 8000)
    rough, times = pyworld.dio(sound, RATE, frame_period=1000 * PERIOD)
    pitch = pyworld.stonemask(sound, rough, times, RATE)
    envelope = np.log(pyworld.cheaptrick(sound, pitch, times, RATE) + 1e-16)
    return Parts(pitch, envelope, pyworld.d4c(sound, pitch, times, RATE))


def by_another(spoken: Speech, seed: int) -> Speech:
    """The same words by a voice that `seed` makes up."""
    rng = np.random.default_rng(seed)
    parts = taken_apart(spoken.pcm / max(1e-3, float(np.abs(spoken.pcm).max())) * 0.5)
    until = _rhythm(rng, len(parts.pitch))
    which = np.searchsorted(until, np.arange(int(until[-1])), "right") - 1
    pitch, envelope, breath = (part[which] for part in parts)
    envelope, breath = _other_tract(rng, envelope, breath)
    sound = pyworld.synthesize(
        _other_pitch(rng, pitch),
        np.ascontiguousarray(np.exp(_other_spectrum(rng, envelope))),
        np.ascontiguousarray(np.clip(breath, 1e-4, 1) ** rng.uniform(*BREATH)),
        RATE,
        1000 * PERIOD,
    )
    pcm = resample_poly(sound, SAMPLE_RATE // 8000, RATE // 8000).astype(np.float32)
    frames = np.arange(len(until)) * PERIOD
    words = [
        (word, *(float(np.interp(time, frames, until * PERIOD)) for time in (begin, end)))
        for word, begin, end in spoken.words
    ]
    return Speech(pcm / max(1.0, float(np.abs(pcm).max()) * 1.02), words)


def _rhythm(rng: np.random.Generator, frames: int) -> np.ndarray:
    """Where each frame begins in the new sound, and where the last ends [frames + 1]."""
    places = max(2, frames // PACE_FRAMES)
    paces = np.exp(rng.uniform(*np.log(PACE_WITHIN), places) + rng.uniform(-PACE, PACE))
    lengths = np.interp(np.arange(frames), np.linspace(0, frames - 1, places), paces)
    return np.concatenate([[0.0], np.cumsum(lengths)])


def _other_pitch(rng: np.random.Generator, pitch: np.ndarray) -> np.ndarray:
    voiced, pitch = pitch > 0, pitch.copy()
    if voiced.any():
        mean = np.exp(np.log(pitch[voiced]).mean())
        new = np.clip(mean * np.exp(rng.uniform(*np.log(PITCH))), *PITCH_HZ)
        pitch[voiced] = np.clip(new * (pitch[voiced] / mean) ** rng.uniform(*MELODY), 60, 450)
    return pitch


def _other_tract(
    rng: np.random.Generator, envelope: np.ndarray, breath: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Both [frames, bins] with their frequencies moved, piecewise linearly."""
    frequency = np.linspace(0, RATE / 2, envelope.shape[1])
    together = rng.uniform(*TRACT)
    by = together * np.exp(rng.uniform(-TRACT_EACH, TRACT_EACH, len(TRACT_HZ)))
    by[-1] = together
    moved = np.maximum.accumulate(np.interp(frequency, TRACT_HZ, TRACT_HZ * by))
    source = np.interp(frequency, moved, frequency, right=RATE / 2)
    step = frequency[1]
    low = np.clip((source / step).astype(int), 0, len(frequency) - 2)
    share = np.clip(source / step - low, 0, 1)
    between = [part[:, low] * (1 - share) + part[:, low + 1] * share for part in (envelope, breath)]
    return between[0], between[1]


def _other_spectrum(rng: np.random.Generator, envelope: np.ndarray) -> np.ndarray:
    """Smoother now and then, its formants sharper or flatter."""
    cepstrum = np.fft.irfft(envelope, axis=1)
    if rng.random() < SMOOTH:
        order = int(rng.integers(*SMOOTH_ORDER))
        cepstrum[:, order : 1 - order] = 0
    if rng.random() < SHARP:
        cepstrum[:, 4:-3] *= rng.uniform(*SHARP_BY)
    return np.fft.rfft(cepstrum, axis=1).real
