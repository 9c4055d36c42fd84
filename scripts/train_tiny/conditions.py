"""Recording conditions for the user's voice: level, tilt, room, noise, telephone band.

All functions take and return float32 mono PCM at 24 kHz, -1...1, and draw from the NumPy
generator they are given, so that a seed fixes the result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SAMPLE_RATE = 24_000


@dataclass(frozen=True)
class Conditions:
    """How hard the conditions may be; probabilities 0...1, signal-to-noise ratios in dB.

    `tilt_db`: what an octave more or less may weigh.
    """

    noise: float = 0.5
    room: float = 0.3
    telephone: float = 0.2
    bright: float = 0.4
    snr_db: tuple[float, float] = (8.0, 30.0)
    gain_db: tuple[float, float] = (-12.0, 6.0)
    tilt: float = 0.0
    tilt_db: tuple[float, float] = (-5.0, 3.0)


LOUDNESS_DB = -20.0  # of full scale; people's microphones are at -15 to -37


def loudness(pcm: np.ndarray) -> float:
    """How loud the speech in a clip is, dB of full scale: its louder fifth, by 20 ms."""
    whole = len(pcm) // 480 * 480
    if whole == 0:
        return -100.0
    rms = np.sqrt((pcm[:whole].reshape(-1, 480) ** 2).mean(1))
    return float(20 * np.log10(np.percentile(rms, 80) + 1e-5))


def levelled(pcm: np.ndarray) -> np.ndarray:
    """Put a clip at `LOUDNESS_DB`.

    Synthesizers differ by 20 dB, and each kind of voice would be known at its own level alone.
    """
    gain = 10 ** (np.clip(LOUDNESS_DB - loudness(pcm), -30, 30) / 20)
    return (pcm * gain).astype(np.float32)


def coloured_noise(
    rng: np.random.Generator, samples: int, slope: float | None = None
) -> np.ndarray:
    """Noise [samples] with a power spectrum of f^-slope (0 white, 1 pink, 2 brown), RMS 1."""
    slope = float(rng.uniform(0.0, 2.0)) if slope is None else slope
    spectrum = np.fft.rfft(rng.standard_normal(samples).astype(np.float32))
    frequency = np.maximum(np.fft.rfftfreq(samples, 1 / SAMPLE_RATE), 40.0)
    noise = np.fft.irfft(spectrum * frequency ** (-slope / 2), samples)
    return (noise / (noise.std() + 1e-9)).astype(np.float32)


def hum(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Mains hum [samples]: 50 or 60 Hz and a few harmonics, RMS 1."""
    t = np.arange(samples) / SAMPLE_RATE
    base = rng.choice([50.0, 60.0])
    wave = sum(rng.uniform(0.1, 1.0) / k * np.sin(2 * np.pi * base * k * t) for k in (1, 2, 3, 5))
    return (wave / (np.std(wave) + 1e-9)).astype(np.float32)


def background(rng: np.random.Generator, samples: int) -> np.ndarray:
    """One background [samples], RMS 1: coloured noise, sometimes hum, sometimes swelling slowly."""
    noise = hum(rng, samples) if rng.random() < 0.15 else coloured_noise(rng, samples)
    if rng.random() < 0.3:
        t = np.arange(samples) / SAMPLE_RATE
        noise = noise * (
            1 + 0.8 * np.sin(2 * np.pi * rng.uniform(0.2, 2.0) * t + rng.uniform(0, 6))
        )
    return noise.astype(np.float32)


def room(rng: np.random.Generator, pcm: np.ndarray) -> np.ndarray:
    """Convolve with a synthetic room: exponentially decaying noise, T60 of 0.1...0.45 s."""
    t60 = rng.uniform(0.1, 0.45)
    length = int(t60 * SAMPLE_RATE)
    decay = np.exp(-6.9 * np.arange(length) / length)
    impulse = rng.standard_normal(length) * decay
    impulse[: int(0.002 * SAMPLE_RATE)] = 0
    impulse *= rng.uniform(0.15, 0.6) / np.sqrt((impulse**2).sum() + 1e-9)
    impulse[0] = 1.0
    size = 1 << int(np.ceil(np.log2(len(pcm) + length)))
    wet = np.fft.irfft(np.fft.rfft(pcm, size) * np.fft.rfft(impulse, size), size)
    return wet[: len(pcm)].astype(np.float32)


def brighten(rng: np.random.Generator, pcm: np.ndarray) -> np.ndarray:
    """Give a voice sampled at 16 kHz something above 8 kHz: its band of 4-8 kHz, shifted up.

    Most free synthesizers have nothing there, and a model that hears only them takes a voice
    with a full band for noise (spectral folding, Makhoul and Berouti 1979).
    """
    spectrum = np.fft.rfft(pcm)
    frequency = np.fft.rfftfreq(len(pcm), 1 / SAMPLE_RATE)
    step = int(np.searchsorted(frequency, 4_000))
    source = spectrum[step : 2 * step]
    room_above = len(spectrum) - 2 * step
    added = np.zeros_like(spectrum)
    added[2 * step :][: len(source)] = source[:room_above]
    level = 10 ** (rng.uniform(-16, 0) / 20)
    return (pcm + level * np.fft.irfft(added, len(pcm))).astype(np.float32)


def tilted(pcm: np.ndarray, db: float) -> np.ndarray:
    """Raise or lower each octave by `db` more than the one below it, as loud as before.

    Voices and microphones differ by that more than by anything else: a synthesizer's whole
    spectrum may fall by 3 dB an octave more than another's.
    """
    spectrum = np.fft.rfft(pcm)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(len(pcm), 1 / SAMPLE_RATE), 60.0) / 1_000)
    out = np.fft.irfft(spectrum * 10 ** (db * octaves / 20), len(pcm))
    return (out * (pcm.std() / (out.std() + 1e-9))).astype(np.float32)


def telephone(pcm: np.ndarray) -> np.ndarray:
    """Limit to the telephone band (300-3400 Hz) and quantise with 8-bit mu-law."""
    spectrum = np.fft.rfft(pcm)
    frequency = np.fft.rfftfreq(len(pcm), 1 / SAMPLE_RATE)
    rise = 1 / (1 + (300 / np.maximum(frequency, 1)) ** 8)
    fall = 1 / (1 + (frequency / 3400) ** 24)
    narrow = np.clip(np.fft.irfft(spectrum * np.sqrt(rise * fall), len(pcm)), -1, 1)
    companded = np.sign(narrow) * np.log1p(255 * np.abs(narrow)) / np.log(256)
    companded = np.round(companded * 127) / 127
    expanded = np.sign(companded) * (256 ** np.abs(companded) - 1) / 255
    return expanded.astype(np.float32)


def apply(
    rng: np.random.Generator, pcm: np.ndarray, conditions: Conditions = Conditions()
) -> np.ndarray:
    """Put one recording into a random room, noise, band and level."""
    out = brighten(rng, pcm) if rng.random() < conditions.bright else pcm
    if conditions.tilt and rng.random() < conditions.tilt:
        out = tilted(out, rng.uniform(*conditions.tilt_db))
    if rng.random() < conditions.room:
        out = room(rng, out)
    if rng.random() < conditions.noise:
        loudness = float(np.sqrt((out**2).mean())) or 0.05
        snr = rng.uniform(*conditions.snr_db)
        out = out + background(rng, len(out)) * loudness * 10 ** (-snr / 20)
    if rng.random() < conditions.telephone:
        out = telephone(out)
    return np.clip(out * 10 ** (rng.uniform(*conditions.gain_db) / 20), -1, 1).astype(np.float32)
