"""The same forward pass as moshi's `LMModel`, written to train fast on a CPU.

moshi's modules are made for streaming; in training most of the time goes into small operations.
Here the temporal transformer is one function without branches, and the depformer's eight sets of
weights are stacked so that all its steps run as one batched product. The parameters are the
model's own; `tests/unit/test_train_tiny_fast.py` holds both passes to the same numbers.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from moshi.models.lm import LMModel

Layer = tuple[torch.Tensor, ...]


def rms_norm(x: torch.Tensor, alpha: torch.Tensor, eps: float = 1e-8) -> torch.Tensor:
    """RMSNorm as moshi has it, in float32."""
    wide = x.float()
    return (wide * (alpha * torch.rsqrt(eps + wide.pow(2).mean(-1, keepdim=True)))).to(x.dtype)


@lru_cache(maxsize=8)
def rotation(frames: int, width: int, period: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines [frames, width / 2] of the rotary embedding."""
    speed = torch.exp(torch.arange(width // 2) * (-torch.log(torch.tensor(period)) * 2 / width))
    angle = torch.arange(frames)[:, None] * speed
    return angle.cos(), angle.sin()


def rotate(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Rotary embedding of interleaved pairs; x [batch, heads, frames, width]."""
    pairs = x.float().unflatten(-1, (-1, 2))
    real, imaginary = pairs[..., 0], pairs[..., 1]
    turned = (real * cosine - imaginary * sine, real * sine + imaginary * cosine)
    return torch.stack(turned, -1).flatten(-2).to(x.dtype)


def temporal(
    x: torch.Tensor,
    layers: list[Layer],
    heads: int,
    cosine: torch.Tensor,
    sine: torch.Tensor,
    hidden_mask: torch.Tensor,
) -> torch.Tensor:
    """The temporal transformer on x [batch, frames, dim]; `hidden_mask` hides where it is true."""
    for norm1, norm2, into, out, gate_in, gate_out in layers:
        projected = F.linear(rms_norm(x, norm1), into)
        q, k, v = projected.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = rotate(q, cosine, sine), rotate(k, cosine, sine)
        score = (q @ k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5
        weight = score.masked_fill(hidden_mask, float("-inf")).softmax(-1).to(v.dtype)
        x = x + F.linear((weight @ v).transpose(1, 2).flatten(-2), out)
        gate, value = F.linear(rms_norm(x, norm2), gate_in).chunk(2, -1)
        x = x + F.linear(F.silu(gate) * value, gate_out)
    return x


def depth(x: torch.Tensor, layers: list[Layer], heads: int) -> torch.Tensor:
    """The depformer on x [steps, frames, dim], weights [steps, out, in] of their own per step."""
    steps, frames, _ = x.shape
    for norm1, norm2, into, out, gate_in, gate_out in layers:
        projected = rms_norm(x, norm1) @ into.transpose(1, 2)
        q, k, v = projected.unflatten(-1, (3, heads, -1)).permute(2, 1, 3, 0, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + mixed.permute(2, 0, 1, 3).reshape(steps, frames, -1) @ out.transpose(1, 2)
        gate, value = (rms_norm(x, norm2) @ gate_in.transpose(1, 2)).chunk(2, -1)
        x = x + (F.silu(gate) * value) @ gate_out.transpose(1, 2)
    return x


class FastForward:
    """Runs an `LMModel` with the functions above in `dtype`, compiled where `compiled` says so."""

    def __init__(
        self, lm: LMModel, compiled: bool = True, dtype: torch.dtype = torch.bfloat16
    ) -> None:
        self.lm, self.dtype = lm, dtype
        self.temporal = torch.compile(temporal, dynamic=False) if compiled else temporal
        self.depth = torch.compile(depth, dynamic=False) if compiled else depth

    def text(self, inputs: torch.Tensor, added: torch.Tensor | None) -> torch.Tensor:
        """Hidden states [batch, frames, dim] for inputs [batch, 1 + n_q, frames]."""
        return self.text_and_below(inputs, added, 0)[1]

    def text_and_below(
        self, inputs: torch.Tensor, added: torch.Tensor | None, layers_below: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What the first few layers give, and the hidden states, both [batch, frames, dim]."""
        lm = self.lm
        x = lm.text_emb(inputs[:, 0])
        for index in range(lm.n_q):
            x = x + lm.emb[index](inputs[:, index + 1])
        if added is not None:
            x = x + added
        frames, heads = x.shape[1], lm.transformer.layers[0].self_attn.num_heads
        cosine, sine = rotation(frames, lm.dim // heads, float(lm.transformer.rope.max_period))
        mask = torch.ones(frames, frames, dtype=torch.bool).triu(1)
        if lm.context is not None and frames > lm.context:
            mask |= torch.ones(frames, frames, dtype=torch.bool).tril(-lm.context)
        layers = [
            (
                layer.norm1.alpha,
                layer.norm2.alpha,
                layer.self_attn.in_projs[0].weight.to(self.dtype),
                layer.self_attn.out_projs[0].weight.to(self.dtype),
                layer.gating.linear_in.weight.to(self.dtype),
                layer.gating.linear_out.weight.to(self.dtype),
            )
            for layer in lm.transformer.layers
        ]
        below = x.to(self.dtype)
        if layers_below:
            below = self.temporal(below, layers[:layers_below], heads, cosine, sine, mask)
        hidden = self.temporal(below, layers[layers_below:], heads, cosine, sine, mask)
        return below, rms_norm(hidden, lm.out_norm.alpha)

    def codes(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Logits [dep_q, n, card] for chosen hidden states [n, dim] and targets [1 + n_q, n]."""
        lm, steps = self.lm, self.lm.dep_q
        tokens = [lm.depformer_text_emb(targets[0])]
        tokens += [lm.depformer_emb[k](targets[k + 1]) for k in range(steps - 1)]
        x = self._into_depth(hidden) + torch.stack(tokens).to(self.dtype)
        heads = lm.depformer.layers[0].self_attn.num_heads
        out = self.depth(x, self._depth_layers(), heads)
        return out @ self._stacked(lm.linears).transpose(1, 2)

    @torch.no_grad()
    def sample(self, hidden: torch.Tensor, text: torch.Tensor, temperature: float) -> torch.Tensor:
        """Codes [dep_q, n] drawn one after the other for hidden states [n, dim] and text [n]."""
        lm, drawn = self.lm, []
        heads = lm.depformer.layers[0].self_attn.num_heads
        given, layers, out = (
            self._into_depth(hidden),
            self._depth_layers(),
            self._stacked(lm.linears),
        )
        past: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in layers]
        token = lm.depformer_text_emb(text)
        for step in range(lm.dep_q):
            x = given[step] + token.to(self.dtype)
            for (norm1, norm2, *weights), seen in zip(layers, past, strict=True):
                into, back, gate_in, gate_out = (weight[step] for weight in weights)
                projected = F.linear(rms_norm(x, norm1.flatten()), into)
                q, k, v = projected.unflatten(-1, (3, heads, -1)).unbind(1)
                seen.append((k, v))
                keys, values = (torch.stack(part, 2) for part in zip(*seen, strict=True))
                mixed = F.scaled_dot_product_attention(q[:, :, None], keys, values)
                x = x + F.linear(mixed.flatten(1), back)
                gate, value = F.linear(rms_norm(x, norm2.flatten()), gate_in).chunk(2, -1)
                x = x + F.linear(F.silu(gate) * value, gate_out)
            logits = F.linear(x, out[step]).float() / temperature
            drawn.append(torch.multinomial(logits.softmax(-1), 1)[:, 0])
            if step + 1 < lm.dep_q:
                token = lm.depformer_emb[step](drawn[-1])
        return torch.stack(drawn)

    def _into_depth(self, hidden: torch.Tensor) -> torch.Tensor:
        """[dep_q, n, depformer dim] from hidden states [n, dim]."""
        into = torch.cat([linear.weight for linear in self.lm.depformer_in]).to(self.dtype)
        return F.linear(hidden, into).unflatten(-1, (self.lm.dep_q, -1)).transpose(0, 1)

    def _depth_layers(self) -> list[Layer]:
        return [
            (
                layer.norm1.alpha,
                layer.norm2.alpha,
                self._stacked(layer.self_attn.in_projs),
                self._stacked(layer.self_attn.out_projs),
                self._stacked([gate.linear_in for gate in layer.gating]),
                self._stacked([gate.linear_out for gate in layer.gating]),
            )
            for layer in self.lm.depformer.layers
        ]

    def _stacked(self, linears: list[torch.nn.Linear] | torch.nn.ModuleList) -> torch.Tensor:
        """Weights of equal linear layers [layers, out, in]."""
        return torch.stack([linear.weight for linear in linears]).to(self.dtype)
