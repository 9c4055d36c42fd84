"""Put words on the frame grid: every word of the agent's voice starts on a multiple of 80 ms.

The language model then sees each word's sound in the same phase of its frames, which makes the
codes far easier to predict, and the monologue's word times are exact. Words are stretched by
WSOLA (Verhelst and Roelands 1993, waveform similarity overlap-add).
"""

from __future__ import annotations

import numpy as np

from .speech import SAMPLE_RATE, Speech

FRAME = 1920
LEAD_FRAMES = 3
TAIL_FRAMES = 4
HOP = 360
SEARCH = 200


def wsola(pcm: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Stretch `pcm` so that sample `source[i]` lands on sample `target[i]`, linear in between.

    Both are increasing and start at 0; the result has `target[-1]` samples.
    """
    length = int(target[-1])
    window = np.hanning(2 * HOP + 1)[:-1].astype(np.float32)
    padded = np.pad(pcm, (SEARCH + HOP, 4 * HOP + 2 * SEARCH))
    out = np.zeros(length + 4 * HOP, dtype=np.float32)
    steps = np.arange(0, length + HOP, HOP)
    wanted = np.interp(steps, target, source).astype(int) + SEARCH + HOP - HOP
    position = int(wanted[0])
    last = len(padded) - 2 * HOP
    for step, nominal in zip(steps, wanted, strict=False):
        if step:
            follow = padded[position + HOP : position + 2 * HOP]
            low = max(0, min(nominal - SEARCH, last - 2 * SEARCH))
            region = padded[low : low + 2 * SEARCH + HOP]
            score = np.correlate(region, follow, "valid")
            energy = np.cumsum(np.concatenate([[0.0], region.astype(np.float64) ** 2]))
            norm = np.sqrt(np.maximum(energy[HOP:] - energy[:-HOP], 1e-6))
            position = low + int(np.argmax(score / norm))
        out[step : step + 2 * HOP] += window * padded[position : position + 2 * HOP]
    return out[HOP : HOP + length]


def align_to_frames(speech: Speech, least_frames: list[int]) -> Speech:
    """Move every word to a frame's start; word i gets at least `least_frames[i]` frames.

    The result begins with `LEAD_FRAMES` and ends with at least `TAIL_FRAMES` frames of exact
    silence, and is a whole number of frames long.
    """
    starts = np.array([start for _, start, _ in speech.words])
    ends = np.array([*starts[1:], speech.words[-1][2]])
    pcm = speech.pcm.copy()
    head = max(0, int((starts[0] - 0.03) * SAMPLE_RATE))
    tail = min(len(pcm), int((ends[-1] + 0.06) * SAMPLE_RATE))
    fade = min(480, tail - head)
    pcm = pcm[:tail]
    pcm[:head] = 0
    pcm[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    frames = np.maximum(np.round((ends - starts) * SAMPLE_RATE / FRAME), least_frames).astype(int)
    edges = (LEAD_FRAMES + np.concatenate([[0], np.cumsum(frames)])) * FRAME
    source = np.concatenate([[0], starts * SAMPLE_RATE, [ends[-1] * SAMPLE_RATE, len(pcm)]])
    target = np.concatenate([[0], edges, [edges[-1] + len(pcm) - ends[-1] * SAMPLE_RATE]])
    start = starts[0] * SAMPLE_RATE
    if start < LEAD_FRAMES * FRAME:
        extra = int(LEAD_FRAMES * FRAME - start)
        pcm = np.pad(pcm, (extra, 0))
        source[1:] += extra
    else:
        extra = int(start - LEAD_FRAMES * FRAME)
        pcm = pcm[extra:]
        source[1:] -= extra
    warped = wsola(pcm, source, target)
    total = -(-len(warped) // FRAME) * FRAME + TAIL_FRAMES * FRAME
    warped = np.pad(warped, (0, total - len(warped)))
    times = edges / SAMPLE_RATE
    words = [
        (w, float(a), float(b))
        for (w, _, _), a, b in zip(speech.words, times, times[1:], strict=False)
    ]
    return Speech(warped.astype(np.float32), words)
