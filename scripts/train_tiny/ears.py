"""The language model's ear: its lessons in telling what the user says.

A head that only training knows must write the user's words, a little later, from what the first
layers make of the sound (an auxiliary loss in the middle, as Lee and Watanabe 2021, "Intermediate
Loss Regularization for CTC-based Speech Recognition"). It is the first layers because a layer can
look up only what the layers below it knew: of a word that is known at the last layer alone,
nothing can be said in an answer. How far that has come, the model card says.
"""

from __future__ import annotations

import random

import numpy as np
import torch
import torch.nn.functional as F

from .dialogue import Material, Sample
from .stt import Listening
from .tokenizer import PAD

HEARS_AT = 4  # of six layers: the last two have what was heard to answer with
HEARING_WEIGHT, HEARD_PAD_WEIGHT = 0.5, 0.2
HEARS_ALONE = 60  # steps in which a new head learns without moving what it reads


def hearing_loss(
    head: torch.Tensor, early: torch.Tensor, heard: torch.Tensor, alone: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss of `head` [card, dim] on states [B, T, dim] of `HEARS_AT` layers; share of pieces right.

    `heard` int64 [B, T] are the pieces. `alone`: the states stay as they are, `head` learns.
    """
    given = early.detach() if alone else early
    normal = given * torch.rsqrt(1e-8 + given.float().pow(2).mean(-1, keepdim=True)).to(given.dtype)
    logits = F.linear(normal, head.to(given.dtype)).flatten(0, 1).float()
    target = heard.flatten()
    weight = torch.where(target == PAD, HEARD_PAD_WEIGHT, 1.0)
    loss = (F.cross_entropy(logits, target, reduction="none") * weight).sum() / weight.sum()
    with torch.no_grad():
        right = (logits.argmax(-1) == target).float()[target > PAD].mean()
    return loss, right


def listening(rng: random.Random, material: Material, frames: int) -> Sample:
    """Users alone, one utterance after the other; only `heard` is to be learned from it."""
    agent = np.repeat(material.silence[:, None], frames, 1)
    codes, _, _ = Listening(rng, material, frames).build()
    return Sample(
        np.full(frames, PAD), np.full(frames, -1), agent, codes[1:], codes[0],
        np.zeros(frames, np.float32), np.zeros(frames, bool), True,
    )  # fmt: skip
