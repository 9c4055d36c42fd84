"""A prompt in one forward pass is worth the same as one step a frame."""

from __future__ import annotations

import pytest
import torch

from coda_voice.moshi.checkpoint import SpeechModels, load_models
from coda_voice.moshi.frames import Sampling
from coda_voice.moshi.generation import SlotGen
from coda_voice.moshi.prefill import Prefill, Prefiller
from coda_voice.moshi.prompt import Steps
from coda_voice.moshi.sampling import SlotSampler
from coda_voice.moshi.streaming_state import write_row

FRAMES = 200
AFTER = 50


class Stepper:
    """Moshi's step over one slot, greedy, its text logits kept."""

    def __init__(self, models: SpeechModels) -> None:
        self.lm = models.lm
        sampler = SlotSampler(1, models.device)
        sampler.configure(0, Sampling.greedy())
        self.forced: int | None = None
        self.logits = torch.zeros(0)
        self.gen = SlotGen(
            self.lm,
            sampler,
            lambda sampled: [self.forced or 0] if self.forced is not None else None,
        )
        self.gen.on_text_logits_hook = self._keep
        self.gen.streaming_forever(1)
        self.sums = torch.zeros(1, 1, self.lm.dim)
        self.gen._streaming_state.condition_sum = self.sums

    def _keep(self, logits: torch.Tensor) -> None:
        self.logits = logits.flatten().clone()

    def step(self, user: torch.Tensor, text: int | None, agent: torch.Tensor | None) -> list[int]:
        self.forced = text
        out = self.gen.step(user[None, :, None], None if agent is None else agent[None, :, None])
        return out.flatten().tolist()


@pytest.fixture(scope="module")
def steps() -> Steps:
    """A prompt of 200 frames: any text, any agent codes, any user codes, and sums."""
    chance = torch.Generator().manual_seed(0)
    return Steps(
        torch.randint(4, 900, (FRAMES,), generator=chance),
        torch.randint(0, 512, (8, FRAMES), generator=chance),
        torch.randint(0, 512, (8, FRAMES), generator=chance),
        0.1 * torch.randn(FRAMES, 256, generator=chance),
    )


def after_the_prompt(stepper: Stepper) -> tuple[torch.Tensor, list[list[int]]]:
    """Step over what any user says; gives the first text logits, and all codes."""
    user = torch.randint(0, 512, (8, AFTER), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        first = stepper.step(user[:, 0], None, None)
        logits = stepper.logits
        return logits, [first, *(stepper.step(user[:, t], None, None) for t in range(1, AFTER))]


@pytest.fixture(scope="module")
def stepped(steps: Steps) -> tuple[torch.Tensor, list[list[int]]]:
    """What follows a prompt that was lived through step by step."""
    torch.set_num_threads(1)
    stepper = Stepper(load_models("coda-tiny", "cpu", "fp32"))
    assert steps.sums is not None
    with torch.no_grad():
        for t in range(FRAMES):
            stepper.sums[0, 0] = steps.sums[t]
            stepper.step(steps.user[:, t], int(steps.text[t]), steps.agent[:, t])
        stepper.sums.zero_()
    return after_the_prompt(stepper)


@pytest.mark.parametrize("chunk", [FRAMES, 37])
def test_prefill_equals_stepping(
    steps: Steps, stepped: tuple[torch.Tensor, list[list[int]]], chunk: int
) -> None:
    torch.set_num_threads(1)
    prefilled = Stepper(load_models("coda-tiny", "cpu", "fp32"))
    prefill = Prefill(Prefiller(prefilled.gen), steps)
    while not prefill.done:
        prefill.advance(chunk)
    state = prefill.finish()
    with torch.no_grad():
        write_row("lm", prefilled.lm, 1, 0, state)
        write_row("gen", prefilled.gen, 1, 0, state)
    logits, codes = after_the_prompt(prefilled)
    torch.testing.assert_close(logits, stepped[0], atol=1e-4, rtol=0)
    assert codes == stepped[1]


def test_more_steps_may_follow_while_a_prefill_runs(steps: Steps) -> None:
    whole = Stepper(load_models())
    in_parts = Stepper(load_models())
    at_once = Prefill(Prefiller(whole.gen), steps).finish()
    growing = Prefill(Prefiller(in_parts.gen), steps[:120])
    growing.advance(50)
    growing.append(steps[120:170])
    growing.advance(100)
    growing.append(steps[170:])
    grown = growing.finish()
    assert grown.tensors.keys() == at_once.tensors.keys()
    for name, tensor in at_once.tensors.items():
        torch.testing.assert_close(grown.tensors[name], tensor, atol=1e-4, rtol=1e-4, msg=name)
