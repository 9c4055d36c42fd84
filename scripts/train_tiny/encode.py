"""Stage "encode": every clip to Mimi's codes, once; the language models see only codes.

Clips are strung together into streams of about a minute, as the codec will hear them in a
conversation, and cut apart again as codes. A stream of user clips shares one set of recording
conditions; its gaps hold the same noise.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from moshi.models.compression import MimiModel
from scipy.signal import resample_poly

from . import conditions
from .clips import ClipStore

FRAME = 1920
RATE = 24_000
WARM_UP = 12  # frames of silence before a stream, dropped: the codec's start is not typical
STREAM = 700  # frames
PIECE = 32  # frames that go through the convolutions at once
USER_BEFORE, USER_AFTER = 5, 6  # frames of background kept around a user's clip
CLEAN = conditions.Conditions(noise=0, room=0, telephone=0, gain_db=(-10, 6))
LEVELS_DB = (-17.0, 10.0)  # around `conditions.LOUDNESS_DB`
TILT, SPEEDS = 0.7, (0.88, 1.15)  # of a varied copy of the users
SINE_HZ, SINE_AMPLITUDE = 440, 0.5


@dataclass
class Codes:
    """Codes of many clips: `flat` int16 [8, frames], clip i at `flat[:, start[i]:start[i + 1]]`.

    `words[i]` holds (word, start, end) in frames from the clip's first frame, as floats.
    """

    flat: torch.Tensor
    start: list[int]
    texts: list[str]
    words: list[list[tuple[str, float, float]]]

    def __len__(self) -> int:
        return len(self.texts)

    def clip(self, index: int) -> torch.Tensor:
        """Codes int64 [8, frames] of one clip."""
        return self.flat[:, self.start[index] : self.start[index + 1]].long()

    def save(self, path: Path) -> None:
        """Write to one file."""
        torch.save(dict(flat=self.flat, start=self.start, texts=self.texts, words=self.words), path)

    def and_then(self, others: Codes) -> Codes:
        """Give these clips and `others`, in this order."""
        return Codes(
            torch.cat([self.flat, others.flat], 1),
            [*self.start, *(self.start[-1] + at for at in others.start[1:])],
            self.texts + others.texts,
            self.words + others.words,
        )

    @staticmethod
    def none() -> Codes:
        """No clips."""
        return Codes(torch.empty(8, 0, dtype=torch.int16), [0], [], [])

    @staticmethod
    def load(path: Path) -> Codes:
        """Read what `save` wrote."""
        return Codes(**torch.load(path, weights_only=True))


@torch.no_grad()
def encode_stream(mimi: MimiModel, pcm: np.ndarray) -> torch.Tensor:
    """Codes int16 [8, frames] of float32 PCM, a whole number of frames, after a warm-up."""
    padded = np.pad(pcm, (WARM_UP * FRAME, 0)).astype(np.float32)
    device = next(mimi.parameters()).device
    sound = torch.from_numpy(padded)[None, None].to(device)
    # Convolutions piece by piece, which fits into the processor's caches: the same codes in less
    # than half the time. The transformer takes all at once: pieces would shorten its context.
    with mimi.encoder.streaming(1):
        latent = torch.cat([mimi.encoder(part) for part in sound.split(PIECE * FRAME, 2)], 2)
    (latent,) = mimi.encoder_transformer(latent)
    codes = mimi.quantizer.encode(mimi._to_framerate(latent))[0]
    return codes[:, WARM_UP:].to(torch.int16).cpu()


def frames_of(pcm: np.ndarray) -> np.ndarray:
    """Pad PCM with zeros to whole frames."""
    return np.pad(pcm, (0, -len(pcm) % FRAME))


def encode_agent(mimi: MimiModel, store: ClipStore) -> Codes:
    """Encode the agent's clips, which lie on the frame grid already."""
    return encode_clips(mimi, store, None, 0, 0, seed=0, label="agent")


def encode_user(
    mimi: MimiModel, store: ClipStore, seed: int, level: bool = False, varied: bool = False
) -> Codes:
    """Encode the users' clips in random recording conditions; 35 % of the streams stay clean.

    `level`: all voices equally loud before the stream's gain is drawn from `LEVELS_DB`; otherwise
    each is as loud as it comes, and the gain one of a few dB. `varied`: each at its own speed and
    pitch (Ko et al. 2015, "Audio Augmentation for Speech Recognition"), most streams tilted.
    """
    how = conditions.Conditions(noise=0.6)
    if level:
        how = replace(how, gain_db=LEVELS_DB)
    if varied:
        how = replace(how, tilt=TILT)
    speeds = SPEEDS if varied else (1.0, 1.0)
    return encode_clips(mimi, store, how, USER_BEFORE, USER_AFTER, seed, "user", level, speeds)


def encode_clips(
    mimi: MimiModel,
    store: ClipStore,
    how: conditions.Conditions | None,
    before: int,
    after: int,
    seed: int,
    label: str,
    level: bool = False,
    speeds: tuple[float, float] = (1.0, 1.0),
) -> Codes:
    """String clips into streams, put each stream into its conditions, encode and cut apart."""
    rng = np.random.default_rng(seed)
    pieces: list[torch.Tensor] = []
    words: list[list[tuple[str, float, float]]] = []
    index, begun = 0, time.monotonic()
    while index < len(store):
        parts, lengths, frames = [], [], 0
        while index < len(store) and (frames < STREAM or not parts):
            gap = float(rng.uniform(0, 1)) if before else 0.0  # random phase against the frames
            pcm = conditions.levelled(store.pcm(index)) if level else store.pcm(index)
            longer = 1.0
            if speeds[0] != speeds[1]:
                steps = round(100 / rng.uniform(*speeds))
                pcm, longer = resample_poly(pcm, steps, 100).astype(np.float32), steps / 100
            pcm = frames_of(np.pad(pcm, (int((before + gap) * FRAME), after * FRAME)))
            shift, rate = before + gap, 12.5 * longer
            clip = store.clips[index]
            words.append([(w, a * rate + shift, b * rate + shift) for w, a, b in clip.words])
            parts.append(pcm)
            lengths.append(len(pcm) // FRAME)
            frames += lengths[-1]
            index += 1
        stream = np.concatenate(parts)
        if how is not None and rng.random() > 0.35:
            stream = conditions.apply(rng, stream, how)
        elif how is not None:
            clean = replace(CLEAN, gain_db=how.gain_db) if level else CLEAN
            stream = conditions.apply(rng, stream, replace(clean, tilt=how.tilt))
        codes = encode_stream(mimi, np.clip(stream, -1, 1))
        pieces += list(codes.split(lengths, dim=1))
        spent = time.monotonic() - begun
        print(f"\rencode {label} {index}/{len(store)} {spent:.0f} s", end="", flush=True)
    print()
    start = [0, *np.cumsum([piece.shape[1] for piece in pieces]).tolist()]
    return Codes(torch.cat(pieces, 1), start, [clip.text for clip in store.clips], words)


def encode_noise(mimi: MimiModel, count: int, seed: int) -> Codes:
    """Encode `count` stretches of 20 s of noise, from inaudible to loud (-65...-25 dB)."""
    rng = np.random.default_rng(seed)
    pieces = []
    for _ in range(count):
        noise = conditions.background(rng, 250 * FRAME) * 10 ** (rng.uniform(-65, -25) / 20)
        if rng.random() < 0.2:
            noise = conditions.telephone(noise)
        pieces.append(encode_stream(mimi, noise.astype(np.float32)))
    start = [0, *np.cumsum([piece.shape[1] for piece in pieces]).tolist()]
    return Codes(torch.cat(pieces, 1), start, [""] * count, [[] for _ in range(count)])


def encode_quiet(mimi: MimiModel, store: ClipStore, count: int, seed: int) -> Codes:
    """Encode `count` stretches of 10 s of digital silence, each after somebody has spoken.

    The encoder remembers for a while who spoke: silence then is not the constant column that it
    is at the start, but a small family of codes.
    """
    rng = np.random.default_rng(seed)
    pieces = []
    for _ in range(count):
        spoken = frames_of(store.pcm(int(rng.integers(len(store)))))
        spoken = spoken * 10 ** (rng.uniform(-10, 2) / 20)
        stream = np.concatenate([spoken, np.zeros(125 * FRAME, np.float32)])
        pieces.append(encode_stream(mimi, stream)[:, -124:])
    start = [0, *np.cumsum([piece.shape[1] for piece in pieces]).tolist()]
    return Codes(torch.cat(pieces, 1), start, [""] * count, [[] for _ in range(count)])


def constant_codes(mimi: MimiModel) -> dict[str, list[int]]:
    """The codes [8] of silence and of the prompt's sine wave, in the middle of a long stretch."""
    t = np.arange(25 * FRAME) / RATE
    sine = (SINE_AMPLITUDE * np.sin(2 * np.pi * SINE_HZ * t)).astype(np.float32)
    silence = encode_stream(mimi, np.zeros(25 * FRAME, np.float32))
    return {
        "silence_codes": silence[:, 12].tolist(),
        "sine_codes": encode_stream(mimi, sine)[:, 12].tolist(),
    }
