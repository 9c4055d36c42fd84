"""Frames of an exact length out of chunks of any length."""

from __future__ import annotations

import numpy as np

from coda_voice.moshi.frames import FRAME_SAMPLES, Pcm


class Framer:
    """Cuts a stream of float32 samples into frames of ``size``; the remainder waits.

    Holds less than one frame between calls. The frames returned are the caller's own.
    """

    def __init__(self, size: int = FRAME_SAMPLES) -> None:
        if size < 1:
            raise ValueError(f"a frame needs at least one sample, not {size}")
        self.size = size
        self._partial = np.zeros(size, dtype=np.float32)
        self._filled = 0

    def __len__(self) -> int:
        """Count the samples that wait for the rest of their frame."""
        return self._filled

    def push(self, pcm: Pcm) -> list[Pcm]:
        """Give the frames that ``pcm`` completes, in order; often none."""
        frames: list[Pcm] = []
        position = 0
        while position < len(pcm):
            take = min(self.size - self._filled, len(pcm) - position)
            self._partial[self._filled : self._filled + take] = pcm[position : position + take]
            self._filled += take
            position += take
            if self._filled == self.size:
                frames.append(self._partial.copy())
                self._filled = 0
        return frames

    def flush(self) -> Pcm | None:
        """Give the last frame, filled up with silence; None when nothing was waiting."""
        if not self._filled:
            return None
        frame = self._partial.copy()
        frame[self._filled :] = 0.0
        self._filled = 0
        return frame

    def reset(self) -> None:
        """Drop what was waiting."""
        self._filled = 0
