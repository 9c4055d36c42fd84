"""A training's state on disk, from which it goes on where it was stopped."""

from __future__ import annotations

from pathlib import Path

import torch

from .optimize import MuonAndAdam


def resume(
    path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer | MuonAndAdam
) -> tuple[int, float]:
    """Load what `keep` wrote, if anything; gives the steps and minutes spent so far."""
    if not path.exists():
        return 0, 0.0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"], state["minutes"]


def keep(
    path: Path,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer | MuonAndAdam,
    step: int,
    minutes: float,
    **more: dict[str, torch.Tensor],
) -> None:
    """Write the state and `more`.

    A reader, or a training cut off meanwhile, never sees half of it.
    """
    state = dict(
        model=model.state_dict(), optimizer=optimizer.state_dict(), step=step, minutes=minutes,
        **more,
    )  # fmt: skip
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").rename(path)
