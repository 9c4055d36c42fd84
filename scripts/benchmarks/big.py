"""Moshi 7B's shape with random weights on a GPU: what a step costs does not depend on them."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import sentencepiece
import torch
from moshi.models import LMModel, loaders

from coda_voice.moshi.batch import SlotBatch
from coda_voice.moshi.capabilities import TINY_FOLDER, known_checkpoints
from coda_voice.moshi.checkpoint import SpeechModels
from coda_voice.moshi.frames import FRAME_SAMPLES, Sampling

WEIGHT_GB, KV_GB = 14.75, 1.57
"""Bytes a step reads: weights in bf16, and keys and values of a full context each."""


def random_7b(device: str = "cuda") -> SpeechModels:
    """Moshi 7B with random bf16 weights, Kyutai's Mimi likewise."""
    known = known_checkpoints()["kyutai/moshika-pytorch-bf16"]
    with torch.device(device):
        lm = LMModel(**loaders._lm_kwargs, dtype=torch.bfloat16, device=device).eval()
        mimi = loaders.get_mimi(None, device=device, num_codebooks=8)
    for parameter in (*lm.parameters(), *mimi.parameters()):
        parameter.requires_grad_(False)
    return SpeechModels(
        name="Moshi 7B's shape, random weights",
        folder=TINY_FOLDER,
        capabilities=replace(known, frame_sum="none"),
        mimi=mimi,
        lm=lm,
        tokenizer=sentencepiece.SentencePieceProcessor(str(TINY_FOLDER / "tokenizer.model")),
        device=torch.device(device),
        dtype=torch.bfloat16,
        sampling=Sampling(),
    )


def memory_bandwidth() -> float:
    """Bytes a second this device copies, read and written counted."""
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    target.copy_(source)
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(10):
        target.copy_(source)
    torch.cuda.synchronize()
    return 10 * 2 * (1 << 30) / (time.perf_counter() - started)


def run_big(models: SpeechModels, slots: int, ticks: int, bandwidth: float) -> dict[str, object]:
    """Tick percentiles at ``slots`` conversations with full context, against the floor."""
    batch = SlotBatch(models, slots, history_frames=64)
    batch.warm_up()
    for row in range(slots):
        batch.reset(row, Sampling(seed=row))
    _fill_context(batch)
    noise = np.random.default_rng(0).normal(0, 0.05, (slots, FRAME_SAMPLES)).astype(np.float32)
    times = []
    for _ in range(ticks):
        started = time.perf_counter()
        batch.step(list(noise))
        times.append(1e3 * (time.perf_counter() - started))
    floor = 1e12 * (WEIGHT_GB + KV_GB * slots) / bandwidth
    p50 = statistics.median(times)
    return {
        "conversations": slots,
        "tick_p50_ms": p50,
        "tick_p99_ms": sorted(times)[int(0.99 * (len(times) - 1))],
        "floor_ms": floor,
        "times_floor": p50 / floor,
    }


def run_all(conversations: Sequence[int], ticks: int) -> list[dict[str, object]]:
    """Measure each number of conversations with models of its own, one after the other."""
    bandwidth = memory_bandwidth()
    rows = []
    for slots in conversations:
        rows.append(run_big(random_7b(), slots, ticks, bandwidth))
        gc.collect()  # the batch's states and graphs, before the next one needs the room
        torch.cuda.empty_cache()
    return rows


def _fill_context(batch: SlotBatch) -> None:
    """Pretend that every slot has lived through a full context: attention reads it all anyway."""
    lm = batch.models.lm
    full = batch.models.capabilities.context_frames
    for state in lm.get_streaming_state().values():
        cache = getattr(state, "kv_cache", None)
        if cache is not None:
            cache.end_offset.fill_(full)
            state.offset.fill_(full)
