"""Bars 1 and 2: what the codec leaves of the agent's voice, and forced sentences."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import jiwer
import numpy as np
import torch
from pystoi import stoi

from . import corpus
from .judge import pronounced
from .synthesis import AGENT_SENTENCES, agent_texts, make_agent
from .talk import Pacer, Row, converse
from .tokenizer import EPAD, PAD

if TYPE_CHECKING:
    from .evaluate import Bench


def held_out_sentences(bench: Bench, count: int, seed: int = 4242) -> list[str]:
    """Sentences of the domain that neither the models nor the judge's model have seen."""
    rng, known = random.Random(seed + 1000 * bench.variant), pronounced()
    seen = {*agent_texts(bench.words, AGENT_SENTENCES)}
    found: list[str] = []
    while len(found) < count:
        text = corpus.fill(rng, rng.choice(corpus.SPOKEN), bench.words, "coda", None)
        if text not in seen and text not in found and all(word in known for word in text.split()):
            found.append(text)
    return found


def original(bench: Bench, text: str) -> np.ndarray:
    """The agent's voice saying `text`, not through the codec."""
    return make_agent((bench.folder, text))[0][1].astype(np.float32) / 32768


@torch.no_grad()
def through_the_codec(bench: Bench, pcm: np.ndarray) -> np.ndarray:
    """What the codec makes of `pcm`, which it fills up to whole frames."""
    codes = bench.mimi.encode(torch.from_numpy(pcm)[None, None])
    return bench.mimi.decode(codes)[0, 0].numpy()


def codec_bars(bench: Bench, scale: float) -> list[dict[str, Any]]:
    """Bar 1."""
    texts = held_out_sentences(bench, max(8, int(180 * scale)), seed=11)
    before, after, quality = [], [], []
    for text in texts:
        pcm = original(bench, text)
        again = through_the_codec(bench, pcm)
        n = min(len(pcm), len(again))
        quality.append(stoi(pcm[:n], again[:n], 24_000, extended=True))
        before.append(bench.judge.recognise(pcm))
        after.append(bench.judge.recognise(again))
    wer, wer_after = jiwer.wer(texts, before), jiwer.wer(texts, after)
    n = len(texts)
    return [
        dict(name="1 codec: word error rate of the original", value=wer, count=n),
        dict(name="1 codec: word error rate added", value=wer_after - wer, most=0.05, count=n),
        dict(name="1 codec: ESTOI", value=float(np.mean(quality)), least=0.75, count=n),
    ]


def say(bench: Bench, texts: list[str], batch: int = 20) -> list[tuple[np.ndarray, np.ndarray]]:
    """Force `texts` through the monologue after a plain prompt; (monologue, codes) of each."""
    results = []
    for at in range(0, len(texts), batch):
        part = texts[at : at + batch]
        rows = []
        for text in part:
            pieces = [bench.tokenizer.encode(word) for word in text.split()]
            n = 16 + sum(max(len(p) + 3, 6) for p in pieces) + 20
            user = np.repeat(bench.silence[:, None], n, 1)
            rows.append(Row(user, pacer=Pacer(pieces, begin=4)))
        results += converse(bench.lm, bench.reference, bench.silence, rows, bench.sampling, seed=at)
    return results


def speaking_bars(bench: Bench, scale: float) -> list[dict[str, Any]]:
    """Bar 2."""
    texts = held_out_sentences(bench, max(10, int(100 * scale)))
    said = say(bench, texts)
    heard, offsets, complete = [], [], 0
    for text, (monologue, codes) in zip(texts, said, strict=False):
        pcm = bench.decode(codes)
        heard.append(bench.judge.recognise(pcm))
        written = bench.tokenizer.decode(
            [int(t) for t in monologue if t not in (PAD, EPAD) and t > 0]
        )
        complete += written.strip() == text
        words = word_frames(bench, monologue)
        aligned = bench.judge.align(pcm, text)
        if len(aligned) == len(words):
            offsets += [
                start - frame * 0.08 for (_, start), frame in zip(aligned, words, strict=False)
            ]
    first = [bench.judge.recognise(original(bench, text)) for text in texts]
    n = len(texts)
    offset = float(np.median(np.abs(offsets))) if offsets else float("nan")
    return [
        dict(
            name="2 speaking: word error rate of the original voice",
            value=jiwer.wer(texts, first),
            count=n,
        ),
        dict(name="2 speaking: word error rate", value=jiwer.wer(texts, heard), most=0.15, count=n),
        dict(name="2 speaking: script complete in the monologue", value=complete / n, count=n),
        dict(
            name="2 speaking: monologue to audio, median s",
            value=offset,
            most=0.16,
            count=len(offsets),
        ),
    ]


def word_frames(bench: Bench, monologue: np.ndarray) -> list[int]:
    """Frame of each word's first piece."""
    return [
        frame
        for frame, token in enumerate(monologue)
        if token > 0 and token != PAD and bench.tokenizer.id_to_piece(int(token)).startswith("▁")
    ]
