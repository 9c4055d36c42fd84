"""Echo cancellation: the agent's own voice, come back through the room, taken out again.

A partitioned-block frequency-domain adaptive filter (J.-S. Soo, K. Pang: "Multidelay block
frequency domain adaptive filter", IEEE Trans. ASSP 38, 1990) adapted as a Kalman filter
(G. Enzner, P. Vary: "Frequency-domain adaptive Kalman filter for acoustic echo control in
hands-free telephones", Signal Processing 86, 2006; F. Kuech, E. Mabande, G. Enzner:
"State-space architecture of the partitioned-block-based acoustic echo controller", ICASSP
2014). The Kalman gain sinks by itself while the user speaks, so double talk needs no
detector. The filter spans 440 ms, so any delay up to 300 ms plus the room's first 140 ms is
covered without being estimated; partitions without echo in them stay near zero. What the
filter leaves, while it still learns and afterwards, is suppressed in residual_echo.py.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from coda_voice.audio.residual_echo import ResidualEchoSuppressor
from coda_voice.errors import AudioProcessingError
from coda_voice.moshi.frames import FRAME_SAMPLES, SAMPLE_RATE, Pcm

BLOCK = 480
"""Samples adapted on at a time (20 ms)."""
PARTITIONS = 22
_SIZE = 2 * BLOCK
_BINS = BLOCK + 1
_MAX_WAITING = SAMPLE_RATE
_CATCH_UP_EVERY = 2 * SAMPLE_RATE
_FORGETTING = 0.9995
_START_VARIANCE = 0.02
_LEAST_VARIANCE = 1e-7
_OBSERVATION_SMOOTHING = 0.8
_DIVERGED = 2.0


class EchoCanceller:
    """A stream of 24 kHz microphone samples without the echo of the reference.

    The reference is what the agent said, 24 kHz, from when it was handed out: the echo may
    come 0–300 ms later. ``hear`` and ``process`` are called as audio goes out and comes in;
    microphone and reference are matched sample by sample in the order given, and where
    there is no reference yet, the agent counts as silent. ``delay_samples`` late: 240 with
    ``suppress_residual``, 0 for the filter alone.

    At most one second of reference waits; older is dropped and counted in
    ``reference_dropped``. So is what keeps waiting for two seconds: then microphone samples
    were lost on their way, and the reference would fall behind the echo.
    """

    def __init__(self, suppress_residual: bool = True) -> None:
        self.reference_dropped = 0
        self._suppressor = ResidualEchoSuppressor() if suppress_residual else None
        self.delay_samples = self._suppressor.delay_samples if self._suppressor else 0
        self.reset()

    def reset(self) -> None:
        """Forget the room and the reference that waits."""
        self._waiting: Pcm = np.zeros(0, dtype=np.float32)
        self._tail: Pcm = np.zeros(BLOCK, dtype=np.float32)
        self._spectra = np.zeros((PARTITIONS, _BINS), dtype=np.complex64)
        self._loudness = np.zeros((PARTITIONS, _BINS), dtype=np.float32)
        self._parity = 0
        self._forget_room()
        self._watched, self._least_waiting = 0, _MAX_WAITING
        self._in_power = self._out_power = 0.0
        if self._suppressor is not None:
            self._suppressor.reset()

    def _forget_room(self) -> None:
        self._filter = np.zeros((PARTITIONS, _BINS), dtype=np.complex64)
        self._variance: NDArray[np.float32] = np.full(
            (PARTITIONS, _BINS), _START_VARIANCE, dtype=np.float32
        )
        self._observation: NDArray[np.float32] = np.zeros(_BINS, dtype=np.float32)

    @property
    def echo_delay_seconds(self) -> float:
        """Where the strongest part of the echo path lies, to 20 ms; 0 while none is known."""
        return int(np.square(np.abs(self._filter)).sum(axis=1).argmax()) * BLOCK / SAMPLE_RATE

    def hear(self, reference: Pcm) -> None:
        """Take the samples the agent is about to be heard with."""
        self._waiting = np.concatenate([self._waiting, reference.astype(np.float32)])
        excess = len(self._waiting) - _MAX_WAITING
        if excess > 0:
            self.reference_dropped += excess
            self._waiting = self._waiting[excess:]

    def process(self, pcm: Pcm) -> Pcm:
        """Give ``pcm`` (a multiple of 480 samples) without the echo in it."""
        if len(pcm) % BLOCK:
            raise AudioProcessingError(f"echo cancellation needs a multiple of {BLOCK} samples")
        reference = np.zeros(len(pcm), dtype=np.float32)
        there = min(len(pcm), len(self._waiting))
        reference[:there] = self._waiting[:there]
        self._waiting = self._waiting[there:]
        self._catch_up(len(pcm))
        out = np.empty(len(pcm), dtype=np.float32)
        for start in range(0, len(pcm), BLOCK):
            stop = start + BLOCK
            out[start:stop] = self._block(pcm[start:stop], reference[start:stop])
        if self._suppressor is None or not len(pcm):
            return out
        return self._suppressor.process(out, pcm - out)

    def _catch_up(self, samples: int) -> None:
        self._watched += samples
        self._least_waiting = min(self._least_waiting, len(self._waiting))
        if self._watched < _CATCH_UP_EVERY:
            return
        if self._least_waiting >= FRAME_SAMPLES:
            self.reference_dropped += self._least_waiting
            self._waiting = self._waiting[self._least_waiting :]
        self._watched, self._least_waiting = 0, _MAX_WAITING

    def _block(self, pcm: Pcm, reference: Pcm) -> Pcm:
        self._spectra[1:] = self._spectra[:-1]
        self._spectra[0] = fft.rfft(np.concatenate([self._tail, reference]))
        self._tail = reference
        self._loudness[1:] = self._loudness[:-1]
        self._loudness[0] = np.square(np.abs(self._spectra[0]))
        if float(self._loudness.max()) < 1e-6:
            return pcm
        echo = fft.irfft((self._spectra * self._filter).sum(axis=0), n=_SIZE)[BLOCK:]
        error = (pcm - echo).astype(np.float32)
        self._adapt(error)
        return self._guard(pcm, error)

    def _adapt(self, error: Pcm) -> None:
        """One Kalman step: prediction error to filter, uncertainty to step size."""
        spectrum = fft.rfft(np.concatenate([np.zeros(BLOCK, dtype=np.float32), error]))
        power = np.square(np.abs(spectrum))
        keep = _OBSERVATION_SMOOTHING
        self._observation = keep * self._observation + (1 - keep) * power
        # Half of each transform is padding, so that half of the state is observed.
        predicted = 0.5 * (self._loudness * self._variance).sum(axis=0)
        scale = self._variance / (predicted + self._observation + 1e-9)
        gain = scale * np.conj(self._spectra)
        self._filter += gain * spectrum
        self._constrain()
        shrink = 1.0 - 0.5 * scale * self._loudness
        self._variance = np.maximum(
            _FORGETTING**2 * shrink * self._variance
            + (1 - _FORGETTING**2) * np.square(np.abs(self._filter)),
            _LEAST_VARIANCE,
        ).astype(np.float32)

    def _constrain(self) -> None:
        """Keep each partition's impulse response within its own 20 ms.

        Every other partition at a time: half the work, and it converges as fast.
        """
        self._parity = 1 - self._parity
        some = self._filter[self._parity :: 2]
        response = fft.irfft(some, n=_SIZE, axis=1)
        response[:, BLOCK:] = 0.0
        some[:] = fft.rfft(response, axis=1)

    def _guard(self, pcm: Pcm, error: Pcm) -> Pcm:
        """Give the quieter of input and output; a filter that adds sound starts anew."""
        self._in_power = 0.9 * self._in_power + 0.1 * float(pcm @ pcm)
        self._out_power = 0.9 * self._out_power + 0.1 * float(error @ error)
        if self._out_power > _DIVERGED * self._in_power + 1e-6:
            self._forget_room()
            self._out_power = self._in_power
            return pcm
        return error
