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
from .codec import FRAME, SAMPLE_RATE, SpectralLoss, save
from .encode import Codes
from .listener import Listener
from .phones import Labels

CONTEXT, LEARNT, AFTER = 6, 10, 2  # frames heard before, that count, of silence at the end
LISTENER_SHARE = 0.5  # of the step, against that of the spectra
OWN_SHARE = 0.5
PEAK_RATE, WARM_UP, DECAY_SHARE = 4e-4, 50, 0.7


class CodeCrops:
    """Random stretches of the agent's codes, or of the model's own, with the PCM they stand for.

    Before and after a sentence there is silence, so its first and last word are lessons too.
    """

    def __init__(
        self, codes: Codes, store: ClipStore, labels: Labels, silence: np.ndarray, seed: int,
        errors: float = 0.02, own: Codes | None = None,
    ) -> None:  # fmt: skip
        self.codes, self.store, self.errors, self.own = codes, store, errors, own
        self.labels, self.silence = labels, torch.from_numpy(silence)[:, None]
        self.rng = np.random.default_rng(seed)

    def one(self) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
        """Codes [8, CONTEXT + LEARNT], PCM [LEARNT x 1920] and phones [LEARNT x PARTS]."""
        rng = self.rng
        index = int(rng.integers(len(self.codes)))
        own = self.own is not None and rng.random() < OWN_SHARE
        codes = (self.own if own and self.own is not None else self.codes).clip(index)
        frames = codes.shape[1]
        if not own:
            wrong = torch.from_numpy(rng.random(codes.shape) < self.errors)
            wrong[0] = False
            codes = codes.clone()
            codes[wrong] = torch.from_numpy(rng.integers(0, 512, int(wrong.sum())))
        # the first frame that counts: from one before the sentence on
        first = int(rng.integers(-1, max(0, frames - LEARNT) + AFTER))
        silence = self.silence.to(codes.dtype)
        around = [silence.expand(-1, CONTEXT + 1), codes, silence.expand(-1, LEARNT + AFTER)]
        given = torch.cat(around, 1)[:, first + 1 : first + 1 + CONTEXT + LEARNT]
        pcm = self.store.pcm(index)
        pcm = np.pad(pcm, (FRAME, (LEARNT + AFTER) * FRAME))
        wanted = pcm[(first + 1) * FRAME : (first + 1 + LEARNT) * FRAME]
        clip = self.store.clips[index]
        phones = self.labels.of(clip.words, first * FRAME / SAMPLE_RATE, LEARNT).T.ravel()
        return given, wanted, phones

    def batch(self, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Codes int64 [size, 8, CONTEXT + LEARNT], PCM [size, 1, LEARNT x 1920] and phones."""
        given, wanted, phones = zip(*(self.one() for _ in range(size)), strict=True)
        pcm, labels = torch.from_numpy(np.stack(wanted)), torch.from_numpy(np.stack(phones))
        return torch.stack(given).long(), pcm[:, None], labels


def train(
    mimi: MimiModel,
    crops: CodeCrops,
    listener: Listener,
    folder: Path,
    minutes: float,
    device: torch.device,
    peak_rate: float = PEAK_RATE,
    batch: int = 8,
) -> None:
    """Train for `minutes`; resumes from `folder/state.pt`, writes `mimi.safetensors` there."""
    folder.mkdir(parents=True, exist_ok=True)
    mimi.to(device).eval().requires_grad_(False)
    for module in (mimi.upsample, mimi.decoder_transformer, mimi.decoder):
        module.requires_grad_(True)
    parameters = [p for p in mimi.parameters() if p.requires_grad]
    loss_function = SpectralLoss().to(device)
    optimizer = torch.optim.AdamW(parameters, lr=peak_rate, betas=(0.8, 0.99), weight_decay=1e-3)
    step, before, means = 0, 0.0, np.zeros(2)
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
            peak_rate * min(1, (step + 1) / WARM_UP) * min(1.0, max(0.02, (1 - done) / DECAY_SHARE))
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
        codes, target, phones = (x.to(device) for x in crops.batch(batch))
        with torch.no_grad():
            latent = mimi.decode_latent(codes)
        # float32: bfloat16 leaves an audible noise floor, which the logarithmic loss punishes
        (hidden,) = mimi.decoder_transformer(mimi.upsample(latent))
        output = mimi.decoder(hidden)[..., CONTEXT * FRAME : (CONTEXT + LEARNT) * FRAME]
        spectral = loss_function(output, target)
        apart = listener.compare(output, target, phones)
        optimizer.zero_grad(set_to_none=True)
        output.backward(balanced(output, spectral + 0.5 * (output - target).abs().mean(), apart))
        torch.nn.utils.clip_grad_norm_(parameters, 2.0)
        optimizer.step()
        step += 1
        now = np.array([float(spectral.detach()), float(apart.detach())])
        means = now if step == 1 else 0.98 * means + 0.02 * now
        if step % 50 == 0:
            print(
                f"decoder step {step} {elapsed:.1f}/{minutes:.0f} min "
                f"spectral {means[0]:.3f} heard {means[1]:.3f}",
                flush=True,
            )


def balanced(output: torch.Tensor, sound: torch.Tensor, apart: torch.Tensor) -> torch.Tensor:
    """The gradient of both losses on `output`, each with its share whatever its scale.

    As the balancer of Défossez et al. 2022, "High Fidelity Neural Audio Compression".
    """
    (first,) = torch.autograd.grad(sound, output, retain_graph=True)
    (second,) = torch.autograd.grad(apart, output, retain_graph=True)
    scale = first.norm() / second.norm().clamp_min(1e-9)
    return first + LISTENER_SHARE * scale * second
