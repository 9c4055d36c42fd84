"""How much of a batch is worked on, on a CPU: a slot that nobody has leased costs nothing.

Slots are leased from the first, so the free ones mostly stand at the end, and a step leaves them
out. A GPU's captured graphs know one size only, and it would take as long for one row as for all.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

ENOUGH_ROWS = 4
"""Of a product's left side. With fewer, a CPU's library may add up in another order, and the last
bits of a conversation would depend on who else is there."""


class WorkingRows:
    """The rows up to the last that steps; all, until ``step`` has been called."""

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def step(self, mask: Sequence[bool]) -> None:
        """From now on the rows in ``mask`` step."""
        self._rows = max((row + 1 for row, steps in enumerate(mask) if steps), default=0)

    def of(self, rows: int, frames: int = 1) -> int:
        """How many of so many rows to work on, each of them giving ``frames`` to a product."""
        return min(rows, max(self._rows, -(-ENOUGH_ROWS // frames)))


def padded(x: torch.Tensor, rows: int) -> torch.Tensor:
    """``x`` [n, ...] as [rows, ...]: zeros in place of what nobody has worked on."""
    if len(x) == rows:
        return x
    whole = x.new_zeros(rows, *x.shape[1:])
    whole[: len(x)] = x
    return whole
