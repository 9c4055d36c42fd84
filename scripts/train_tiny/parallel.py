"""Data-parallel training in processes of one thread each.

On a busy machine two threads inside one operation wait for each other all the time; two
processes that meet every few steps do not. On a GPU one process is used and this does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

MEET_EVERY = 16  # steps between two averages


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" is the GPU where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def pick_dtype(device: torch.device) -> torch.dtype:
    """What that device multiplies fastest in: bfloat16, but float32 on processors without it.

    There (AVX2 alone) bfloat16 is taken apart number by number, at a fifth of float32's speed.
    """
    if device.type == "cuda":
        return torch.bfloat16
    has_it = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if has_it else torch.float32


def launch(function: Callable[..., None], workers: int, meeting: Path, *arguments: object) -> None:
    """Run `function(rank, workers, *arguments)` in `workers` processes, or here if it is one."""
    if workers == 1:
        function(0, 1, *arguments)
        return
    meeting.unlink(missing_ok=True)
    mp.spawn(_entry, (workers, str(meeting), function, arguments), nprocs=workers)


def _entry(
    rank: int, workers: int, meeting: str, function: Callable[..., None], arguments: tuple
) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=workers)
    try:
        function(rank, workers, *arguments)
    finally:
        dist.destroy_process_group()


def average_parameters(parameters: list[torch.nn.Parameter], workers: int) -> None:
    """Replace every parameter by its mean over the processes (local SGD, Stich 2018).

    Done every few steps: exchanging gradients at every step costs as much as the step itself.
    """
    if workers == 1:
        return
    with torch.no_grad():
        flat = torch.cat([parameter.reshape(-1) for parameter in parameters])
        dist.all_reduce(flat)
        flat /= workers
        offset = 0
        for parameter in parameters:
            size = parameter.numel()
            parameter.copy_(flat[offset : offset + size].view_as(parameter))
            offset += size


def agree(value: float, workers: int) -> float:
    """Rank 0's value, in every process: all must stop and anneal at the same step."""
    if workers == 1:
        return value
    tensor = torch.tensor([value], dtype=torch.float64)
    dist.broadcast(tensor, 0)
    return float(tensor[0])
