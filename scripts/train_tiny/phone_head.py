"""What phones were heard, asked of a model's lower layers while it is trained.

A word is one lesson in half a second of sound, its phones are one every 20 ms: lower layers that
have to tell them learn to hear from much less speech (hierarchical multitask learning, Toshniwal
et al. 2017, "Multitask Learning with Low-Level Auxiliary Tasks for Encoder-Decoder Based Speech
Recognition"). The head is not part of the finished model.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .fast import rms_norm
from .phones import PARTS

SILENT = 0.1  # what silence weighs beside a phone
FRAMES = 2  # the frames told of: the last one heard and the one before, whose end is clearer


class PhoneHead(torch.nn.Module):
    """From hidden states [batch, frames, dim] to the phones of the last frames heard."""

    def __init__(self, dim: int, phones: int) -> None:
        super().__init__()
        self.phones = phones
        self.register_buffer("one", torch.ones(dim))
        self.linear = torch.nn.Linear(dim, FRAMES * PARTS * phones)

    def loss(self, below: torch.Tensor, phones: torch.Tensor) -> tuple[torch.Tensor, float]:
        """A scalar, and the share of phones told rightly.

        `phones` int64 [batch, PARTS, frames]. At frame p the model has the codes of those before.
        """
        hidden = rms_norm(below, self.one)
        logits = F.linear(hidden, *(w.to(hidden.dtype) for w in self.linear.parameters()))
        batch, frames = below.shape[:2]
        told = logits.float().view(batch, frames, FRAMES, PARTS, self.phones)
        late = [F.pad(phones, (by, 0))[..., :frames] for by in range(1, FRAMES + 1)]
        wanted = torch.stack(late, 1).permute(0, 3, 1, 2)
        weight = (wanted > 0) * (1 - SILENT) + SILENT
        entropy = F.cross_entropy(told.flatten(0, 3), wanted.flatten(), reduction="none")
        with torch.no_grad():
            right = (told.argmax(-1) == wanted)[wanted > 0].float().mean().item()
        return (entropy.view_as(weight) * weight).sum() / weight.sum(), right
