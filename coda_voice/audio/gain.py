"""Automatic gain: speech at one level however far the microphone, noise left where it was.

The level of speech alone is measured (blocks well above the tracked noise floor), so that
silence never raises the gain; a limiter that looks ahead within the frame keeps peaks below
−1 dBFS. Gated level measurement after ITU-T P.56 in spirit, in 10 ms blocks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coda_voice.errors import AudioProcessingError
from coda_voice.moshi.frames import SAMPLE_RATE, Pcm

BLOCK = 240
"""Samples in a level measurement (10 ms)."""
_BLOCKS_PER_SECOND = SAMPLE_RATE / BLOCK
_CEILING = 10 ** (-1 / 20)
_SILENCE_DB = -120.0
_LEAST_SPEECH_DB = -58.0
_ABOVE_FLOOR_DB = 10.0
_FLOOR_RISE_DB = 4.0 / _BLOCKS_PER_SECOND
_FIRST_BLOCKS = 20
_MEMORY_BLOCKS = 150


class AutomaticGain:
    """A stream of 24 kHz samples with its speech brought to ``target_dbfs``.

    Takes multiples of 240 samples, has no delay. The gain stays between ``-max_cut_db`` and
    ``max_boost_db``; it settles within about half a second of speech at the beginning and
    moves by at most 6 dB a second up, 20 dB a second down, afterwards.
    """

    def __init__(
        self, target_dbfs: float = -23.0, max_boost_db: float = 24.0, max_cut_db: float = 24.0
    ) -> None:
        self.target_dbfs = target_dbfs
        self.max_boost_db = max_boost_db
        self.max_cut_db = max_cut_db
        self.reset()

    def reset(self) -> None:
        """Begin a new stream with a gain of 0 dB."""
        self.gain_db = 0.0
        self._floor_db = 0.0
        self._power = 0.0
        self._voiced_blocks = 0
        self._run = 0
        self._edge = 1.0

    def process(self, pcm: Pcm, is_speech: bool | None = None) -> Pcm:
        """Give ``pcm`` at its new level.

        ``is_speech``: what a voice activity detector says of this stretch; None leaves the
        decision to the level alone.
        """
        if len(pcm) % BLOCK:
            raise AudioProcessingError(f"automatic gain needs a multiple of {BLOCK} samples")
        if not len(pcm):
            return pcm
        blocks = pcm.reshape(-1, BLOCK)
        powers = np.square(blocks, dtype=np.float64).mean(axis=1)
        levels = 10 * np.log10(powers + 10 ** (_SILENCE_DB / 10))
        gains = np.empty(len(blocks))
        for index, (power, level) in enumerate(zip(powers.tolist(), levels.tolist(), strict=True)):
            self._measure(power, level, is_speech)
            gains[index] = 10 ** (self.gain_db / 20)
        peaks = np.abs(blocks).max(axis=1).astype(np.float64)
        return self._apply(pcm, gains, peaks)

    def _measure(self, power: float, level: float, is_speech: bool | None) -> None:
        """One block: is it speech, how loud is speech, one step towards the gain it needs."""
        # Falls at once, rises slowly: the level between words, not the words.
        self._floor_db = max(min(level, self._floor_db + _FLOOR_RISE_DB), _SILENCE_DB)
        loud = level > max(self._floor_db + _ABOVE_FLOOR_DB, _LEAST_SPEECH_DB)
        self._run = self._run + 1 if loud and is_speech is not False else 0
        if self._run < 3:
            return
        if self._voiced_blocks and power < 0.03 * self._power:
            return
        self._voiced_blocks += 1
        weight = 1 / min(self._voiced_blocks, _MEMORY_BLOCKS)
        self._power += weight * (power - self._power)
        measured = 10 * np.log10(self._power)
        wanted = min(max(self.target_dbfs - measured, -self.max_cut_db), self.max_boost_db)
        settling = self._voiced_blocks < 4 * _FIRST_BLOCKS
        up, down = (60.0, 120.0) if settling else (6.0, 20.0)
        step = wanted - self.gain_db
        self.gain_db += min(max(step, -down / _BLOCKS_PER_SECOND), up / _BLOCKS_PER_SECOND)

    def _apply(self, pcm: Pcm, gains: NDArray[np.float64], peaks: NDArray[np.float64]) -> Pcm:
        """Interpolate from block to block, below what the louder neighbour can bear."""
        allowed = np.minimum(gains, _CEILING / np.maximum(peaks, 1e-9))
        edges = np.empty(len(allowed) + 1)
        edges[1:-1] = np.minimum(allowed[:-1], allowed[1:])
        edges[-1] = allowed[-1]
        edges[0] = self._edge
        ramp = np.interp(np.arange(len(pcm)), np.arange(len(edges)) * BLOCK, edges).astype(
            np.float32
        )
        self._edge = float(edges[-1])
        out = pcm * ramp
        # Only a burst on a frame's very first block can get here: the ramp starts too high.
        limited: Pcm = np.clip(out, np.float32(-_CEILING), np.float32(_CEILING))
        return limited
