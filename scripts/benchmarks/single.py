"""One conversation: our engine against a bare loop over the moshi package, turn about."""

from __future__ import annotations

import statistics
import threading
import time
from dataclasses import asdict, dataclass

import numpy as np
import torch
from moshi.models import LMGen
from moshi.utils.compile import no_compile

from coda_voice.moshi.checkpoint import SpeechModels, load_models
from coda_voice.moshi.engine import Engine, EngineOptions
from coda_voice.moshi.frames import Pcm
from coda_voice.moshi.generation import SlotGen
from coda_voice.moshi.prefill import Prefill, Prefiller
from coda_voice.moshi.prompt import Prompt, Steps
from coda_voice.moshi.sampling import SlotSampler


@dataclass(frozen=True)
class Single:
    """Seconds for the same frames, the median ratio of the rounds, and the spread."""

    frames: int
    rounds: int
    engine_ms_per_frame: float
    bare_ms_per_frame: float
    ratio_median: float
    ratio_min: float
    ratio_max: float


class BareLoop:
    """``mimi.encode``, ``LMGen.step``, ``mimi.decode``: what one would write first.

    Without the one kernel the package compiles on a CPU (a norm): that would take a minute
    and a C++ compiler, and makes no difference that can be measured.
    """

    def __init__(self, models: SpeechModels) -> None:
        sampling = models.sampling
        self.mimi = models.mimi
        self.gen = LMGen(
            models.lm,
            temp=sampling.temperature,
            top_k=sampling.top_k,
            temp_text=sampling.text_temperature,
            top_k_text=sampling.text_top_k,
        )
        self.mimi.streaming_forever(1)
        self.gen.streaming_forever(1)

    @torch.no_grad()
    def run(self, frames: list[Pcm]) -> float:
        """Seconds for these frames."""
        started = time.perf_counter()
        with no_compile():
            for frame in frames:
                codes = self.mimi.encode(torch.from_numpy(frame)[None, None])
                tokens = self.gen.step(codes)
                if tokens is not None:
                    self.mimi.decode(tokens[:, 1:]).numpy()
        return time.perf_counter() - started


def run_engine(engine: Engine, frames: list[Pcm]) -> float:
    """Seconds from the first frame pushed to the last one out."""
    changed = threading.Event()
    slot = engine.lease(realtime=False, on_output=changed.set)
    started = time.perf_counter()
    sent = received = 0
    while received < len(frames):
        while sent < len(frames) and slot.push(frames[sent]):
            sent += 1
        changed.wait(60)
        changed.clear()
        received += len(slot.take())
    took = time.perf_counter() - started
    slot.release()
    return took


def compare_one_conversation(frames: list[Pcm], rounds: int) -> dict[str, object]:
    """Run both on one thread in turn, so that a busy machine disturbs both alike."""
    torch.set_num_threads(1)
    bare = BareLoop(load_models("coda-tiny", "cpu"))
    ours, theirs = [], []
    models = load_models("coda-tiny", "cpu", transcriber="off")
    with Engine(models, EngineOptions(slots=1, threads=1)) as engine:
        bare.run(frames[:20])
        run_engine(engine, frames[:20])
        for _ in range(rounds):
            ours.append(run_engine(engine, frames))
            theirs.append(bare.run(frames))
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return asdict(
        Single(
            frames=len(frames),
            rounds=rounds,
            engine_ms_per_frame=1e3 * statistics.median(ours) / len(frames),
            bare_ms_per_frame=1e3 * statistics.median(theirs) / len(frames),
            ratio_median=statistics.median(ratios),
            ratio_min=min(ratios),
            ratio_max=max(ratios),
        )
    )


@torch.no_grad()
def compare_prefill(frames: int, rounds: int) -> dict[str, object]:
    """Prefill of a prompt against stepping it, as every Moshi server known does."""
    torch.set_num_threads(1)
    models = load_models("coda-tiny", "cpu", "fp32")
    sampler = SlotSampler(1, models.device)
    gen = SlotGen(models.lm, sampler, lambda sampled: None)
    gen.streaming_forever(1)
    gen._streaming_state.condition_sum = torch.zeros(1, 1, models.lm.dim)
    prefiller = Prefiller(gen)
    chance = torch.Generator().manual_seed(0)
    steps = Steps(
        torch.randint(4, 900, (frames,), generator=chance),
        torch.randint(0, models.lm.card, (models.lm.dep_q, frames), generator=chance),
        torch.randint(
            0, models.lm.card, (models.lm.n_q - models.lm.dep_q, frames), generator=chance
        ),
    )

    def stepping() -> float:
        started = time.perf_counter()
        for t in range(frames):
            gen.step(steps.user[None, :, t, None], steps.agent[None, :, t, None])
        return time.perf_counter() - started

    def at_once() -> float:
        started = time.perf_counter()
        Prefill(prefiller, steps).finish()
        return time.perf_counter() - started

    at_once()
    stepped, prefilled = [], []
    for _ in range(rounds):
        gen.reset_streaming()
        stepped.append(stepping())
        prefilled.append(at_once())
    ratios = [a / b for a, b in zip(stepped, prefilled, strict=True)]
    return {
        "frames": frames,
        "stepping_ms": 1e3 * statistics.median(stepped),
        "prefill_ms": 1e3 * statistics.median(prefilled),
        "times_faster": statistics.median(ratios),
        **_second_start(models.name),
    }


def _second_start(name: str) -> dict[str, float]:
    """Milliseconds from the lease to the first frame out, for a new and a known prompt."""
    prompt = Prompt("your name is nova. the user is anna. the user likes chess and music")
    silence = np.zeros(1920, dtype=np.float32)
    took = []
    with Engine(load_models(name, "cpu"), EngineOptions(slots=1, threads=1)) as engine:
        for _ in range(4):
            out = threading.Event()
            started = time.perf_counter()
            slot = engine.lease(realtime=False, prompt=prompt, on_output=out.set)
            slot.push(silence)
            while not slot.take():
                out.wait(60)
                out.clear()
            took.append(1e3 * (time.perf_counter() - started))
            slot.release()
    return {"first_start_ms": took[0], "second_start_ms": statistics.median(took[1:])}
