"""Stage "stt": streaming transcription of the user, Kyutai's delayed streams in small.

Audio codes in, text out, no depformer (Zeghidour et al. 2025, "Streaming Sequence-to-Sequence
Learning with Delayed Streams Modeling"). A word is written 6 frames (0.48 s) after it began, or
two frames after it ended where that is later. Four extra heads tell whether the user will stay
silent for the next 0.5, 1, 2 and 3 s (class 0) or speak (class 1).
"""

from __future__ import annotations

import random
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from moshi.models.compression import MimiModel
from moshi.models.lm import LMModel

from coda_voice.moshi.frames import FRAME_SECONDS

from .dialogue import Material
from .fast import FastForward
from .optimize import MuonAndAdam
from .parallel import MEET_EVERY, agree, average_parameters, pick_dtype
from .phone_head import PhoneHead
from .phones import PARTS, Labels
from .tokenizer import EPAD, PAD, transcript
from .training_state import keep, resume

HORIZONS = (6, 12, 25, 38)  # frames: 0.5, 1, 2, 3 s
GAPS, GAP_SHARES = ((0, 12), (12, 50), (40, 160)), (0.84, 0.11, 0.05)  # frames between two clips
PEAK_RATE, WARM_UP, DECAY_SHARE = 1.5e-3, 100, 0.85
TASKS, TASK_SHARE = ("check", "moment", "think"), 0.2  # what tools hang on, beyond its own share
NEAR = 6  # codes that one may be taken for
TAKEN, HIDDEN = (0.08, 0.15), (0.04, 0.15)  # shares of the first codebook and of the others
HEARD_BELOW, PHONES_WEIGH, PHONES_RATE = 4, 0.3, 1e-3  # layers that tell phones, and how much
MEAN_DECAY = 0.98  # of the running mean of the weights, every `MEET_EVERY` steps
COMMON, COMMON_SHARE = ("what time is it", "what's the time", "what is the time"), 0.03


def stt_config(text_card: int) -> dict[str, Any]:
    """Arguments of `LMModel`."""
    return dict(
        dim=192, text_card=text_card, existing_text_padding_id=PAD, n_q=8, dep_q=0, card=512,
        num_heads=4, num_layers=7, hidden_scale=4.125, causal=True, layer_scale=None, context=125,
        max_period=10_000, gating="silu", norm="rms_norm_f32", positional_embedding="rope",
        depformer_dim=128, extra_heads_num_heads=4, extra_heads_dim=6, delays=[0] * 9,
    )  # fmt: skip


class Listening:
    """Builds sequences: pauses and noise, users' clips, their delayed transcript."""

    def __init__(self, rng: random.Random, material: Material, labels: Labels, frames: int) -> None:
        self.rng, self.material, self.labels, self.frames = rng, material, labels, frames
        self._tasks = [index for kind in TASKS for index in material.by_kind[kind]]
        self._common = [i for i, line in enumerate(material.lines) if line.text in COMMON]

    def _draw(self) -> int:
        """One of the users' clips."""
        share = self.rng.random()
        if self._tasks and share < TASK_SHARE:
            return self.rng.choice(self._tasks)
        if self._common and share < TASK_SHARE + COMMON_SHARE:
            return self.rng.choice(self._common)
        return self.rng.randrange(len(self.material.user))

    @lru_cache(maxsize=200_000)  # noqa: B019  (one lives as long as its training)
    def _phones(self, index: int) -> np.ndarray:
        """The phones of one of the users' clips, int8 [PARTS, frames]."""
        user = self.material.user
        seconds = [
            (word, begin * FRAME_SECONDS, end * FRAME_SECONDS)
            for word, begin, end in user.words[index]
        ]
        frames = user.start[index + 1] - user.start[index]
        return self.labels.of(seconds, 0.0, frames).astype(np.int8)

    def build(self) -> tuple[np.ndarray, ...]:
        """Codes int [9, T] with the text first, text weights [T], pause classes [4, T], phones.

        The phones are int [PARTS, T].
        """
        rng, material, size = self.rng, self.material, self.frames + 200
        text = np.full(size, PAD)
        audio = np.repeat(material.silence[:, None], size, 1)
        speech, phones = np.zeros(size, bool), np.zeros((PARTS, size), np.int64)
        room = material.background(rng, 0.6)
        now = 0
        while now < self.frames:
            low, high = rng.choices(GAPS, GAP_SHARES)[0]
            gap = rng.randint(low, high)
            if room is not None and gap:
                take = (rng.randrange(room.shape[1]) + np.arange(gap)) % room.shape[1]
                audio[:, now : now + gap] = room[:, take][:, : size - now]
            now += gap
            if now >= self.frames:
                break
            index = self._draw()
            codes, words = material.user.clip(index).numpy(), material.user.words[index]
            end = min(now + codes.shape[1], size)
            audio[:, now:end] = codes[:, : end - now]
            phones[:, now:end] = self._phones(index)[:, : end - now]
            speech[now + int(words[0][1]) : now + int(np.ceil(words[-1][2]))] = True
            pieces = [material.tokenizer.encode(word) for word, _, _ in words]
            written = np.array(transcript(words, pieces, now, size))
            text = np.where(written != PAD, written, text)
            now = end
        n = self.frames
        weight = np.where(text == PAD, 0.3, 1.0).astype(np.float32)
        count = np.concatenate([[0], np.cumsum(speech)])
        ends = [np.minimum(np.arange(size) + 1 + horizon, size) for horizon in HORIZONS]
        later = np.stack(
            [(count[end] - count[np.arange(size)] > 0).astype(np.int64) for end in ends]
        )
        codes = np.concatenate([text[None], audio])
        return codes[:, :n], weight[:n], later[:, :n], phones[:, :n]


def train(
    rank: int, workers: int, model: LMModel, material: Material, folder: Path, minutes: float,
    device: torch.device, rate: float, near: torch.Tensor, labels: Labels, rows: int = 8,
    frames: int = 150,
) -> None:  # fmt: skip
    """Train for `minutes` at a peak `rate`; resumes from and writes `folder/stt.pt`.

    `near`: what each code may be taken for, of `nearest_codes`. The file's "mean" is the running
    mean of the weights, which is better than the last of them.
    """
    near = near.to(device)
    model.to(device).train()
    fast = FastForward(model, device.type == "cuda", pick_dtype(device))
    torch.manual_seed(0)  # the same head in every process
    head = PhoneHead(model.dim, len(labels.names)).to(device)
    parameters = [*model.parameters(), *head.parameters()]
    optimizer = MuonAndAdam(model, rate, pick_dtype(device))
    of_head = torch.optim.AdamW(head.parameters(), PHONES_RATE)
    figure: dict[str, float] = {}
    path = folder / "stt.pt"
    step, before = resume(path, model, optimizer)
    mean = {name: value.detach().clone() for name, value in model.state_dict().items()}
    if path.exists():
        kept = torch.load(path, weights_only=True)
        mean = kept["mean"]
        head.load_state_dict(kept["head"])
    torch.manual_seed(rank + 10 * step)
    listening = Listening(random.Random(rank + 10 * step), material, labels, frames)
    started = saved = time.monotonic()
    elapsed = before
    while True:
        if step % MEET_EVERY == 0:
            elapsed = agree(before + (time.monotonic() - started) / 60, workers)
            for name, value in model.state_dict().items():
                mean[name].lerp_(value, 1 - min(MEAN_DECAY, step / (step + 4 * MEET_EVERY)))
        done = elapsed / minutes
        if rank == 0 and (done >= 1 or (step % MEET_EVERY == 0 and time.monotonic() - saved > 120)):
            keep(path, model, optimizer, step, elapsed, mean=mean, head=head.state_dict())
            saved = time.monotonic()
        if done >= 1:
            return
        optimizer.set_share(
            min(1, (step + 1) / WARM_UP) * min(1, max(0.02, (1 - done) / DECAY_SHARE))
        )
        built = [listening.build() for _ in range(rows)]
        codes, weight, later, phones = (
            torch.from_numpy(np.stack(part)).to(device) for part in zip(*built, strict=False)
        )
        seen = drop_codes(codes.long(), near)
        loss, below, figures = losses(model, fast, seen, codes.long(), weight, later)
        of_phones, figures["phones"] = head.loss(below, phones)
        loss = loss + PHONES_WEIGH * of_phones
        optimizer.zero_grad()
        of_head.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        of_head.step()
        step += 1
        if step % MEET_EVERY == 0:
            average_parameters(parameters, workers)
        for name, value in figures.items():
            figure[name] = 0.97 * figure.get(name, value) + 0.03 * value
        if rank == 0 and step % 50 == 0:
            report = " ".join(f"{name} {value:.3f}" for name, value in figure.items())
            print(f"stt step {step} {elapsed:.1f}/{minutes:.0f} min {report}", flush=True)


@torch.no_grad()
def nearest_codes(mimi: MimiModel) -> torch.Tensor:
    """The `NEAR` codes nearest to each code, int64 [8, 512, NEAR]."""
    quantizer = mimi.quantizer
    layers = [*quantizer.rvq_first.vq.layers, *quantizer.rvq_rest.vq.layers]
    vectors = torch.stack([layer._codebook.embedding for layer in layers])
    return torch.cdist(vectors, vectors).topk(NEAR + 1, largest=False).indices[:, :, 1:].cpu()


def drop_codes(codes: torch.Tensor, near: torch.Tensor) -> torch.Tensor:
    """Change random input codes [B, 9, T], so that no single one is trusted too far.

    Some are hidden (-1 embeds as zero), some are taken for one that lies near: another voice's
    sound of the same phone, as it were, of which training has too few.
    """
    audio = codes[:, 1:]
    first = torch.arange(audio.shape[1], device=codes.device)[:, None] == 0
    which = torch.randint(near.shape[2], audio.shape, device=codes.device)
    books = torch.arange(audio.shape[1], device=codes.device)[:, None].expand_as(audio)
    others = near[books, audio, which]
    taken = torch.rand(audio.shape, device=codes.device) < torch.where(first, *TAKEN)
    hidden = torch.rand(audio.shape, device=codes.device) < torch.where(first, *HIDDEN)
    return torch.cat([codes[:, :1], audio.where(~taken, others).masked_fill(hidden, -1)], 1)


def losses(
    model: LMModel,
    fast: FastForward,
    given: torch.Tensor,
    codes: torch.Tensor,
    weight: torch.Tensor,
    later: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, dict[str, float]]:
    """Text and pause losses for codes [B, 9, T], and what the layers below make of them.

    `given` is what the model sees of the codes.
    """
    initial = model._get_initial_token().expand(len(codes), -1, -1)
    inputs = torch.cat([initial, given[:, :, :-1]], 2)
    below, hidden = fast.text_and_below(inputs, None, HEARD_BELOW)
    logits = F.linear(hidden, model.text_linear.weight.to(hidden.dtype)).float()
    target = codes[:, 0]
    entropy = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none")
    entropy = entropy.view_as(weight)
    text_loss = (entropy * weight).sum() / weight.sum()
    heads = [head.weight.to(hidden.dtype) for head in model.extra_heads]
    pause = torch.stack([F.linear(hidden, head) for head in heads], 1).float()
    pause_loss = F.cross_entropy(pause.flatten(0, 2), later.flatten())
    with torch.no_grad():
        word = (target != PAD) & (target != EPAD)
        right = logits.argmax(-1) == target
        figures = {
            "text": text_loss.item(), "words": right[word].float().mean().item(),
            "pause": (pause.argmax(-1) == later).float().mean().item(),
        }  # fmt: skip
    return text_loss + 0.2 * pause_loss, below, figures
