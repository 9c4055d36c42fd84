"""Moshi's network in Apple's MLX: the temporal transformer, and the depformer's slices.

Parameters have the names that Kyutai's MLX checkpoints give them (``kyutai/moshika-mlx-q4``
and its kin), so these load as they are. Kyutai's own ``moshi_mlx`` is not used: it pins
releases of MLX and of the hub's client that cannot be installed beside the moshi package, and
knows neither a prompt's prefill nor a row's past as a value.

A transformer is a function: what it remembers goes in and comes out (``Past``). MLX writes in
place where nobody else holds the old past, and copies where somebody does, so a snapshot is a
reference and costs nothing until the conversation goes on.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

_GROWTH = 256
"""Positions by which the keys and values grow, up to the context."""


@dataclass(frozen=True, slots=True)
class TransformerShape:
    """How a transformer is built; ``hidden`` is the width of its gated feed-forward.

    ``max_period`` is that of the rotary positions, None: it has no positions.
    """

    dim: int
    heads: int
    layers: int
    hidden: int
    context: int
    max_period: float | None
    norm_eps: float


@dataclass(frozen=True, slots=True)
class LmShape:
    """A whole model: its transformers, vocabularies and streams."""

    temporal: TransformerShape
    depformer: TransformerShape | None
    text_card: int
    card: int
    codebooks: int
    steps: int
    """Codebooks that the depformer speaks."""
    pause_heads: int
    pause_classes: int


@dataclass(frozen=True, slots=True)
class Past:
    """What a transformer remembers of one conversation: a value, never written to.

    ``keys`` and ``values``: a ring a layer, [1, heads, up to context, head width].
    ``frames``: positions taken so far.
    """

    keys: tuple[mx.array, ...] = ()
    values: tuple[mx.array, ...] = ()
    frames: int = 0

    @property
    def nbytes(self) -> int:
        """Memory it holds."""
        return sum(int(ring.nbytes) for ring in self.keys + self.values)


class _Attention(nn.Module):  # type: ignore[misc]
    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.in_proj = nn.Linear(shape.dim, 3 * shape.dim, bias=False)
        self.out_proj = nn.Linear(shape.dim, shape.dim, bias=False)
        self._shape = shape

    def __call__(
        self, x: mx.array, keys: mx.array | None, values: mx.array | None, at: int
    ) -> tuple[mx.array, mx.array, mx.array]:
        """Attend from positions ``at`` on; gives the output and both rings, extended."""
        shape = self._shape
        rows, frames, _ = x.shape
        projected = self.in_proj(x).reshape(rows, frames, 3, shape.heads, -1)
        q, k, v = projected.transpose(2, 0, 3, 1, 4)
        width = q.shape[-1]
        if shape.max_period is not None:
            q, k = (
                mx.fast.rope(
                    x, width, traditional=True, base=shape.max_period, scale=1.0, offset=at
                )
                for x in (q, k)
            )
        keys = _extended(keys, k, at, shape.context)
        values = _extended(values, v, at, shape.context)
        filled = min(at + frames, shape.context)
        out = mx.fast.scaled_dot_product_attention(
            q,
            keys[:, :, :filled],
            values[:, :, :filled],
            scale=width**-0.5,
            mask="causal" if frames > 1 else None,
        )
        return self.out_proj(out.transpose(0, 2, 1, 3).reshape(x.shape)), keys, values


def _extended(ring: mx.array | None, new: mx.array, at: int, context: int) -> mx.array:
    """Write ``new`` behind position ``at``; the ring grows until it is as long as the context."""
    rows, heads, frames, width = new.shape
    needed = min(at + frames, context)
    if ring is None:
        ring = mx.zeros((rows, heads, 0, width), dtype=new.dtype)
    if ring.shape[2] < needed:
        more = min(context, -(-needed // _GROWTH) * _GROWTH) - ring.shape[2]
        empty = mx.zeros((rows, heads, more, width), dtype=new.dtype)
        ring = mx.concatenate([ring, empty], axis=2)
    return mx.slice_update(ring, new, mx.array([at % context]), (2,))


class _Gating(nn.Module):  # type: ignore[misc]
    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.linear_in = nn.Linear(shape.dim, 2 * shape.hidden, bias=False)
        self.linear_out = nn.Linear(shape.hidden, shape.dim, bias=False)

    def __call__(self, x: mx.array) -> mx.array:
        gate, value = mx.split(self.linear_in(x), 2, axis=-1)
        out: mx.array = self.linear_out(nn.silu(gate) * value)
        return out


class _Layer(nn.Module):  # type: ignore[misc]
    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.norm1 = nn.RMSNorm(shape.dim, shape.norm_eps)
        self.norm2 = nn.RMSNorm(shape.dim, shape.norm_eps)
        self.self_attn = _Attention(shape)
        self.gating = _Gating(shape)


class Transformer(nn.Module):  # type: ignore[misc]
    """Causal layers with gated feed-forward and rotary positions, as Moshi's are."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.layers = [_Layer(shape) for _ in range(shape.layers)]
        self._context = shape.context

    def __call__(self, x: mx.array, past: Past) -> tuple[mx.array, Past]:
        """Take ``x`` [1, frames, dim] after ``past``; gives the same shape and the new past."""
        if x.shape[1] > 1 and past.frames + x.shape[1] > self._context:
            # Over the ring's end a frame would lose what the frames after it overwrite.
            outs = []
            for frame in mx.split(x, x.shape[1], axis=1):
                out, past = self(frame, past)
                outs.append(out)
            return mx.concatenate(outs, axis=1), past
        keys, values = [], []
        for index, layer in enumerate(self.layers):
            k = past.keys[index] if past.keys else None
            v = past.values[index] if past.values else None
            out, k, v = layer.self_attn(layer.norm1(x), k, v, past.frames)
            x = x + out
            x = x + layer.gating(layer.norm2(x))
            keys.append(k)
            values.append(v)
        return x, Past(tuple(keys), tuple(values), past.frames + x.shape[1])


class _Slice(nn.Module):  # type: ignore[misc]
    """One step of the depformer: its own weights, and the layers it shares a past with."""

    def __init__(self, inputs: int, card: int, width: int, shape: TransformerShape) -> None:
        super().__init__()
        self.emb = nn.Embedding(inputs, shape.dim)
        self.linear_in = nn.Linear(width, shape.dim, bias=False)
        self.linear_out = nn.Linear(shape.dim, card, bias=False)
        self.transformer = Transformer(shape)


class _Depformer(nn.Module):  # type: ignore[misc]
    def __init__(self, shape: LmShape) -> None:
        super().__init__()
        self.slices = []
        if shape.depformer is not None:
            for step in range(shape.steps):
                inputs = (shape.card if step else shape.text_card) + 1
                self.slices.append(_Slice(inputs, shape.card, shape.temporal.dim, shape.depformer))


class MoshiNetwork(nn.Module):  # type: ignore[misc]
    """All of a model's parameters, and the three things they compute."""

    def __init__(self, shape: LmShape) -> None:
        super().__init__()
        dim = shape.temporal.dim
        self.text_emb = nn.Embedding(shape.text_card + 1, dim)
        self.audio_embs = [nn.Embedding(shape.card + 1, dim) for _ in range(shape.codebooks)]
        self.transformer = Transformer(shape.temporal)
        self.out_norm = nn.RMSNorm(dim, shape.temporal.norm_eps)
        self.text_linear = nn.Linear(dim, shape.text_card, bias=False)
        self.depformer = _Depformer(shape)
        self.extra_heads = [
            nn.Linear(dim, shape.pause_classes, bias=False) for _ in range(shape.pause_heads)
        ]

    def hear(self, tokens: mx.array, sums: mx.array | None, past: Past) -> tuple[mx.array, Past]:
        """Take ``tokens`` [1 + codebooks, frames] and vectors to add [frames, dim].

        Gives the hidden states [1, frames, dim] and the past that includes them.
        """
        x = _embedded(self.text_emb, tokens[0])
        for table, line in zip(self.audio_embs, tokens[1:], strict=True):
            x = x + _embedded(table, line)
        if sums is not None:
            x = x + sums.astype(x.dtype)
        x, past = self.transformer(x[None], past)
        return self.out_norm(x), past

    def speak(
        self, step: int, tokens: mx.array, hidden: mx.array, past: Past
    ) -> tuple[mx.array, Past]:
        """Give the logits [rows, card] of codebook ``step``.

        ``tokens`` [rows] are the step's before (the text in the first), ``hidden``
        [rows, 1, dim] the temporal transformer's, ``past`` that of the step before.
        """
        own = self.depformer.slices[step]
        x = own.linear_in(hidden) + _embedded(own.emb, tokens)[:, None]
        x, past = own.transformer(x, past)
        return own.linear_out(x[:, 0]), past


def _embedded(table: nn.Embedding, tokens: mx.array) -> mx.array:
    """Look tokens up; a negative one adds nothing, as in the moshi package."""
    vectors = table(mx.maximum(tokens, 0))
    return mx.where(tokens[:, None] < 0, mx.zeros_like(vectors), vectors)
