"""What a linear echo canceller leaves, suppressed: by the echo's own estimate, band by band.

How much of the estimated echo remains is learned per band as a low quantile of the ratio
between what is left and what was estimated: the user's voice only ever adds to that ratio,
so speaking over the agent does not raise it. Gains as in a Wiener filter on that residual
(the usual second stage: E. Hänsler, G. Schmidt: "Acoustic Echo and Noise Control", Wiley 2004,
chapter on residual echo suppression).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from coda_voice.moshi.frames import SAMPLE_RATE, Pcm

HOP = 240
"""Samples between windows (10 ms), which is also the delay."""
_WINDOW = 2 * HOP
_BINS = HOP + 1
_BANDS = 24
_QUANTILE = 0.3
_STEP_DB = 0.5
_LEAST_DB, _MOST_DB = -40.0, 0.0
_OVERESTIMATE = 4.0
_ECHO_DECAY = 0.85
_AUDIBLE = 1e-3
"""Power of an estimated echo, in spectrum units, below which nothing is learned."""


def _band_edges() -> NDArray[np.intp]:
    """Bin numbers of 24 bands, 100 Hz wide at the bottom and wider upwards (mel scale)."""
    mel = np.linspace(0.0, 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700), _BANDS + 1)
    edges = np.rint((10 ** (mel / 2595) - 1) * 700 / (SAMPLE_RATE / _WINDOW)).astype(np.intp)
    for band in range(1, _BANDS + 1):
        edges[band] = max(edges[band], edges[band - 1] + 2)
    edges[-1] = _BINS
    return edges


_EDGES = _band_edges()
_WIDTHS = np.diff(_EDGES)


class ResidualEchoSuppressor:
    """A second stage for an echo canceller's output; 10 ms late.

    Takes what is left and the estimated echo, equally long, multiples of 240 samples.
    """

    delay_samples = HOP

    def __init__(self, max_db: float = 20.0) -> None:
        self._gain_floor = 10 ** (-max_db / 20)
        self._window = np.sqrt(np.hanning(_WINDOW + 1)[:_WINDOW]).astype(np.float32)
        self.reset()

    def reset(self) -> None:
        """Begin a new stream in an unknown room."""
        self._left: Pcm = np.zeros(HOP, dtype=np.float32)
        self._echo: Pcm = np.zeros(HOP, dtype=np.float32)
        self._overlap: Pcm = np.zeros(HOP, dtype=np.float32)
        self._remains_db: NDArray[np.float64] = np.full(_BANDS, _MOST_DB)
        self._lingering: NDArray[np.float64] = np.zeros(_BANDS)
        self._gain: NDArray[np.float64] = np.ones(_BANDS)

    def process(self, left: Pcm, echo: Pcm) -> Pcm:
        """Give ``left`` with its residual echo suppressed, 240 samples late."""
        spectra, left_power = self._spectra(np.concatenate([self._left, left]))
        _, echo_power = self._spectra(np.concatenate([self._echo, echo]))
        gains = np.empty((len(spectra), _BINS), dtype=np.float32)
        for hop in range(len(spectra)):
            gains[hop] = np.repeat(self._gains(left_power[hop], echo_power[hop]), _WIDTHS)
        shaped = fft.irfft(spectra * gains, n=_WINDOW, axis=1).astype(np.float32) * self._window
        out = shaped[:, :HOP].copy()
        out[0] += self._overlap
        out[1:] += shaped[:-1, HOP:]
        self._overlap = shaped[-1, HOP:].copy()
        self._left, self._echo = left[-HOP:].copy(), echo[-HOP:].copy()
        suppressed: Pcm = out.ravel()
        return suppressed

    def _spectra(self, pcm: Pcm) -> tuple[NDArray[np.complex64], NDArray[np.float64]]:
        windows = np.lib.stride_tricks.sliding_window_view(pcm, _WINDOW)[::HOP]
        spectra: NDArray[np.complex64] = fft.rfft(windows * self._window, axis=1)
        power = np.square(np.abs(spectra)).astype(np.float64)
        return spectra, np.add.reduceat(power, _EDGES[:-1], axis=1)

    def _gains(self, left: NDArray[np.float64], echo: NDArray[np.float64]) -> NDArray[np.float64]:
        self._lingering = np.maximum(echo, _ECHO_DECAY * self._lingering)
        ratio_db = 10 * np.log10((left + 1e-9) / (self._lingering + 1e-9))
        step = np.where(ratio_db > self._remains_db, _QUANTILE, _QUANTILE - 1.0) * _STEP_DB
        heard = self._lingering > _AUDIBLE
        self._remains_db = np.clip(
            self._remains_db + np.where(heard, step, 0.0), _LEAST_DB, _MOST_DB
        )
        residual = _OVERESTIMATE * 10 ** (self._remains_db / 10) * self._lingering
        wanted = np.clip(1.0 - residual / (left + 1e-9), self._gain_floor, 1.0)
        # Opens at once for the user, closes over some 30 ms.
        self._gain = np.maximum(wanted, 0.7 * self._gain + 0.3 * wanted)
        return self._gain
