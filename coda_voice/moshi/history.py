"""What each slot said and heard lately, in tokens: enough to live through it again.

A ring per slot on the model's device. It is written in place once a step, without asking
the device anything; the host only counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from moshi.models import LMModel

from coda_voice.moshi.frames import Pcm
from coda_voice.moshi.prompt import Steps
from coda_voice.moshi.streaming_state import RowState


class History:
    """Rings of ``frames`` steps for ``slots`` slots: text, agent codes, user codes, sums."""

    def __init__(self, slots: int, lm: LMModel, frames: int, *, with_sums: bool) -> None:
        self._frames = frames
        self._dep_q = lm.dep_q
        self._tokens = torch.zeros(
            slots, lm.num_codebooks, frames, dtype=torch.long, device=lm.device
        )
        self._sums = None
        if with_sums:
            self._sums = torch.zeros(slots, frames, lm.dim, dtype=lm.dtype, device=lm.device)
        self._at = torch.zeros(slots, dtype=torch.long, device=lm.device)
        self._every_row = torch.arange(slots, device=lm.device)
        self._counts = [0] * slots

    def write(
        self,
        mask: torch.Tensor,
        frames: Sequence[Pcm | None],
        text: Sequence[int],
        agent: torch.Tensor,
        user: torch.Tensor,
        sums: torch.Tensor,
    ) -> None:
        """Keep one step of the slots in ``mask``: text [slots], agent [slots, dep_q],
        user [slots, user codebooks], sums [slots, 1, dim].
        """
        spoken = torch.tensor(text, dtype=torch.long).to(self._at.device, non_blocking=True)
        column = torch.cat([spoken[:, None], agent, user], dim=1)
        rows, at = self._every_row, self._at
        # Slots that did not step write back what is there already.
        self._tokens[rows, :, at] = torch.where(mask[:, None], column, self._tokens[rows, :, at])
        if self._sums is not None:
            kept = self._sums[rows, at]
            self._sums[rows, at] = torch.where(mask[:, None], sums[:, 0], kept)
        self._at.add_(mask).remainder_(self._frames)
        for row, frame in enumerate(frames):
            self._counts[row] += frame is not None

    def clear(self, row: int) -> None:
        """Forget a slot's past."""
        self._at[row] = 0
        self._counts[row] = 0

    def total(self, row: int) -> int:
        """Steps since the slot was cleared."""
        return self._counts[row]

    def recent(self, row: int, frames: int) -> Steps:
        """Give the last ``frames`` steps, or as many as there are."""
        count = min(frames, self._counts[row], self._frames)
        last = self._counts[row]
        index = torch.arange(last - count, last, device=self._at.device) % self._frames
        tokens = self._tokens[row][:, index]
        sums = None if self._sums is None else self._sums[row][index]
        audio = 1 + self._dep_q
        return Steps(tokens[0], tokens[1:audio], tokens[audio:], sums)

    def read(self, row: int) -> RowState:
        """Clone a slot's ring."""
        tensors = {
            "tokens": self._tokens[row].clone(),
            "at": self._at[row].clone(),
            "count": torch.tensor(self._counts[row]),
        }
        if self._sums is not None:
            tensors["sums"] = self._sums[row].clone()
        return RowState(tensors)

    def restore(self, row: int, state: RowState) -> None:
        """Put a cloned ring into a slot."""
        self._tokens[row].copy_(state.tensors["tokens"])
        self._at[row] = state.tensors["at"]
        self._counts[row] = int(state.tensors["count"])
        if self._sums is not None and "sums" in state.tensors:
            self._sums[row].copy_(state.tensors["sums"])
