"""The language models' optimizer: Muon for the transformers' matrices, AdamW for the rest.

Muon (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks") took about
three quarters of AdamW's steps to the same loss here; its orthogonalisation costs a tenth of a
step on a CPU. Embeddings, output rows and norms stay with AdamW, as its authors advise.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch

QUINTIC = (3.4445, -4.7750, 2.0315)  # Jordan's: steep at zero rather than exact at one
MOMENTUM, ITERATIONS = 0.95, 4


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """About the nearest half-orthogonal matrices to [n, rows, columns], rows not the longer side.

    Newton-Schulz: every singular value comes close to one.
    """
    a, b, c = QUINTIC
    x = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


class Muon(torch.optim.Optimizer):
    """As `torch.optim.Muon`, with all matrices of one shape at once and in the given `dtype`.

    torch's own always computes in bfloat16, one matrix after the other: on a processor without
    bfloat16 that takes longer than the rest of a training step. Updates are scaled to the size of
    AdamW's (Liu et al. 2025, "Muon is Scalable for LLM Training").
    """

    def __init__(
        self, parameters: list[torch.nn.Parameter], lr: float, weight_decay: float,
        dtype: torch.dtype,
    ) -> None:  # fmt: skip
        super().__init__(parameters, dict(lr=lr, weight_decay=weight_decay))
        self._dtype = dtype

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            rate, decay = group["lr"], group["weight_decay"]
            alike: dict[tuple[int, int], list[tuple[torch.nn.Parameter, torch.Tensor]]]
            alike = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                past = state["momentum_buffer"].lerp_(parameter.grad, 1 - MOMENTUM)
                update = parameter.grad.lerp(past, MOMENTUM)  # Nesterov's
                rows, columns = update.shape
                flat = update if rows <= columns else update.T
                alike[flat.shape[0], flat.shape[1]].append((parameter, flat))
            for (_, longer), members in alike.items():
                found = orthogonal(torch.stack([flat for _, flat in members]).to(self._dtype))
                scale = rate * 0.2 * longer**0.5
                for (parameter, _), turned in zip(members, found, strict=True):
                    wide = turned if turned.shape == parameter.shape else turned.T
                    parameter.mul_(1 - rate * decay).add_(wide.to(parameter.dtype), alpha=-scale)


class MuonAndAdam:
    """Two optimizers as one; rates are given as shares of the peak."""

    def __init__(
        self, model: torch.nn.Module, peak_rate: float, dtype: torch.dtype = torch.bfloat16
    ) -> None:
        hidden, others = [], []
        for name, parameter in model.named_parameters():
            inside = "transformer.layers" in name or "depformer.layers" in name
            (hidden if inside and parameter.ndim == 2 else others).append(parameter)
        self._both: list[torch.optim.Optimizer] = [
            Muon(hidden, peak_rate, 0.05, dtype),
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
