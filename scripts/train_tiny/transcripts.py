"""What coda-tiny's transcriber writes of what users say, with its real mistakes and delays.

Stage "overhear": the language model reads along (`dialogue.py`), so it is trained on what will
come in, not on what was said. Of use where the users' voices are new to the transcriber.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from moshi.models.lm import LMGen, LMModel
from moshi.utils.compile import no_compile

from coda_voice.moshi.lean import make_lean
from coda_voice.moshi.working_rows import WorkingRows

from .encode import Codes
from .tokenizer import PAD

GREEDY = dict(use_sampling=False)


@torch.no_grad()
def transcribe(
    stt: LMModel, silence: np.ndarray, users: list[np.ndarray], batch: int = 32
) -> list[np.ndarray]:
    """Text tokens [n] for each stretch of codes [8, n]; those of like length side by side."""
    order = sorted(range(len(users)), key=lambda index: users[index].shape[1])
    results: dict[int, np.ndarray] = {}
    for at in range(0, len(order), batch):
        part = order[at : at + batch]
        n = users[part[-1]].shape[1]
        padded = np.repeat(np.repeat(silence[None, :, None], len(part), 0), n, 2)
        for row, index in zip(padded, part, strict=True):
            row[:, : users[index].shape[1]] = users[index]
        sound = torch.from_numpy(padded).long()
        generator = LMGen(stt, **GREEDY)
        tokens = []
        with generator.streaming(len(part)), no_compile():
            make_lean(stt, WorkingRows(len(part)))
            for frame in range(n):
                out = generator.step(sound[:, :, frame : frame + 1])
                tokens.append(out[:, 0, 0] if out is not None else torch.full((len(part),), PAD))
        stacked = torch.stack(tokens, 1).numpy()
        for row, index in zip(stacked, part, strict=True):
            results[index] = row[: users[index].shape[1]]
    return [results[index] for index in range(len(users))]


def overhear(stt: LMModel, silence: np.ndarray, users: Codes, after: int, path: Path) -> None:
    """Write what is made of every clip, from its first frame to `after` frames past its last."""
    quiet = np.repeat(silence[:, None], after, 1)
    heard: list[np.ndarray] = []
    for at in range(0, len(users), 512):
        clips = [
            np.concatenate([users.clip(index).numpy(), quiet], 1)
            for index in range(at, min(at + 512, len(users)))
        ]
        heard += transcribe(stt, silence, clips, batch=128)
        print(f"\roverhear {len(heard)}/{len(users)}", end="", flush=True)
    print()
    torch.save([torch.from_numpy(tokens.astype(np.int16)) for tokens in heard], path)


def load_transcripts(path: Path) -> list[np.ndarray]:
    """Read what `overhear` wrote."""
    return [tokens.numpy().astype(np.int64) for tokens in torch.load(path, weights_only=True)]
