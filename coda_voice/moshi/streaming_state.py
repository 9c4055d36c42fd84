"""Copying one slot's share of the moshi package's streaming states.

Every streaming module of the package keeps a state whose tensors have one row per slot.
A ``RowState`` is the clone of one row of all of them: what a prefilled prompt, a snapshot
and a renewed session are made of. Rows are written in place, because captured CUDA graphs
hold the tensors' addresses.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import torch
from moshi.modules.streaming import StreamingModule

# What the states keep for all rows together, or what is no memory of the conversation:
# ``exec_mask`` is set anew every tick, ``initial`` and the condition tensors are inputs.
_NOT_MEMORY = frozenset({"exec_mask", "initial", "condition_sum", "condition_cross"})


class RowMemory(Protocol):
    """What another library than torch remembers of a slot: a value, never written to.

    A state that has a list of them, one a row, calls it ``row_memories``.
    """

    @property
    def nbytes(self) -> int:
        """Memory it holds."""
        ...


@dataclass(frozen=True, slots=True)
class RowState:
    """One slot's memory, detached from any batch: tensors by their place in the model."""

    tensors: dict[str, torch.Tensor]
    memories: dict[str, RowMemory] = field(default_factory=dict)

    def __or__(self, other: RowState) -> RowState:
        """Both, as one state."""
        return RowState({**self.tensors, **other.tensors}, {**self.memories, **other.memories})

    @property
    def nbytes(self) -> int:
        """Memory it holds."""
        held = sum(memory.nbytes for memory in self.memories.values())
        return held + sum(t.numel() * t.element_size() for t in self.tensors.values())

    def after(self, steps: int) -> RowState:
        """Give the same memory of a row that has lived no more than ``steps``, in less room.

        Keys and values have room for a whole context: 1.6 GB of Moshi-7B's, of which a prompt of
        200 tokens has filled a fifteenth. Beyond their end nothing is ever looked at.
        """
        return RowState(
            {
                name: tensor[..., :steps, :].clone() if _is_kv(name) else tensor
                for name, tensor in self.tensors.items()
            },
            self.memories,
        )


def _is_kv(name: str) -> bool:
    """Whether a tensor holds keys and values, a row of them [2, heads, positions, dim]."""
    return name.endswith(".kv")


def _rows(
    prefix: str, module: StreamingModule, batch: int
) -> Iterator[tuple[str, torch.Tensor, int]]:
    """Every state tensor with its name and the dimension that counts the slots.

    Attributes are looked up at every call: the package replaces some of its tensors
    (``LMGen`` its offsets) instead of writing into them.
    """
    for name, state in module.get_streaming_state().items():
        for attribute, value in vars(state).items():
            if attribute in _NOT_MEMORY:
                continue
            if attribute == "kv_cache" and value is not None:
                yield f"{prefix}:{name}.kv", value.cache, 1
                yield f"{prefix}:{name}.kv_end", value.end_offset, 0
            elif isinstance(value, torch.Tensor) and value.dim() and value.shape[0] == batch:
                yield f"{prefix}:{name}.{attribute}", value, 0


def read_row(prefix: str, module: StreamingModule, batch: int, row: int) -> RowState:
    """Clone the state of ``row`` of a module that streams ``batch`` rows.

    ``prefix`` tells the states of several modules apart in one ``RowState``.
    """
    rows = _rows(prefix, module, batch)
    return RowState(
        {name: tensor.select(dim, row).clone() for name, tensor, dim in rows},
        {name: memories[row] for name, memories in _memories(prefix, module)},
    )


def write_row(prefix: str, module: StreamingModule, batch: int, row: int, state: RowState) -> None:
    """Write ``state`` into ``row``, in place; the other rows are not touched.

    A state that was read from a smaller batch fits: it has no batch dimension.
    """
    for name, tensor, dim in _rows(prefix, module, batch):
        source = state.tensors.get(name)
        if source is not None:
            own = tensor.select(dim, row)
            if _is_kv(name):
                own = own[..., : source.shape[-2], :]  # of a state after few steps
            own.copy_(source)
    for name, memories in _memories(prefix, module):
        if name in state.memories:
            memories[row] = state.memories[name]


def _memories(prefix: str, module: StreamingModule) -> Iterator[tuple[str, list[RowMemory]]]:
    for name, state in module.get_streaming_state().items():
        memories: list[RowMemory] | None = getattr(state, "row_memories", None)
        if memories is not None:
            yield f"{prefix}:{name}", memories


@contextmanager
def aside(module: StreamingModule, side: dict[str, object]) -> Iterator[None]:
    """Run ``module`` on another set of states for a moment: one set of weights serves both.

    ``side`` is what ``side_states`` made.
    """
    live = module.get_streaming_state()
    module.set_streaming_state(side)
    try:
        yield
    finally:
        module.set_streaming_state(live)


def side_states(module: StreamingModule, batch: int) -> dict[str, object]:
    """Make a second set of streaming states for a module that is already streaming."""
    live = module.get_streaming_state()
    module._stop_streaming()
    try:
        module.streaming_forever(batch)
        side: dict[str, object] = module.get_streaming_state()
    finally:
        module.set_streaming_state(live)
    return side
