"""A second thread for the engine's: it takes over parts of a tick on a CPU with a free core.

The engine's thread owns the models. Within a tick it may hand over a part that touches nothing of
what it does itself meanwhile, and does not go on to the next tick before that part is done. Who
comes first does it: where the other core is busy with something else, the engine's thread does all,
and nothing is waited for but what has begun.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from coda_voice.moshi.checkpoint import SpeechModels
from coda_voice.moshi.onnx_graph import is_small

T = TypeVar("T")


def default_threads(models: SpeechModels) -> int:
    """Torch threads on a CPU: one for a small model, as many as there are cores for others.

    Threads of a small model wait for each other longer than they compute: with coda-tiny, eight
    conversations took 1.6 times as long on two threads as on one.
    """
    return 1 if _is_small(models) else torch.get_num_threads()


def wants_helper(models: SpeechModels) -> bool:
    """Whether there is a core more for what a small model can do side by side."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return models.backend == "torch" and _is_small(models) and (cores or 1) > 1


def _is_small(models: SpeechModels) -> bool:
    return models.backend != "torch" or is_small(models.lm)


class Helper:
    """One more thread, or none (``there`` is False): then the caller does everything."""

    def __init__(self, there: bool = True) -> None:
        self._thread = (
            # torch counts threads for each thread, and this one is there to make them two.
            ThreadPoolExecutor(1, "engine-helper", torch.set_num_threads, (1,)) if there else None
        )

    @property
    def there(self) -> bool:
        """Whether somebody would help."""
        return self._thread is not None

    def share(self, part: Callable[[], T]) -> Callable[[], T]:
        """Offer a part; what is given must be called, once: it does the part or waits for it.

        What the part raises is raised there.
        """
        if self._thread is None:
            return part

        def alone() -> T:
            with torch.no_grad():  # also counted for each thread
                return part()

        try:
            offered = self._thread.submit(alone)
        except RuntimeError:  # the interpreter ends before the engine, which nobody has closed
            return part
        return lambda: alone() if offered.cancel() else offered.result()

    def close(self) -> None:
        """End the thread; from now on the caller does everything."""
        if self._thread is not None:
            self._thread.shutdown()
        self._thread = None
