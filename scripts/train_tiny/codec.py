"""Mimi, small: training of the codec (encoder, quantiser, decoder).

Architecture of Mimi (Défossez et al. 2024, "Moshi", section 3.3) with 16 filters, dimension 128,
2+2 transformer layers and 8 codebooks of 512. Loss: mel and log-mel distance over four STFT
sizes, waveform L1, commitment, and phones (`phones.py`): the first codebook alone must tell what
is said, and so must all of them together. No discriminator: it made a step ten times slower on a
CPU.

Users' crops pass through random rooms, noise, bands and levels, and only the phones are asked of
them: nobody ever decodes a user. So the codes of users tell what was said, and the decoder learns
to sound like the agent alone.
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
from .phones import PARTS, Labels
from .training_state import keep, resume

FRAME = 1920
CROP_FRAMES = 16
CROP = FRAME * CROP_FRAMES
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
    """Random crops with their phones; the agent's as recorded, the users' in random conditions."""

    def __init__(self, agent: ClipStore, user: ClipStore, labels: Labels, seed: int = 0) -> None:
        self.agent, self.user, self.labels = agent, user, labels
        self.rng = np.random.default_rng(seed)

    def one(self, store: ClipStore) -> tuple[np.ndarray, np.ndarray]:
        """PCM [CROP] and labels [PARTS, CROP_FRAMES] of a random place in `store`."""
        index = int(self.rng.integers(len(store)))
        pcm = store.pcm(index)
        start = int(self.rng.integers(-CROP // 4, max(1, len(pcm) - CROP * 3 // 4)))
        labels = self.labels.of(store.clips[index].words, start / SAMPLE_RATE, CROP_FRAMES)
        before, after = max(0, -start), max(0, start + CROP - len(pcm))
        return np.pad(pcm[max(0, start) : start + CROP], (before, after)), labels

    def user_crop(self) -> tuple[np.ndarray, np.ndarray]:
        """A user's crop in random conditions; sometimes nothing but noise."""
        rng = self.rng
        if rng.random() < 0.06:
            noise = conditions.background(rng, CROP) * 10 ** (rng.uniform(-60, -22) / 20)
            return noise.astype(np.float32), np.zeros((PARTS, CROP_FRAMES), np.int64)
        pcm, labels = self.one(self.user)
        if rng.random() < 0.25:
            return pcm * np.float32(10 ** (rng.uniform(-12, 2) / 20)), labels
        return conditions.apply(rng, pcm), labels

    def batch(self, agent: int, user: int) -> tuple[torch.Tensor, torch.Tensor]:
        """PCM float32 [agent + user, 1, CROP] and labels int64 [.., PARTS, CROP_FRAMES]."""
        pairs = [self.one(self.agent) for _ in range(agent)]
        pairs += [self.user_crop() for _ in range(user)]
        pcm, labels = (torch.from_numpy(np.stack(side)) for side in zip(*pairs, strict=True))
        return pcm[:, None], labels


class PhoneHeads(torch.nn.Module):
    """Read phones off single frames: of the latent, of the first codebook, of all codebooks."""

    def __init__(self, dim: int, phones: int, hidden: int = 192) -> None:
        super().__init__()
        self.heads = torch.nn.ModuleList(
            torch.nn.Sequential(
                torch.nn.Conv1d(dim, hidden, 1),
                torch.nn.GELU(),
                torch.nn.Conv1d(hidden, PARTS * phones, 1),
            )
            for _ in range(3)
        )

    def forward(
        self, latents: tuple[torch.Tensor, ...], labels: torch.Tensor
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Cross entropies and shares of labels right, one for each of the latents [B, dim, T]."""
        losses, right = [], []
        for head, latent in zip(self.heads, latents, strict=True):
            logits = head(latent).unflatten(1, (-1, PARTS))
            losses.append(torch.nn.functional.cross_entropy(logits, labels))
            with torch.no_grad():
                spoken = labels > 0
                right.append((logits.argmax(1) == labels)[spoken].float().mean())
        return losses, right


PHONE_WEIGHTS = (0.2, 0.5, 0.4)  # latent, first codebook, all codebooks


def losses_of(
    mimi: MimiModel,
    heads: PhoneHeads,
    spectral: SpectralLoss,
    pcm: torch.Tensor,
    labels: torch.Tensor,
    agent: int,
) -> tuple[torch.Tensor, dict[str, float]]:
    """The loss of one batch whose first `agent` rows are the agent's, and its figures."""
    # float32: bfloat16 leaves a noise floor on the waveform that the logarithmic loss punishes
    latent = mimi._encode_to_unquantized_latent(pcm)
    first = mimi.quantizer.rvq_first(latent, mimi.frame_rate)
    rest = mimi.quantizer.rvq_rest(latent, mimi.frame_rate)
    full = first.x + rest.x
    phone, right = heads((latent, first.x, full), labels)
    (hidden,) = mimi.decoder_transformer(mimi._to_encoder_framerate(full[:agent]))
    output = mimi.decoder(hidden)[..., :CROP]
    sound = spectral(output, pcm[:agent])
    loss = sound + 0.5 * (output - pcm[:agent]).abs().mean()
    loss = loss + (first.penalty + 7 * rest.penalty) / 8
    loss = loss + sum(w * part for w, part in zip(PHONE_WEIGHTS, phone, strict=True))
    figures = {
        "spectral": sound.item(), "commit": rest.penalty.item(),
        "latent": right[0].item(), "first": right[1].item(), "all": right[2].item(),
    }  # fmt: skip
    return loss, figures


def train(
    mimi: MimiModel,
    crops: Crops,
    folder: Path,
    minutes: float,
    device: torch.device,
    peak_rate: float = 8e-4,
    rows: tuple[int, int] = (4, 8),
    log: Callable[[str], None] = print,
) -> None:
    """Train for `minutes` on `rows` crops of the agent and of users a step.

    Cosine schedule over time; checkpoints in `folder`; resumes from `folder/state.pt`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    heads = PhoneHeads(mimi.dimension, len(crops.labels.names))
    whole = torch.nn.ModuleDict({"mimi": mimi, "heads": heads}).to(device).train()
    spectral = SpectralLoss().to(device)
    parameters = [p for p in whole.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=peak_rate, betas=(0.8, 0.99), weight_decay=1e-3)
    step, before = resume(folder / "state.pt", whole, optimizer)
    mean: dict[str, float] = {}
    started = time.monotonic()
    while True:
        elapsed = before + (time.monotonic() - started) / 60
        done = elapsed / minutes
        rate = (
            peak_rate * min(1.0, (step + 20) / 100) * (0.5 + 0.5 * math.cos(math.pi * min(1, done)))
        )
        for group in optimizer.param_groups:
            group["lr"] = rate + 1e-6
        if done >= 1 or (step and step % 250 == 0):
            save(mimi, folder)
            keep(folder / "state.pt", whole, optimizer, step, elapsed)
            if done >= 1:
                return
        pcm, labels = (x.to(device) for x in crops.batch(*rows))
        loss, figures = losses_of(mimi, heads, spectral, pcm, labels, rows[0])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 2.0)
        optimizer.step()
        for buffer in mimi.buffers():
            buffer.detach_()  # the codebooks' running means would keep every step's graph
        step += 1
        for name, value in figures.items():
            mean[name] = 0.98 * mean.get(name, value) + 0.02 * value
        if step % 50 == 0:
            report = " ".join(f"{name} {value:.3f}" for name, value in mean.items())
            log(f"codec step {step} {elapsed:.1f}/{minutes:.0f} min {report}")


def save(mimi: MimiModel, folder: Path) -> None:
    """Write `mimi.json` and `mimi.safetensors`."""
    (folder / "mimi.json").write_text(json.dumps(mimi_config()))
    weights = {name: value.contiguous() for name, value in mimi.state_dict().items()}
    save_file(weights, folder / "mimi.safetensors")
