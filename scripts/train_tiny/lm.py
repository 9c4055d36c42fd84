"""Stage "lm": coda-tiny's language model, Moshi's architecture at 12 M parameters.

The loss is Moshi's (text, then the codebooks through the depformer); the depformer is trained
only on frames in which the agent sounds and on a few silent ones. Reference tokens share the text
embedding plus one learned vector, so that what is learned about copying from the prompt serves
the reference stream too, and what the transcriber writes of the user, which comes in the same way.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from moshi.models.lm import LMModel
from safetensors.torch import load_file
from sentencepiece import SentencePieceProcessor as Pieces

from . import corpus
from .dialogue import (
    COPY_WEIGHT,
    COPYING,
    DISTURBED,
    FIRST_WEIGHT,
    READING,
    RECALLING,
    TELLING,
    Conversation,
    Material,
    Mix,
    Sample,
)
from .fast import FastForward
from .optimize import MuonAndAdam
from .parallel import MEET_EVERY, agree, average_parameters, pick_dtype
from .tokenizer import PAD
from .training_state import keep, resume

CARD = 512
CODEBOOKS = 8
DELAYS = [0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1]
CODEBOOK_WEIGHT = (4.0, 1.5, 1.2, 1.0, 1.0, 1.0, 1.0, 1.0)
PEAK_RATE, WARM_UP, DECAY_SHARE = 2e-3, 100, 0.85
REAL_SAID = 0.6  # of the names and things in what sounds; copying is practised on all alike


def lm_config(text_card: int) -> dict[str, Any]:
    """Arguments of `LMModel`."""
    return dict(
        dim=256, text_card=text_card, existing_text_padding_id=PAD, n_q=2 * CODEBOOKS,
        dep_q=CODEBOOKS, card=CARD, num_heads=4, num_layers=6, hidden_scale=4.125, causal=True,
        layer_scale=None, context=500, max_period=10_000, gating="silu", norm="rms_norm_f32",
        positional_embedding="rope", depformer_dim=128, depformer_dim_feedforward=528,
        depformer_num_heads=4, depformer_num_layers=2, depformer_layer_scale=None,
        depformer_multi_linear=True, depformer_context=8, depformer_max_period=10_000,
        depformer_gating="silu", depformer_pos_emb="none", depformer_weights_per_step=True,
        delays=DELAYS,
    )  # fmt: skip


class Talker(torch.nn.Module):
    """The language model; what tells a reference and a transcript from text, a vector each.

    `hearing` is for training only: it must tell what the user says, a little later, from the
    hidden states. Answers alone are too sparse a lesson in listening.
    """

    def __init__(self, text_card: int) -> None:
        super().__init__()
        self.lm = LMModel(**lm_config(text_card), dtype=torch.float32, device="cpu")
        self.marker = torch.nn.Parameter(0.02 * torch.randn(256))
        self.transcript = torch.nn.Parameter(0.02 * torch.randn(256))
        self.hearing = torch.nn.Linear(256, text_card, bias=False)

    def reference_embedding(self) -> torch.Tensor:
        """[text_card + 1, dim]; the last row, zero, means "no reference"."""
        table = self.lm.text_emb.weight[:-1] + self.marker
        return torch.cat([table, torch.zeros_like(table[:1])])

    def added(self, reference: torch.Tensor, written: torch.Tensor) -> torch.Tensor:
        """What is added to the input [batch, frames, dim]; tokens [batch, frames], -1 for none.

        As in the engine what is told goes first: a piece written in the same frame is left out.
        """
        told = (reference >= 0)[..., None]
        rows = self.lm.text_emb(torch.where(told[..., 0], reference, written).clamp(min=0))
        either = told | (written >= 0)[..., None]
        return torch.where(either, rows + torch.where(told, self.marker, self.transcript), 0.0)


def warm_start(model: Talker, folder: Path, tokenizer: Pieces, old_tokenizer: Pieces) -> None:
    """Take weights of an earlier version whose codec had the same codes.

    Text embeddings and text output rows move with their pieces' spelling.
    """
    old = load_file(folder / "moshi.safetensors")
    new = model.lm.state_dict()
    rows = {old_tokenizer.id_to_piece(i): i for i in range(old_tokenizer.vocab_size())}
    for name, value in new.items():
        if name not in old:
            continue
        weight = old[name].float()
        if value.shape == weight.shape:
            value.copy_(weight)
        elif name in ("text_emb.weight", "text_linear.weight", "depformer_text_emb.weight"):
            for index in range(tokenizer.vocab_size()):
                source = rows.get(tokenizer.id_to_piece(index))
                if source is not None:
                    value[index] = weight[source]
    model.lm.load_state_dict(new)
    own = load_file(folder / "coda.safetensors")
    table = own["reference_embedding"].float()
    if table.shape == (tokenizer.vocab_size() + 1, new["text_emb.weight"].shape[1]):
        with torch.no_grad():
            model.marker.copy_((table[:-1] - new["text_emb.weight"][:-1]).mean(0))
            model.transcript.copy_(model.marker + own.get("transcript_vector", 0.0))


@dataclass
class Batch:
    """Tensors of several samples: codes int64 [B, 17, T] and what goes with them."""

    codes: torch.Tensor
    reference: torch.Tensor
    written: torch.Tensor
    text_weight: torch.Tensor
    heard: torch.Tensor
    sounding: torch.Tensor
    trained: torch.Tensor
    started: torch.Tensor


def collate(samples: list[Sample], silence: np.ndarray) -> Batch:
    """Stack samples; `sounding` marks frames whose codes are not silence, widened by three."""
    codes = np.stack([np.concatenate([s.text[None], s.agent, s.user]) for s in samples])
    sounding = (codes[:, 1:9] != silence[None, :, None]).mean(1) > 0.3
    wide = sounding.copy()
    for shift in (1, 2, 3):
        wide[:, shift:] |= sounding[:, :-shift]
        wide[:, :-shift] |= sounding[:, shift:]
    return Batch(
        torch.from_numpy(codes).long(),
        torch.from_numpy(np.stack([s.reference for s in samples])).long(),
        torch.from_numpy(np.stack([s.written for s in samples])).long(),
        torch.from_numpy(np.stack([s.text_weight for s in samples])),
        torch.from_numpy(np.stack([s.heard for s in samples])).long(),
        torch.from_numpy(wide),
        torch.from_numpy(np.stack([s.audio for s in samples])),
        torch.tensor([s.started for s in samples]),
    )


def delayed(codes: torch.Tensor, initial: torch.Tensor, started: torch.Tensor) -> torch.Tensor:
    """Model inputs and targets in one tensor [B, 17, T + 1]: position 0 is the initial token.

    Samples that are cut from the middle of a conversation get their own first frame there.
    """
    first = torch.where(started[:, None, None], initial, codes[:, :, :1])
    late = torch.cat([first, codes[:, :, :-1]], 2)
    shifted = torch.tensor(DELAYS, dtype=torch.bool)[None, :, None]
    return torch.cat([first, torch.where(shifted, late, codes)], 2)


HIDDEN_USER, HIDDEN_AGENT = (0.03, 0.15), (0.08, 0.15)  # first codebook, the others
DEAF_TO_ITSELF = 0.12  # share of the rows in which the agent does not hear itself at all


def hide_codes(inputs: torch.Tensor, deaf_to_itself: float) -> torch.Tensor:
    """Hide random codes (-1 embeds as zero): no single code is trusted too far.

    Of the user, the first codebook tells what is said; the others, who says it and how, are hidden
    more often. The agent's own codes are clean in training and less so when it speaks freely; in
    a share `deaf_to_itself` of the rows all of them are hidden, so that what it says does not
    hang on how it has just sounded.
    """
    share = torch.tensor([
        side[0] if k == 0 else side[1]
        for side in (HIDDEN_AGENT, HIDDEN_USER)
        for k in range(CODEBOOKS)
    ], device=inputs.device)  # fmt: skip
    codes = inputs[:, 1:]
    hidden = torch.rand(codes.shape, device=inputs.device) < share[:, None]
    deaf = torch.rand(len(codes), device=inputs.device) < deaf_to_itself
    hidden[:, :CODEBOOKS] |= deaf[:, None, None]
    return torch.cat([inputs[:, :1], codes.masked_fill(hidden, -1)], 1)


LOOKS = 2  # passes over one batch: with the recorded voice, then with the model's own
OWN_TEMPERATURE = 0.7


@dataclass
class Written:
    """The temporal half of a pass: hidden states, targets [B, 17, T], the text loss."""

    hidden: torch.Tensor
    targets: torch.Tensor
    loss: torch.Tensor
    figures: dict[str, torch.Tensor]


HEARING_WEIGHT, HEARD_PAD_WEIGHT = 0.5, 0.2


def text_loss(
    model: Talker,
    fast: FastForward,
    batch: Batch,
    deaf_to_itself: float = 0.0,
    own: torch.Tensor | None = None,
) -> Written:
    """Run the temporal transformer and weigh the monologue and what was heard.

    `own` [B, 8, T], delayed like the targets, is what the agent hears of itself in place of the
    recording.
    """
    lm = model.lm
    sequence = delayed(batch.codes, lm._get_initial_token(), batch.started)
    inputs, targets = sequence[:, :, :-1], sequence[:, :, 1:]
    if own is not None:
        inputs = inputs.clone()
        inputs[:, 1 : CODEBOOKS + 1, 1:] = own[:, :, :-1]
    inputs = hide_codes(inputs, deaf_to_itself)
    hidden = fast.text(inputs, model.added(batch.reference, batch.written))
    logits = F.linear(hidden, lm.text_linear.weight.to(hidden.dtype)).flatten(0, 1).float()
    target, weight = targets[:, 0].flatten(), batch.text_weight.flatten()
    entropy = F.cross_entropy(logits, target, reduction="none")
    heard = batch.heard.flatten()
    heard_logits = F.linear(hidden, model.hearing.weight.to(hidden.dtype)).flatten(0, 1).float()
    heard_weight = torch.where(heard == PAD, HEARD_PAD_WEIGHT, 1.0)
    unheard = (F.cross_entropy(heard_logits, heard, reduction="none") * heard_weight).sum()
    with torch.no_grad():
        right = (logits.argmax(-1) == target).float()
        word, copied = (weight >= 1) & (target > PAD), weight == COPY_WEIGHT
        first, understood = (
            word & (weight == FIRST_WEIGHT),
            (heard_logits.argmax(-1) == heard).float(),
        )
        figures = {
            "words": right[word].mean(), "first": right[first].mean(),
            "copied": right[copied].mean(), "heard": understood[heard > PAD].mean(),
        }  # fmt: skip
    loss = 1.5 * (entropy * weight).sum() / weight.sum()
    return Written(hidden, targets, loss + HEARING_WEIGHT * unheard / heard_weight.sum(), figures)


def losses(
    model: Talker,
    fast: FastForward,
    batch: Batch,
    generator: torch.Generator,
    own: torch.Tensor | None = None,
) -> tuple[torch.Tensor, dict[str, torch.Tensor], Callable[[], torch.Tensor]]:
    """The whole loss, its figures, and what draws the voice [B, 8, T] the model would have had.

    That voice is the next look's `own`: in free speech the model follows its own codes, with their
    mistakes, and has to find back to the recording's (scheduled sampling over whole sequences:
    Mihaylova and Martins 2019, "Scheduled Sampling for Transformers").
    """
    written = text_loss(model, fast, batch, DEAF_TO_ITSELF, own)
    hidden, targets = written.hidden, written.targets
    lottery = torch.rand(batch.sounding.shape, generator=generator) < 0.04
    chosen = (batch.sounding | lottery) & batch.trained
    picked = targets.transpose(1, 2)[chosen].T.contiguous()
    logits = fast.codes(hidden[chosen], picked).float()
    audio_target = picked[1:9]
    valid = audio_target < CARD
    entropy = F.cross_entropy(
        logits.flatten(0, 1), audio_target.clamp(max=CARD - 1).flatten(), reduction="none"
    )
    share = torch.tensor(CODEBOOK_WEIGHT)[:, None] * valid
    audio_loss = (entropy.view_as(share) * share).sum() / share.sum()
    with torch.no_grad():
        hits = (logits.argmax(-1) == audio_target).float().mean(1)
        figures = written.figures | {
            "text": written.loss.detach(), "audio": audio_loss.detach(),
            "code0": hits[0], "code1": hits[1], "code7": hits[7],
        }  # fmt: skip

    def voice() -> torch.Tensor:
        codes = targets[:, 1 : CODEBOOKS + 1].clone()
        drawn = fast.sample(hidden[chosen].detach(), picked[0], OWN_TEMPERATURE)
        codes.transpose(1, 2)[chosen] = torch.where(valid, drawn, audio_target).T
        return codes

    return written.loss + audio_loss, figures, voice


@dataclass(frozen=True)
class Plan:
    """How long and on what to train; lengths in frames, `rows` per process.

    Of the rows, `read_rows` hold nothing but sentences read aloud: practice in sounding; in
    `disturbed_rows` the user mostly speaks while the agent does: practice in yielding and in
    going on; in `recalling_rows` what is told is asked for some questions later. `copy_rows` come
    on top: short questions and answers without sound.
    """

    minutes: float
    frames: int = 200
    rows: int = 4
    read_rows: int = 0
    disturbed_rows: int = 0
    mix: Mix = field(default_factory=Mix)
    copy_rows: int = 0
    peak_rate: float = PEAK_RATE
    copy_frames: int = 80
    seed: int = 0
    recalling_rows: int = 0

    def mixes(self) -> list[Mix]:
        """What each row is made of."""
        special = [READING] * self.read_rows + [DISTURBED] * self.disturbed_rows
        special += [RECALLING] * self.recalling_rows
        return special + [self.mix] * (self.rows - len(special))


def rate_share(step: int, done: float) -> float:
    """Warm-up over steps, constant, linear decay over the last `DECAY_SHARE` of the time."""
    return min(1.0, (step + 1) / WARM_UP) * min(1.0, max(0.02, (1 - done) / DECAY_SHARE))


def train(
    rank: int, workers: int, model: Talker, material: Material, folder: Path, plan: Plan,
    device: torch.device, total: float | None = None,
) -> None:  # fmt: skip
    """Train until `plan.minutes`; resumes from and writes `folder/lm.pt`.

    The learning rate decays towards `total` minutes, the end of the last plan. The minutes of
    earlier plans count: a plan whose time is over returns at once.
    """
    words, _ = corpus.vocabularies()
    said = corpus.as_spoken(words, REAL_SAID)
    model.to(device).train()
    fast = FastForward(model.lm, device.type == "cuda", pick_dtype(device))
    parameters = list(model.parameters())
    optimizer = MuonAndAdam(model, plan.peak_rate, pick_dtype(device))
    mean = {}
    path = folder / "lm.pt"
    step, before = resume(path, model, optimizer)
    rng = random.Random(plan.seed * 1000 + rank + step * 7)
    generator = torch.Generator().manual_seed(rank + step)
    started, saved = time.monotonic(), time.monotonic()
    elapsed = before
    looks, own = 0, None
    while True:
        if step % MEET_EVERY == 0:
            elapsed = agree(before + (time.monotonic() - started) / 60, workers)
        done = elapsed / plan.minutes
        if rank == 0 and (done >= 1 or (step % MEET_EVERY == 0 and time.monotonic() - saved > 120)):
            keep(path, model, optimizer, step, elapsed)
            saved = time.monotonic()
        if done >= 1:
            return
        optimizer.set_share(rate_share(step, elapsed / (total or plan.minutes)))
        if looks % LOOKS == 0:
            samples = [
                Conversation(rng, material, said, mix, plan.frames).build() for mix in plan.mixes()
            ]
            batch, own = collate(samples, material.silence), None
        looks += 1
        loss, figures, voice = losses(model, fast, batch, generator, own)
        if looks % LOOKS:  # there is another look at this batch
            own = voice()
        optimizer.zero_grad()
        loss.backward()
        if plan.copy_rows:
            practice = [
                Conversation(rng, material, words, mix, plan.copy_frames).build()
                for mix in islice(cycle((COPYING, TELLING)), plan.copy_rows)
            ]
            written = text_loss(model, fast, collate(practice, material.silence), 0.5)
            (0.5 * written.loss).backward()
            figures["practice"] = written.figures["copied"]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        if step % MEET_EVERY == 0:
            average_parameters(parameters, workers)
        figures[f"code0_{(looks - 1) % LOOKS}"] = figures["code0"]
        for name, value in figures.items():
            if value.isfinite():
                mean[name] = 0.97 * mean.get(name, value.item()) + 0.03 * value.item()
        if rank == 0 and step % 25 == 0:
            report = " ".join(f"{name} {value:.3f}" for name, value in mean.items())
            print(f"lm step {step} {elapsed:.1f}/{plan.minutes:.0f} min {report}", flush=True)
