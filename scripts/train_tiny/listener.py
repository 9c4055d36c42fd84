"""A listener for the decoder: what is said must be heard in the sound, not only the sound match.

A small convolutional recogniser of phones learns from recordings of all voices; then it is kept
as it is, and compares what the decoder makes with the recording: by what its layers make of both
(feature matching, as in Kumar et al. 2019, "MelGAN", but of a recogniser in place of a
discriminator) and by the phones that it hears. It is not the judge, and has nothing of it.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch

from .codec import SAMPLE_RATE, Crops, mel_filters
from .phones import PART_SECONDS

WINDOW, MELS, WIDTH = 768, 64, 192
HOP = round(SAMPLE_RATE * PART_SECONDS / 2)  # two are one label of `phones.Labels`
PEAK_RATE = 1.5e-3


class Listener(torch.nn.Module):
    """PCM [batch, 1, samples] to phones every 20 ms."""

    def __init__(self, phones: int) -> None:
        super().__init__()
        self.register_buffer("filters", mel_filters(WINDOW, MELS))
        self.register_buffer("window", torch.hann_window(WINDOW))
        shapes = [(MELS, 1, 1), (WIDTH, 2, 1), (WIDTH, 1, 2), (WIDTH, 1, 3)]
        self.layers = torch.nn.ModuleList(
            torch.nn.Conv1d(size, WIDTH, 5, stride, 2 * dilation, dilation)
            for size, stride, dilation in shapes
        )
        self.head = torch.nn.Conv1d(WIDTH, phones, 1)

    def forward(self, pcm: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """What each layer makes of it, and logits [batch, phones, samples / 480]."""
        stft = torch.stft(pcm[:, 0], WINDOW, HOP, window=self.window, return_complex=True)
        mel = self.filters @ stft.abs()[..., : pcm.shape[-1] // HOP]
        hidden, features = (mel + 1e-3).log(), []
        for layer in self.layers:
            hidden = torch.nn.functional.gelu(layer(hidden))
            features.append(hidden)
        return features, self.head(hidden)

    def compare(
        self, output: torch.Tensor, target: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """How differently the two are heard, and how wrongly the first; a scalar.

        PCM [batch, 1, samples] both, labels int64 [batch, samples / 480].
        """
        with torch.no_grad():
            wanted, _ = self(target)
        heard, logits = self(output)
        apart = sum(
            (a - b).abs().mean() / b.std() for a, b in zip(heard, wanted, strict=True)
        ) / len(heard)
        return apart + 0.5 * torch.nn.functional.cross_entropy(logits, labels)


def taught(crops: Crops, path: Path, minutes: float, device: torch.device) -> Listener:
    """A listener trained for `minutes` on crops of all voices; kept in `path`."""
    listener = Listener(len(crops.labels.names)).to(device)
    if path.exists():
        listener.load_state_dict(torch.load(path, weights_only=True))
        return listener.eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(listener.parameters(), lr=PEAK_RATE, weight_decay=1e-2)
    started, step, mean = time.monotonic(), 0, 0.0
    while (done := (time.monotonic() - started) / 60 / minutes) < 1:
        for group in optimizer.param_groups:
            group["lr"] = PEAK_RATE * min(1.0, (step + 1) / 50) * max(0.02, 1 - done)
        pcm, labels = (x.to(device) for x in crops.batch(12, 12))
        gain = 10 ** (torch.rand(len(pcm), 1, 1, device=device) * 1.2 - 0.9)
        wanted = labels.transpose(1, 2).flatten(1)  # [batch, frames x parts]
        _, logits = listener(pcm * gain)
        loss = torch.nn.functional.cross_entropy(logits, wanted)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        step += 1
        voiced = wanted[:12] > 0
        right = float((logits[:12].argmax(1) == wanted[:12])[voiced].float().mean())
        mean = right if step == 1 else 0.98 * mean + 0.02 * right
        if step % 50 == 0:
            print(f"listener step {step} {done * minutes:.1f}/{minutes:.0f} min right {mean:.3f}")
    torch.save(listener.state_dict(), path)
    return listener.eval().requires_grad_(False)
