"""Bars 4 and 8: the transcription of held-out voices, and the speed of everything on one core."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import jiwer
import numpy as np
import torch
from moshi.models.lm import LMGen
from moshi.utils.compile import no_compile

from coda_voice.moshi.batch import SlotBatch
from coda_voice.moshi.checkpoint import load_models

from .synthesis import HELD_OUT_USERS
from .tokenizer import EPAD, PAD
from .transcripts import GREEDY, transcribe

if TYPE_CHECKING:
    from .evaluate import Bench


def written_of(bench: Bench, users: list[np.ndarray]) -> list[np.ndarray]:
    """What the transcriber writes, text tokens [n] for each stretch of codes [8, n]."""
    assert bench.stt is not None
    return transcribe(bench.stt, bench.silence, users)


def plain(bench: Bench, tokens: np.ndarray) -> str:
    """Words of a token row."""
    return bench.tokenizer.decode(
        [int(t) for t in tokens if t not in (PAD, EPAD) and t > 0]
    ).strip()


def transcription_bars(bench: Bench, scale: float) -> list[dict[str, Any]]:
    """Bar 4."""
    if bench.stt is None:
        return []
    chosen = [i for i, line in enumerate(bench.lines) if line.kind not in ("backchannel",)]
    chosen = chosen[:: max(1, int(1 / scale))]
    quiet = np.repeat(bench.silence[:, None], 14, 1)
    tokens = written_of(
        bench, [np.concatenate([bench.user.clip(i).numpy(), quiet], 1) for i in chosen]
    )
    texts = [bench.lines[i].text for i in chosen]
    heard = [plain(bench, row) for row in tokens]
    rows = [
        dict(
            name="4 stt: word error rate, held-out voices",
            value=jiwer.wer(texts, heard),
            most=0.1,
            count=len(texts),
        )
    ]
    for voice in HELD_OUT_USERS:
        own = [k for k, i in enumerate(chosen) if bench.lines[i].voice == voice]
        if own:
            value = jiwer.wer([texts[k] for k in own], [heard[k] for k in own])
            rows.append(dict(name=f"4 stt: … {voice}", value=value, count=len(own)))
    delays = []
    for row, i, text, said in zip(tokens, chosen, texts, heard, strict=False):
        if text == said:
            firsts = [
                f for f, t in enumerate(row) if t > 0 and t != PAD and starts_word(bench, int(t))
            ]
            words = bench.user.words[i]
            delays += [
                (frame + 1 - start) * 0.08
                for frame, (_, start, _) in zip(firsts, words, strict=False)
            ]
    rows.append(
        dict(
            name="4 stt: delay from word start, median s",
            value=float(np.median(delays or [9])),
            most=0.6,
            count=len(delays),
        )
    )
    stretches = [bench.noise.clip(k).numpy() for k in range(len(bench.noise))] + [
        np.repeat(bench.silence[:, None], 250, 1)
    ] * 8
    invented = sum(len(plain(bench, row).split()) for row in written_of(bench, stretches))
    minutes = sum(codes.shape[1] for codes in stretches) * 0.08 / 60
    rows.append(
        dict(
            name="4 stt: words invented a minute",
            value=invented / minutes,
            most=1.0,
            count=int(minutes),
        )
    )
    return rows


def starts_word(bench: Bench, token: int) -> bool:
    """Whether a piece begins a word."""
    return bench.tokenizer.id_to_piece(token).startswith("▁")


@torch.no_grad()
def speed_bars(bench: Bench, scale: float, frames: int = 150) -> list[dict[str, Any]]:
    """Bar 8: one conversation with transcription, seconds of work a second of audio.

    As the engine runs it, and beside it as one would with the moshi package alone.
    """
    torch.set_num_threads(1)
    batch = SlotBatch(load_models(bench.folder, "cpu"), 1, 500)
    batch.reset(0, batch.models.sampling)
    generator = LMGen(bench.lm, support_out_of_sync=True, **bench.sampling)
    listener = (
        LMGen(bench.stt, support_out_of_sync=True, **GREEDY) if bench.stt is not None else None
    )
    pcm = torch.zeros(1, 1, 1920)
    spent, package = [], []
    with bench.mimi.streaming(1), generator.streaming(1), no_compile():
        if listener is not None:
            listener.streaming_forever(1)
        for _ in range(frames):  # turn about: what disturbs one disturbs the other
            begun = time.thread_time()
            batch.step([pcm[0, 0].numpy()])
            between = time.thread_time()
            codes = bench.mimi.encode(pcm)
            out = generator.step(codes)
            if listener is not None:
                listener.step(codes)
            if out is not None:
                bench.mimi.decode(out[:, 1:].clamp(min=0))
            spent.append(between - begun)
            package.append(time.thread_time() - between)
    mean, beside = float(np.mean(spent[10:])), float(np.mean(package[10:]))
    return [
        dict(
            name="8 real-time factor, one core, with stt", value=mean / 0.08, most=0.5, count=frames
        ),
        dict(
            name="8 … worst frame in 20, s",
            value=float(np.percentile(spent[10:], 95)),
            count=frames,
        ),
        dict(
            name="8 … real-time factor by the moshi package alone", value=beside / 0.08,
            count=frames,
        ),
    ]  # fmt: skip
