"""The layers of a streaming transformer as graphs, cut where each looks at its ring of keys.

What lies between two looks, the end of one layer and the beginning of the next, is one call of
ONNX Runtime (``onnx_graph``). The looks stay torch's: a ring is written in place and looked at as
far as it is filled, which a graph could only do with copies of it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from moshi.modules.gating import ActivationGating
from moshi.modules.transformer import LayerScale, RMSNorm, StreamingTransformerLayer
from torch import nn

from coda_voice.moshi.onnx_graph import MICROSOFT, Graph, Session

Look = Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor]
"""A layer's attention: its number, queries [rows * heads, frames, width] and keys with values
[2, rows, heads, frames, width], newest; gives what was found, as the queries."""


def has_graph(layer: StreamingTransformerLayer) -> bool:
    """Whether norms, activation and scales of a layer are those that the graphs know."""
    activation = layer.activation if layer.gating is None else layer.gating.activation
    return (
        all(isinstance(norm, RMSNorm | nn.LayerNorm) for norm in (layer.norm1, layer.norm2))
        and all(
            isinstance(scale, LayerScale | nn.Identity)
            for scale in (layer.layer_scale_1, layer.layer_scale_2)
        )
        and activation is (F.gelu if layer.gating is None else F.silu)
    )


class LayerGraphs:
    """A transformer's layers, all of which ``has_graph``; the weights are those of now."""

    def __init__(self, layers: list[StreamingTransformerLayer]) -> None:
        beginnings, ends = [*layers, None], [None, *layers]
        pairs = zip(ends, beginnings, strict=True)
        self._between = [_between(before, after) for before, after in pairs]

    def run(self, x: torch.Tensor, angle: torch.Tensor, look: Look) -> torch.Tensor:
        """X float32 [rows, frames, dim] to the same; ``angle`` [rows, frames, width / 2] to turn
        queries and keys by (Su et al. 2021, arXiv:2104.09864).
        """
        rows, frames, half = angle.shape
        places = torch.arange(rows * frames).view(rows, frames)
        turn = places, angle.cos().view(-1, half), angle.sin().view(-1, half)
        first, *others, last = self._between
        q, kv = first(x, *turn)
        for number, between in enumerate(others):
            x, q, kv = between(x, look(number, q, kv), *turn)
        (x,) = last(x, look(len(others), q, kv))
        return x


def _between(
    before: StreamingTransformerLayer | None, after: StreamingTransformerLayer | None
) -> Session:
    """From what a layer found to what the next one asks; None: there is no such layer.

    Inputs x, what was found, and how to turn; results x, queries, keys with values.
    """
    graph = Graph()
    attention = (after or before).self_attn  # type: ignore[union-attr]
    x = graph.input("rows", "frames", attention.embed_dim)
    if before is not None:
        x = _end(graph, x, before)
        graph.output(x)
    if after is not None:
        _beginning(graph, x, after)
    return graph.session()


def _beginning(graph: Graph, x: str, layer: StreamingTransformerLayer) -> None:
    attention = layer.self_attn
    dim, heads = attention.embed_dim, attention.num_heads
    width = dim // heads
    places = graph.input("rows", "frames", kind=torch.int64)
    turn = graph.input("places", width // 2), graph.input("places", width // 2)
    made = graph.linear(_norm(graph, x, layer.norm1), attention.in_projs[0].weight)
    q, k, v = graph.ops("Split", made, results=3, axis=2, num_outputs=3)
    q, k = (
        graph.op("RotaryEmbedding", part, places, *turn, domain=MICROSOFT, interleaved=1)
        for part in (q, k)
    )
    apart = [
        graph.op(
            "Transpose",
            graph.op("Reshape", part, graph.numbers(0, 0, heads, width)),
            perm=[0, 2, 1, 3],
        )
        for part in (q, k, v)
    ]
    frames = graph.op("Shape", x, start=1, end=2)
    flat = graph.op("Concat", graph.numbers(-1), frames, graph.numbers(width), axis=0)
    graph.output(graph.op("Reshape", apart[0], flat))
    pair = [graph.op("Unsqueeze", part, graph.numbers(0)) for part in apart[1:]]
    graph.output(graph.op("Concat", *pair, axis=0))


def _end(graph: Graph, x: str, layer: StreamingTransformerLayer) -> str:
    attention = layer.self_attn
    heads, width = attention.num_heads, attention.embed_dim // attention.num_heads
    found = graph.input("looks", "frames", width)
    frames = graph.op("Shape", x, start=1, end=2)
    apart = graph.op(
        "Concat", graph.numbers(-1), graph.numbers(heads), frames, graph.numbers(width), axis=0
    )
    together = graph.op("Transpose", graph.op("Reshape", found, apart), perm=[0, 2, 1, 3])
    mixed = graph.op("Reshape", together, graph.numbers(0, 0, heads * width))
    out = _scaled(attention.out_projs[0].weight, layer.layer_scale_1)
    x = graph.op("Add", x, graph.linear(mixed, out))
    inner = _norm(graph, x, layer.norm2)
    if isinstance(layer.gating, ActivationGating):
        out = _scaled(layer.gating.linear_out.weight, layer.layer_scale_2)
        update = graph.gated(inner, layer.gating.linear_in.weight, out)
    else:
        inner = graph.op("Gelu", graph.linear(inner, layer.linear1.weight), domain=MICROSOFT)
        update = graph.linear(inner, _scaled(layer.linear2.weight, layer.layer_scale_2))
    return graph.op("Add", x, update)


def _norm(graph: Graph, x: str, norm: RMSNorm | nn.LayerNorm) -> str:
    if isinstance(norm, nn.LayerNorm):
        scale, shift = graph.constant(norm.weight), graph.constant(norm.bias)
        return graph.op("LayerNormalization", x, scale, shift, axis=-1, epsilon=norm.eps)
    return graph.rms_norm(x, norm.alpha, norm.eps)


def _scaled(weight: torch.Tensor, scale: nn.Module) -> torch.Tensor:
    """A product's weight [out, in] with the scale behind it."""
    return weight.detach() * scale.scale[:, None] if isinstance(scale, LayerScale) else weight
