"""What coda-tiny says in place of the recordings: its own codes for the sentences of its voice.

It is given the words at the recording's frames, hears of itself what it has drawn before, and
takes the likeliest codes, as in a conversation. So these codes, with the mistakes it makes, lie
beside the recording that they stand for: a lesson for the codec's decoder, which never hears
anything else (`decoder.py`).
"""

from __future__ import annotations

import numpy as np
import torch

from .dialogue import Material
from .encode import Codes
from .fast import FastForward
from .lm import CODEBOOKS, DELAYS, LOOKS, Talker, delayed
from .tokenizer import PAD

BEFORE, AFTER = 6, 2  # frames of silence around a sentence
LIKELIEST = 0.01  # a temperature
ROWS = 24


@torch.no_grad()
def own_codes(model: Talker, material: Material, dtype: torch.dtype) -> Codes:
    """The agent's clips in the model's own codes, frame by frame where the recording has them."""
    agent = material.agent
    fast = FastForward(model.lm, False, dtype)
    order = sorted(range(len(agent)), key=lambda index: agent.clip(index).shape[1])
    drawn: dict[int, torch.Tensor] = {}
    for at in range(0, len(order), ROWS):
        part = order[at : at + ROWS]
        spoken = [material.spoken(agent.texts[index]) for index in part]
        voices = said(model, fast, material, spoken)
        drawn.update(zip(part, voices, strict=True))
        print(f"\rown voice {at + len(part)}/{len(order)}", end="", flush=True)
    print()
    flat = torch.cat([drawn[index] for index in range(len(agent))], 1)
    return Codes(flat.to(torch.int16), agent.start, agent.texts, agent.words)


def said(
    model: Talker,
    fast: FastForward,
    material: Material,
    spoken: list[tuple[np.ndarray, np.ndarray]],
) -> list[torch.Tensor]:
    """The model's own codes [8, n] for monologues [n] and recorded codes [8, n]."""
    frames = BEFORE + max(len(text) for text, _ in spoken) + AFTER
    codes = np.empty((len(spoken), 1 + 2 * CODEBOOKS, frames), np.int64)
    codes[:, 0] = PAD
    codes[:, 1:] = np.tile(material.silence, 2)[:, None]  # the agent's side and the user's
    for row, (text, recorded) in zip(codes, spoken, strict=True):
        row[0, BEFORE : BEFORE + len(text)] = text
        row[1 : CODEBOOKS + 1, BEFORE : BEFORE + len(text)] = recorded
    lm, started = model.lm, torch.ones(len(codes), dtype=torch.bool)
    sequence = delayed(torch.from_numpy(codes), lm._get_initial_token(), started)
    inputs, targets = sequence[:, :, :-1].clone(), sequence[:, :, 1:]
    for _ in range(LOOKS):
        hidden = fast.text(inputs, None)
        drawn = fast.sample(hidden.flatten(0, 1), targets[:, 0].flatten(), LIKELIEST)
        own = drawn.view(CODEBOOKS, len(codes), frames).transpose(0, 1)
        inputs[:, 1 : CODEBOOKS + 1, 1:] = own[:, :, :-1]
    late = torch.tensor(DELAYS[1 : CODEBOOKS + 1])
    return [
        torch.stack([
            own[index, k, BEFORE + late[k] : BEFORE + late[k] + len(text)]
            for k in range(CODEBOOKS)
        ])
        for index, (text, _) in enumerate(spoken)
    ]  # fmt: skip
