"""Noise reduction: steady background noise down, speech untouched, 10 ms of delay.

Log-spectral amplitude estimation (Y. Ephraim, D. Malah: "Speech enhancement using a
minimum mean-square error log-spectral amplitude estimator", IEEE Trans. ASSP 33, 1985) with
their decision-directed a-priori SNR. The noise is tracked by speech presence probability
(T. Gerkmann, R. Hendriks: "Unbiased MMSE-based noise power estimation with low complexity
and low tracking delay", IEEE Trans. ASLP 20, 2012), and bounded by the smallest power each
band had lately (after R. Martin: "Noise power spectral density estimation based on optimal
smoothing and minimum statistics", IEEE Trans. SAP 9, 2001), so that long vowels are not
taken for noise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.special import exp1

from coda_voice.errors import AudioProcessingError
from coda_voice.moshi.frames import Pcm

HOP = 240
"""Samples between windows (10 ms), which is also the delay."""
_WINDOW = 2 * HOP
_BINS = HOP + 1
_FLOOR = 1e-12
_PRIOR_SNR = 10 ** (15 / 10)
_MINIMUM_HOPS = 20
_MINIMUM_BLOCKS = 8
_MINIMUM_BIAS = 5.0


class NoiseReducer:
    """A stream of 24 kHz samples with its steady noise reduced by up to ``max_db``.

    Takes any multiple of 240 samples and gives as many back, ``delay_samples`` late. The
    noise's level is learned while nobody speaks, anew within about a second when it
    changes; digital silence stays silence.
    """

    delay_samples = HOP

    def __init__(self, max_db: float = 18.0) -> None:
        self._gain_floor = 10 ** (-max_db / 20)
        # The square root of a Hann window twice, halves overlapping, sums to one.
        self._window = np.sqrt(np.hanning(_WINDOW + 1)[:_WINDOW]).astype(np.float32)
        self.reset()

    def reset(self) -> None:
        """Begin a new stream, with nothing known about its noise."""
        self._previous: Pcm = np.zeros(HOP, dtype=np.float32)
        self._overlap: Pcm = np.zeros(HOP, dtype=np.float32)
        self._noise: NDArray[np.float64] = np.full(_BINS, _FLOOR)
        self._speech_power: NDArray[np.float64] = np.zeros(_BINS)
        self._presence: NDArray[np.float64] = np.full(_BINS, 0.5)
        self._smoothed: NDArray[np.float64] = np.full(_BINS, _FLOOR)
        self._minimum: NDArray[np.float64] = np.full(_BINS, np.inf)
        self._minima = np.full((_MINIMUM_BLOCKS, _BINS), np.inf)
        self._hops = 0

    @property
    def noise_dbfs(self) -> float:
        """The level of the noise as it is known now, dB below full scale."""
        power = self._noise[1:-1].sum() * 2 + self._noise[0] + self._noise[-1]
        # The window's energy is HOP; Parseval's sum counts each sample _WINDOW times.
        return float(10 * np.log10(power / (_WINDOW * HOP) + 1e-12))

    def process(self, pcm: Pcm) -> Pcm:
        """Give as many samples as came in, enhanced, 240 samples late."""
        if len(pcm) % HOP:
            raise AudioProcessingError(f"noise reduction needs a multiple of {HOP} samples")
        count = len(pcm) // HOP
        signal = np.concatenate([self._previous, pcm])
        windows = np.lib.stride_tricks.sliding_window_view(signal, _WINDOW)[::HOP]
        spectra = fft.rfft(windows * self._window, axis=1)
        powers = np.square(np.abs(spectra)).astype(np.float64)
        gains = np.empty((count, _BINS), dtype=np.float32)
        for hop in range(count):
            gains[hop] = self._gain(powers[hop])
        shaped = fft.irfft(spectra * gains, n=_WINDOW, axis=1).astype(np.float32) * self._window
        out = shaped[:, :HOP].copy()
        out[0] += self._overlap
        out[1:] += shaped[:-1, HOP:]
        self._overlap = shaped[-1, HOP:].copy() if count else self._overlap
        self._previous = signal[-HOP:].astype(np.float32)
        enhanced: Pcm = out.ravel()
        return enhanced

    def _gain(self, power: NDArray[np.float64]) -> NDArray[np.float64]:
        self._track(power)
        posterior = np.minimum(power / self._noise, 1e4)
        # Decision-directed: mostly what was decided a hop ago, a little of what is heard now.
        prior = np.maximum(
            0.97 * self._speech_power / self._noise + 0.03 * np.maximum(posterior - 1.0, 0.0),
            10 ** (-25 / 10),
        )
        wiener = prior / (1.0 + prior)
        v = np.clip(wiener * posterior, 1e-8, 500.0)
        gain = np.minimum(wiener * np.exp(0.5 * exp1(v)), 1.0)
        self._speech_power = np.square(gain) * power
        floored: NDArray[np.float64] = np.maximum(gain, self._gain_floor)
        return floored

    def _track(self, power: NDArray[np.float64]) -> None:
        self._smoothed = 0.8 * self._smoothed + 0.2 * power if self._hops else power + _FLOOR
        if self._hops == 0:
            self._noise = power + _FLOOR
        self._minimum = np.minimum(self._minimum, self._smoothed)
        self._hops += 1
        if self._hops % _MINIMUM_HOPS == 0:
            self._minima[self._hops // _MINIMUM_HOPS % _MINIMUM_BLOCKS] = self._minimum
            self._minimum = self._smoothed.copy()
        exponent = np.minimum(power / self._noise * (_PRIOR_SNR / (1 + _PRIOR_SNR)), 200.0)
        presence = 1.0 / (1.0 + (1 + _PRIOR_SNR) * np.exp(-exponent))
        self._presence = 0.9 * self._presence + 0.1 * presence
        # A band that always seems to hold speech holds noise that has risen.
        presence = np.where(self._presence > 0.99, np.minimum(presence, 0.99), presence)
        expected = presence * self._noise + (1.0 - presence) * power
        noise = 0.8 * self._noise + 0.2 * expected
        lowest = np.minimum(self._minima.min(axis=0), self._minimum)
        self._noise = np.maximum(np.minimum(noise, _MINIMUM_BIAS * lowest), _FLOOR)
