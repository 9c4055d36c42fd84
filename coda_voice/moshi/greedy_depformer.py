"""A depformer that takes the likeliest codes: all of its steps as one graph, on a CPU.

Where nothing is drawn the next step needs nobody else, and eight steps of two layers, three hundred
small operations, are one call of ONNX Runtime (``onnx_graph``). What is drawn goes through
``lean_depformer``.
"""

from __future__ import annotations

import torch
from moshi.models import LMModel
from moshi.modules.transformer import StreamingTransformerLayer

from coda_voice.moshi.lean_depformer import gates
from coda_voice.moshi.lean_norm import LeanNorm
from coda_voice.moshi.onnx_graph import MICROSOFT, Graph, is_small
from coda_voice.moshi.working_rows import WorkingRows, padded


class GreedyDepformer:
    """The likeliest codes of one frame, of a model that ``LeanDepformer`` fits."""

    def __init__(self, lm: LMModel, working: WorkingRows) -> None:
        self._working = working
        self._graph = _Unrolled(lm).graph.session()

    @staticmethod
    def fits(lm: LMModel) -> bool:
        """Whether its activations and norms are those that the graph knows, and it is small."""
        units = [gate for layer in lm.depformer.layers for gate in gates(layer)]
        norms = list(lm.depformer_norms)
        return (
            is_small(lm.depformer)
            and all(gate.activation is torch.nn.functional.silu for gate in units)
            and all(LeanNorm.fits(norm) or isinstance(norm, torch.nn.Identity) for norm in norms)
        )

    def codes(self, text_token: torch.Tensor, transformer_out: torch.Tensor) -> torch.Tensor:
        """Codes [rows, dep_q] from the text token [rows] that was said and [rows, 1, dim]."""
        rows = self._working.of(len(text_token))
        (codes,) = self._graph(transformer_out[:rows, 0].contiguous(), text_token[:rows])
        return padded(codes, len(text_token))


class _Unrolled:
    """The graph: hidden states [rows, dim] and text tokens [rows] in, codes [rows, dep_q] out."""

    def __init__(self, lm: LMModel) -> None:
        self.graph = graph = Graph()
        self._lm = lm
        hidden = graph.input("rows", lm.dim)
        token = graph.input("rows", kind=torch.int64)
        self._keys: list[list[str]] = [[] for _ in lm.depformer.layers]
        self._values: list[list[str]] = [[] for _ in lm.depformer.layers]
        schedule = lm.depformer_weights_per_step_schedule
        codes = []
        for step in range(lm.dep_q):
            own = step if schedule is None else schedule[step]
            table = lm.depformer_text_emb if step == 0 else lm.depformer_emb[step - 1]
            into = lm.depformer_in[own if lm.depformer_multi_linear else 0]
            x = graph.op("Gather", graph.constant(table.weight), token)
            x = graph.op("Add", x, graph.linear(hidden, into.weight))
            for index, layer in enumerate(lm.depformer.layers):
                x = self._layer(x, index, layer, own)
            last = lm.depformer_norms[step]
            if not isinstance(last, torch.nn.Identity):
                x = graph.rms_norm(x, last.alpha, last.eps)
            logits = graph.linear(x, lm.linears[step].weight)
            token = graph.op("ArgMax", logits, axis=1, keepdims=0)
            codes.append(graph.op("Unsqueeze", token, graph.numbers(1)))
        graph.output(graph.op("Concat", *codes, axis=1), torch.int64)

    def _layer(self, x: str, index: int, layer: StreamingTransformerLayer, step: int) -> str:
        graph, attention = self.graph, layer.self_attn
        own = step if attention.weights_per_step else 0
        inner = graph.rms_norm(x, layer.norm1.alpha, layer.norm1.eps)
        made = graph.linear(inner, attention.in_projs[own].weight)
        mixed = self._attend(made, index, attention.num_heads)
        x = graph.op("Add", x, graph.linear(mixed, attention.out_projs[own].weight))
        gate = layer.gating[step] if layer.weights_per_step else layer.gating
        inner = graph.rms_norm(x, layer.norm2.alpha, layer.norm2.eps)
        update = graph.gated(inner, gate.linear_in.weight, gate.linear_out.weight)
        return graph.op("Add", x, update)

    def _attend(self, made: str, index: int, heads: int) -> str:
        """Attention [rows, dim] of the newest step to itself and those before it."""
        graph, width = self.graph, self._lm.depformer.layers[0].self_attn.embed_dim // heads
        q, k, v = graph.ops("Split", made, results=3, axis=1, num_outputs=3)
        keys, values = self._keys[index], self._values[index]
        keys.append(graph.op("Reshape", k, graph.numbers(0, heads, width, 1)))
        values.append(graph.op("Reshape", v, graph.numbers(0, heads, 1, width)))
        if len(keys) == 1:  # nothing but itself to look at
            return v
        asked = graph.op("Reshape", q, graph.numbers(0, heads, 1, width))
        alike = graph.op(
            "FusedMatMul", asked, graph.op("Concat", *keys, axis=3),
            domain=MICROSOFT, alpha=width**-0.5,
        )  # fmt: skip
        weights = graph.op("Softmax", alike, axis=-1)
        mixed = graph.op("MatMul", weights, graph.op("Concat", *values, axis=2))
        return graph.op("Reshape", mixed, graph.numbers(0, heads * width))
