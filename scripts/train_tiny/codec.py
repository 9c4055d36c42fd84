"""Mimi, small: training of the codec (encoder, quantiser, decoder).

Architecture of Mimi (Défossez et al. 2024, "Moshi", section 3.3) with 16 filters, dimension 128,
2+2 transformer layers and 8 codebooks of 512. Loss: mel and log-mel distance over four STFT
sizes, waveform L1, commitment. No discriminator: it made a step ten times slower on a CPU.

The user's crops pass through random rooms, noise, bands and levels while the target stays the
clean recording: the encoder learns to leave the conditions out of its codes. The agent's crops
are untouched. Pure noise has silence as its target.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from moshi.models import loaders
from moshi.models.compression import MimiModel
from safetensors.torch import load_file, save_file

from . import conditions
from .clips import ClipStore

FRAME = 1920
CROP = FRAME * 12
SAMPLE_RATE = 24_000
STFT_SIZES = ((2048, 80), (1024, 80), (512, 64), (256, 32))


def mimi_config(filters: int = 16, dim: int = 128, layers: int = 2) -> dict[str, Any]:
    """The configuration that `loaders.get_mimi` takes: Mimi's own, made small."""
    seanet = {**loaders._seanet_kwargs, "n_filters": filters, "dimension": dim}
    quantizer = dict(dimension=64, n_q=8, bins=512, input_dimension=dim, output_dimension=dim)
    transformer = {
        **loaders._transformer_kwargs,
        "d_model": dim,
        "num_heads": 4,
        "num_layers": layers,
        "dim_feedforward": dim * 4,
        "input_dimension": dim,
        "output_dimensions": [dim],
        "max_period": 10_000,
    }
    return dict(
        sample_rate=SAMPLE_RATE,
        channels=1,
        frame_rate=12.5,
        seanet=seanet,
        quantizer=quantizer,
        transformer=transformer,
    )


def load_mimi(folder: Path, device: torch.device | str = "cpu") -> MimiModel:
    """Build Mimi from `mimi.json` and `mimi.safetensors` in `folder`."""
    mimi = loaders.get_mimi(None, json.loads((folder / "mimi.json").read_text()), num_codebooks=8)
    mimi.load_state_dict(load_file(folder / "mimi.safetensors"))
    return mimi.to(device)


def mel_filters(n_fft: int, n_mels: int) -> torch.Tensor:
    """Triangular mel filters [n_mels, n_fft // 2 + 1] (HTK mel scale)."""
    frequency = np.linspace(0, SAMPLE_RATE / 2, n_fft // 2 + 1)
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, n_mels + 2) / 2595) - 1)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rise, fall = (frequency - left) / (centre - left), (right - frequency) / (right - centre)
    return torch.tensor(np.maximum(0, np.minimum(rise, fall)), dtype=torch.float32)


class SpectralLoss(torch.nn.Module):
    """Mean over STFT sizes of 0.5 x L1 on mel magnitudes plus L1 on their logarithms."""

    def __init__(self) -> None:
        super().__init__()
        for n_fft, n_mels in STFT_SIZES:
            self.register_buffer(f"filters_{n_fft}", mel_filters(n_fft, n_mels))
            self.register_buffer(f"window_{n_fft}", torch.hann_window(n_fft))

    def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Compare PCM [batch, 1, samples] with PCM of the same shape; a scalar."""
        total = output.new_zeros(())
        batch = output.shape[0]
        both = torch.cat([output[:, 0], target[:, 0]])
        for n_fft, _ in STFT_SIZES:
            window = getattr(self, f"window_{n_fft}")
            stft = torch.stft(both, n_fft, n_fft // 4, window=window, return_complex=True)
            mel = getattr(self, f"filters_{n_fft}") @ stft.abs()
            logarithm = (mel + 1e-4).log()
            total = total + 0.5 * (mel[:batch] - mel[batch:]).abs().mean()
            total = total + (logarithm[:batch] - logarithm[batch:]).abs().mean()
        return total / len(STFT_SIZES)


class Crops:
    """Random crops of 0.96 s: input as recorded, target as it should sound."""

    def __init__(
        self, agent: ClipStore, user: ClipStore, agent_share: float = 0.6, seed: int = 0
    ) -> None:
        self.agent, self.user, self.agent_share = agent, user, agent_share
        self.rng = np.random.default_rng(seed)

    def one(self) -> tuple[np.ndarray, np.ndarray]:
        rng = self.rng
        from_agent = rng.random() < self.agent_share
        store = self.agent if from_agent else self.user
        pcm = store.pcm(int(rng.integers(len(store))))
        if len(pcm) <= CROP:
            pad = CROP - len(pcm)
            left = int(rng.integers(pad + 1))
            target = np.pad(pcm, (left, pad - left))
        else:
            start = int(rng.integers(len(pcm) - CROP + 1))
            target = pcm[start : start + CROP]
        if from_agent:
            return target, target
        if rng.random() < 0.08:
            noise = conditions.background(rng, CROP) * 10 ** (rng.uniform(-60, -22) / 20)
            return noise.astype(np.float32), np.zeros_like(target)
        return conditions.apply(rng, target), target

    def batch(self, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (input, target), each float32 [size, 1, CROP]."""
        pairs = [self.one() for _ in range(size)]
        given, wanted = (
            torch.from_numpy(np.stack(side))[:, None] for side in zip(*pairs, strict=False)
        )
        return given, wanted


def train(
    mimi: MimiModel,
    crops: Crops,
    folder: Path,
    minutes: float,
    device: torch.device,
    peak_rate: float = 8e-4,
    batch: int = 8,
    compile_model: bool = True,
    log: Callable[[str], None] = print,
) -> None:
    """Train for `minutes` (cosine schedule over time) and write checkpoints into `folder`.

    Resumes from `folder/state.pt`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mimi.to(device).train()
    loss_function = SpectralLoss().to(device)
    parameters = [p for p in mimi.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=peak_rate, betas=(0.8, 0.99), weight_decay=1e-3)
    step, before, mean = 0, 0.0, {}
    if (folder / "state.pt").exists():
        state = torch.load(folder / "state.pt", weights_only=True)
        mimi.load_state_dict(state["mimi"])
        optimizer.load_state_dict(state["optimizer"])
        step, before = state["step"], state["minutes"]
    if compile_model:
        mimi.encoder.compile()
        mimi.decoder.compile()
    started = time.monotonic()
    while True:
        elapsed = before + (time.monotonic() - started) / 60
        done = elapsed / minutes
        rate = (
            peak_rate * min(1.0, (step + 20) / 100) * (0.5 + 0.5 * math.cos(math.pi * min(1, done)))
        )
        for group in optimizer.param_groups:
            group["lr"] = rate + 1e-6
        if done >= 1 or (step and step % 500 == 0):
            save(mimi, folder)
            torch.save(
                dict(
                    mimi=mimi.state_dict(),
                    optimizer=optimizer.state_dict(),
                    step=step,
                    minutes=elapsed,
                ),
                folder / "state.pt",
            )
            if done >= 1:
                return
        given, target = (x.to(device) for x in crops.batch(batch))
        # float32: bfloat16 leaves a noise floor on the waveform that the logarithmic loss punishes
        result = mimi(given)
        output = result.x[..., :CROP]
        losses = {"spectral": loss_function(output, target), "wave": (output - target).abs().mean()}
        loss = losses["spectral"] + 0.5 * losses["wave"]
        if result.penalty is not None:
            losses["commit"] = result.penalty
            loss = loss + result.penalty
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 2.0)
        optimizer.step()
        step += 1
        for name, value in losses.items():
            mean[name] = 0.98 * mean.get(name, value.item()) + 0.02 * value.item()
        if step % 50 == 0:
            figures = " ".join(f"{name} {value:.3f}" for name, value in mean.items())
            log(f"codec step {step} {elapsed:.1f}/{minutes:.0f} min {figures}")


def save(mimi: MimiModel, folder: Path) -> None:
    """Write `mimi.json` and `mimi.safetensors`."""
    (folder / "mimi.json").write_text(json.dumps(mimi_config()))
    weights = {name: value.contiguous() for name, value in mimi.state_dict().items()}
    save_file(weights, folder / "mimi.safetensors")
