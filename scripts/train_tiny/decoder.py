"""Stage "decoder": more training of the codec's decoder alone, from the codes.

Encoder and codebooks keep their values, so every code means what it meant: this may go on at any
time without touching the language models. The decoder only ever sounds like the agent, so it sees
the agent's clips alone. Half of its lessons are the codes that the language model draws in place
of the recorded ones (`own_voice.py`); of the others a few are replaced at random.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from moshi.models.compression import MimiModel

from .clips import ClipStore
from .codec import FRAME, SpectralLoss, save
from .encode import Codes

CONTEXT, LEARNT = 6, 10  # frames heard before, frames that count
OWN_SHARE = 0.5
PEAK_RATE, WARM_UP, DECAY_SHARE = 4e-4, 50, 0.7


class CodeCrops:
    """Random stretches of the agent's codes, or of the model's own, with the PCM they stand for."""

    def __init__(
        self, codes: Codes, store: ClipStore, seed: int, errors: float = 0.02,
        own: Codes | None = None,
    ) -> None:  # fmt: skip
        self.codes, self.store, self.errors, self.own = codes, store, errors, own
        self.rng = np.random.default_rng(seed)

    def batch(self, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Codes int64 [size, 8, CONTEXT + LEARNT] and PCM float32 [size, 1, LEARNT x 1920]."""
        rng, given, wanted = self.rng, [], []
        while len(given) < size:
            index = int(rng.integers(len(self.codes)))
            source = self.codes
            if self.own is not None and rng.random() < OWN_SHARE:
                source = self.own
            codes = source.clip(index)
            if codes.shape[1] < CONTEXT + LEARNT:
                continue
            start = int(rng.integers(codes.shape[1] - CONTEXT - LEARNT + 1))
            piece = codes[:, start : start + CONTEXT + LEARNT].clone()
            errors = self.errors if source is self.codes else 0.0
            wrong = torch.from_numpy(rng.random(piece.shape) < errors)
            wrong[0] = False
            piece[wrong] = torch.from_numpy(rng.integers(0, 512, int(wrong.sum())))
            given.append(piece)
            first = (start + CONTEXT) * FRAME
            wanted.append(self.store.pcm(index)[first : first + LEARNT * FRAME])
        return torch.stack(given), torch.from_numpy(np.stack(wanted))[:, None]


def train(
    mimi: MimiModel,
    crops: CodeCrops,
    folder: Path,
    minutes: float,
    device: torch.device,
    batch: int = 8,
) -> None:
    """Train for `minutes`; resumes from `folder/state.pt`, writes `mimi.safetensors` there."""
    folder.mkdir(parents=True, exist_ok=True)
    mimi.to(device).eval().requires_grad_(False)
    for module in (mimi.upsample, mimi.decoder_transformer, mimi.decoder):
        module.requires_grad_(True)
    parameters = [p for p in mimi.parameters() if p.requires_grad]
    loss_function = SpectralLoss().to(device)
    optimizer = torch.optim.AdamW(parameters, lr=PEAK_RATE, betas=(0.8, 0.99), weight_decay=1e-3)
    step, before, mean = 0, 0.0, 0.0
    if (folder / "state.pt").exists():
        state = torch.load(folder / "state.pt", weights_only=True)
        mimi.load_state_dict(state["mimi"])
        optimizer.load_state_dict(state["optimizer"])
        step, before = state["step"], state["minutes"]
    started = saved = time.monotonic()
    while True:
        elapsed = before + (time.monotonic() - started) / 60
        done = elapsed / minutes
        rate = (
            PEAK_RATE * min(1, (step + 1) / WARM_UP) * min(1.0, max(0.02, (1 - done) / DECAY_SHARE))
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        if done >= 1 or time.monotonic() - saved > 120:
            save(mimi, folder)
            state = dict(
                mimi=mimi.state_dict(), optimizer=optimizer.state_dict(), step=step, minutes=elapsed
            )
            torch.save(state, folder / "state.pt")
            saved = time.monotonic()
            if done >= 1:
                return
        codes, target = (x.to(device) for x in crops.batch(batch))
        with torch.no_grad():
            latent = mimi.decode_latent(codes)
        # float32: bfloat16 leaves an audible noise floor, which the logarithmic loss punishes
        (hidden,) = mimi.decoder_transformer(mimi.upsample(latent))
        output = mimi.decoder(hidden)[..., CONTEXT * FRAME : (CONTEXT + LEARNT) * FRAME]
        spectral = loss_function(output, target)
        loss = spectral + 0.5 * (output - target).abs().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 2.0)
        optimizer.step()
        step += 1
        mean = (
            float(spectral.detach()) if step == 1 else 0.98 * mean + 0.02 * float(spectral.detach())
        )
        if step % 50 == 0:
            print(
                f"decoder step {step} {elapsed:.1f}/{minutes:.0f} min spectral {mean:.3f}",
                flush=True,
            )
