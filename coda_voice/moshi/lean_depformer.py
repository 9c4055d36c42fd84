"""A depformer's eight small steps in few operations, on a CPU (see ``lean``).

Everything that does not depend on the step before is one product for all steps; each step's keys
and values go into one buffer.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from moshi.models import LMModel
from moshi.models.lm_utils import ScaledEmbedding
from moshi.modules.gating import ActivationGating
from moshi.modules.transformer import StreamingTransformerLayer
from torch import nn

from coda_voice.moshi.lean_norm import LeanNorm
from coda_voice.moshi.working_rows import WorkingRows, padded

Draw = Callable[[torch.Tensor, int], torch.Tensor]
"""Tokens [n] of the first n rows from logits [n, card] of a stream: 1 and up are the codebooks."""


class LeanDepformer:
    """The codes of one frame, of a model that ``fits``."""

    def __init__(self, lm: LMModel, draw: Draw, working: WorkingRows) -> None:
        self._draw = draw
        self._working = working
        schedule = lm.depformer_weights_per_step_schedule
        own = list(range(lm.dep_q)) if schedule is None else list(schedule)[: lm.dep_q]
        into = [lm.depformer_in[k if lm.depformer_multi_linear else 0].weight for k in own]
        self._into = torch.cat([weight.detach() for weight in into])
        tables = [lm.depformer_text_emb, *lm.depformer_emb][: lm.dep_q]
        self._tables = [table.weight.detach() for table in tables]
        self._steps = [[_weights(layer, k) for layer in lm.depformer.layers] for k in own]
        self._heads = lm.depformer.layers[0].self_attn.num_heads
        norms = [LeanNorm(n) if LeanNorm.fits(n) else n for n in lm.depformer_norms]
        self._last = list(zip(norms, (out.weight for out in lm.linears), strict=True))

    @staticmethod
    def fits(lm: LMModel) -> bool:
        """Whether these are plain float32 weights on a CPU, of a depformer that is plain."""
        layers = lm.depformer.layers
        linears = [*lm.depformer_in, *lm.linears]
        linears += [part for layer in layers for part in layer.self_attn.in_projs]
        embeddings = [lm.depformer_text_emb, *lm.depformer_emb]
        return (
            all(
                type(part) is nn.Linear
                and part.weight.dtype == torch.float32
                and part.weight.device.type == "cpu"
                and part.bias is None
                for part in linears
            )
            and all(
                isinstance(e, ScaledEmbedding)
                and e.norm is None
                and e.low_rank is None
                and not e.demux_second_stream
                for e in embeddings
            )
            and all(LeanNorm.fits(norm) for layer in layers for norm in (layer.norm1, layer.norm2))
            and all(
                isinstance(layer.layer_scale_1, nn.Identity)
                and isinstance(layer.layer_scale_2, nn.Identity)
                and all(type(gate) is ActivationGating for gate in gates(layer))
                for layer in layers
            )
        )

    def codes(self, text_token: torch.Tensor, transformer_out: torch.Tensor) -> torch.Tensor:
        """Codes [rows, dep_q] from the text token [rows] that was said and [rows, 1, dim]."""
        steps, rows = len(self._steps), self._working.of(len(text_token))
        given = F.linear(transformer_out[:rows, 0], self._into).view(rows, steps, -1)
        width = given.shape[2] // self._heads
        past = given.new_empty(len(self._steps[0]), 2, rows, self._heads, steps, width)
        token, codes = text_token[:rows], []
        for step, (layers, table) in enumerate(zip(self._steps, self._tables, strict=True)):
            x = F.embedding(token, table) + given[:, step]
            for seen, (norm1, into, out, norm2, gate_in, activation, gate_out) in zip(
                past, layers, strict=True
            ):
                made = F.linear(norm1(x), into).view(rows, 3, self._heads, width)
                seen[:, :, :, step] = made[:, 1:].transpose(0, 1)
                if step == 0:  # nothing but itself to look at
                    mixed = made[:, 2]
                else:
                    keys, values = seen[:, :, :, : step + 1].unbind(0)
                    mixed = F.scaled_dot_product_attention(made[:, 0, :, None], keys, values)
                x = x + F.linear(mixed.reshape(rows, -1), out)
                gate, value = F.linear(norm2(x), gate_in).chunk(2, -1)
                x = x + F.linear(activation(gate).mul_(value), gate_out)
            norm, head = self._last[step]
            token = self._draw(F.linear(norm(x[:, None])[:, 0], head), step + 1)
            codes.append(token)
        return padded(torch.stack(codes, dim=1), len(text_token))


_Weights = tuple[
    LeanNorm,
    torch.Tensor,
    torch.Tensor,
    LeanNorm,
    torch.Tensor,
    Callable[[torch.Tensor], torch.Tensor],
    torch.Tensor,
]


def _weights(layer: StreamingTransformerLayer, step: int) -> _Weights:
    attention = layer.self_attn
    own = step if attention.weights_per_step else 0
    gate = layer.gating[step] if layer.weights_per_step else layer.gating
    return (
        LeanNorm(layer.norm1),
        attention.in_projs[own].weight.detach(),
        attention.out_projs[own].weight.detach(),
        LeanNorm(layer.norm2),
        gate.linear_in.weight.detach(),
        gate.activation,
        gate.linear_out.weight.detach(),
    )


def gates(layer: StreamingTransformerLayer) -> list[nn.Module]:
    """Give the gated units of a layer: one, or one for each step."""
    return list(layer.gating) if layer.weights_per_step else [layer.gating]
