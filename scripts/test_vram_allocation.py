"""What a conversation costs in memory: measured on this machine's device, nothing estimated.

`python scripts/test_vram_allocation.py [--checkpoint NAME] [--slots 1,8,32]`. On a GPU the
figures are NVML's for the device, before and after the engine has started and stepped; without
one the script says so and shows the memory of the process instead. Each number of slots runs
in a process of its own, so that none inherits what another one left behind.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import threading
from dataclasses import dataclass

GIB = 1024**3
MIB = 1024**2
FRAMES = 5


@dataclass(frozen=True)
class Measured:
    """Bytes in use before anything was loaded, with the weights, and with the engine running."""

    device: str
    slots: int
    before: int
    weights: int
    running: int


def main() -> None:
    """Measure and print the table."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    options.add_argument("--checkpoint", default="coda-tiny")
    options.add_argument("--device", default="auto")
    options.add_argument(
        "--dtype", default="auto", choices=["auto", "bf16", "fp16", "fp32", "int8"]
    )
    options.add_argument(
        "--slots", default="", help="comma-separated (default 1,8; on a GPU 1,8,32)"
    )
    asked = options.parse_args()

    from coda_voice.hardware import Machine, choose_device

    machine = Machine.look()
    device = choose_device(asked.device, machine)
    on_gpu = device.startswith("cuda")
    if on_gpu:
        gpu = machine.gpus[int(device.partition(":")[2] or 0)]
        print(f"{gpu.name}, {gpu.total / GIB:.1f} GiB, {gpu.free / GIB:.1f} GiB free (NVML)")
    else:
        print(f"no GPU ({machine.gpu_note or 'not asked for'}): memory of the process instead")
    counts = [int(n) for n in (asked.slots or ("1,8,32" if on_gpu else "1,8")).split(",")]

    results = []
    print(f"\n{asked.checkpoint} on {device}")
    print(f"{'slots':>7} {'before':>12} {'weights':>12} {'with engine':>12} {'engine only':>12}")
    for slots in counts:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found = pool.apply(measure, (asked.checkpoint, device, asked.dtype, slots))
        results.append(found)
        cells = (found.before, found.weights, found.running, found.running - found.weights)
        print(f"{slots:>7} " + " ".join(f"{n / MIB:>8.0f} MiB" for n in cells))
    first, last = results[0], results[-1]
    if last.slots > first.slots:
        each = (last.running - first.running) / (last.slots - first.slots)
        print(f"\neach further conversation: {each / MIB:.1f} MiB")


def measure(checkpoint: str, device: str, dtype: str, slots: int) -> Measured:
    """Load, start and step with so many slots; gives what the memory was at each stage."""
    import numpy as np
    import torch

    from coda_voice.moshi.checkpoint import load_models
    from coda_voice.moshi.engine import Engine, EngineOptions
    from coda_voice.moshi.frames import FRAME_SAMPLES

    torch.set_num_threads(1)
    if device.startswith("cuda"):
        torch.zeros(1, device=device)  # the CUDA context is there whatever is loaded
    before = used(device)
    models = load_models(checkpoint, device, dtype)  # type: ignore[arg-type]
    gc.collect()
    weights = used(device)
    with Engine(models, EngineOptions(slots=slots)) as engine:
        stepped = threading.Event()
        leases = [engine.lease(realtime=False, on_output=stepped.set) for _ in range(slots)]
        silence = np.zeros(FRAME_SAMPLES, dtype=np.float32)
        for lease in leases:
            for _ in range(FRAMES):
                lease.push(silence)
            lease.finish()
        while not all(lease.drained for lease in leases):
            stepped.wait(1.0)
            stepped.clear()
        running = used(device)
    return Measured(device, slots, before, weights, running)


def used(device: str) -> int:
    """Bytes in use: of the whole device by NVML, or resident for this process."""
    import psutil

    from coda_voice.analytics import vram_used_gb

    if not device.startswith("cuda"):
        return int(psutil.Process().memory_info().rss)
    gib = vram_used_gb(device)
    if gib is None:
        raise SystemExit("NVML does not answer: the device's memory cannot be measured")
    return int(gib * GIB)


if __name__ == "__main__":
    main()
