"""A prompt laid out in frames, as each kind of checkpoint was trained to take it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from coda_voice.errors import ConfigurationError
from coda_voice.moshi.capabilities import Capabilities, known_checkpoints
from coda_voice.moshi.prompt import (
    Prompt,
    PromptCodes,
    Steps,
    prompt_steps,
    wrap_in_system_tags,
)

PERSONAPLEX = known_checkpoints()["nvidia/personaplex-7b-v1"]
SILENCE, SINE, PAD = torch.arange(8), 100 + torch.arange(8), 3
CODES = PromptCodes(SILENCE, SINE)
DELAYS = [0, 1, 1, 1, 1, 1, 1, 1]


def lay_out(
    known: Capabilities, prompt: Prompt, text: list[int], voice: torch.Tensor | None = None
) -> Steps:
    return prompt_steps(prompt, text, voice, CODES, known, DELAYS)


def test_personaplex_takes_voice_then_silence_then_text_then_silence() -> None:
    voice = torch.arange(80).view(8, 10) + 200
    prompt = Prompt("be kind", voice=np.zeros(19_200, dtype=np.float32))
    steps = lay_out(PERSONAPLEX, prompt, [50, 51, 52], voice)
    assert steps.text.tolist() == [PAD] * 10 + [PAD] * 6 + [50, 51, 52] + [PAD] * 6
    assert steps.agent[0, :10].tolist() == voice[0].tolist()
    assert steps.agent[1, 1:10].tolist() == voice[1, :9].tolist(), "delayed by a frame"
    assert torch.equal(steps.agent[:, 10:], SILENCE[:, None].expand(-1, 15))
    assert torch.equal(steps.user, SINE[:, None].expand(-1, 25))


def test_a_text_alone_has_the_same_silence_around_it() -> None:
    steps = lay_out(PERSONAPLEX, Prompt("be kind"), [50, 51])
    assert steps.text.tolist() == [PAD] * 6 + [50, 51] + [PAD] * 6


def test_what_a_checkpoint_cannot_take_is_refused_with_a_way_out() -> None:
    moshi = known_checkpoints()["kyutai/moshika-pytorch-bf16"]
    with pytest.raises(ConfigurationError, match=r"takes no text prompt.*PersonaPlex"):
        lay_out(moshi, Prompt("be kind"), [50])
    with pytest.raises(ConfigurationError, match="takes no voice prompt"):
        lay_out(
            replace(PERSONAPLEX, voice_prompt=False),
            Prompt(voice=np.zeros(1_920, dtype=np.float32)),
            [],
        )


def test_prompts_are_the_same_if_and_only_if_their_content_is() -> None:
    sound = np.zeros(1_920, dtype=np.float32)
    keys = [
        prompt.key
        for prompt in (Prompt("a"), Prompt("b"), Prompt("a", sound), Prompt("a", sound + 0.1))
    ]
    assert len(set(keys)) == 4
    assert Prompt("a", sound.copy()).key == keys[2]
    assert not Prompt("  ") and Prompt("x") and Prompt(voice=sound)


def test_the_tag_stands_on_both_sides() -> None:
    assert wrap_in_system_tags(" be kind ") == "<system> be kind <system>"


def test_steps_with_and_without_sums_join() -> None:
    plain = lay_out(PERSONAPLEX, Prompt("be kind"), [50, 51])
    summed = Steps(plain.text, plain.agent, plain.user, torch.ones(len(plain), 4))
    joined = Steps.join([plain, summed])
    assert joined.sums is not None
    assert joined.sums[: len(plain)].sum() == 0
    assert joined.sums[len(plain) :].mean() == 1
    assert Steps.join([plain, plain]).sums is None
