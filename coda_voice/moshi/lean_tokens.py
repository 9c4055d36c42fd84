"""Codes from vectors and vectors from codes in few operations, on a CPU (see ``lean``)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from moshi.models import LMModel
from moshi.models.lm_utils import ScaledEmbedding
from moshi.quantization.vq import ResidualVectorQuantizer, SplitResidualVectorQuantizer
from torch import nn

from coda_voice.moshi.lean_norm import LeanNorm
from coda_voice.moshi.onnx_graph import Graph, Session
from coda_voice.moshi.working_rows import WorkingRows, padded


class LeanQuantizer:
    """The codec's nearest codes, of all vectors b the one with the largest a·b - |b|²/2; and back.

    The way back is a sum of vectors, which are kept as the projection behind it leaves them.
    """

    def __init__(self, quantizer: SplitResidualVectorQuantizer) -> None:
        halves: list[ResidualVectorQuantizer] = [quantizer.rvq_first, quantizer.rvq_rest]
        self._nearest = _nearest(halves)
        spoken = [
            F.linear(layer.embedding, half.output_proj.weight[:, :, 0]).detach()
            for half in halves
            for layer in half.vq.layers
        ]
        self._spoken = torch.cat(spoken)
        sizes = torch.tensor([len(vectors) for vectors in spoken])
        self._starts = (sizes.cumsum(0) - sizes)[:, None]

    @staticmethod
    def fits(quantizer: nn.Module) -> bool:
        """Whether it is the codec's, with plain float32 codebooks on a CPU."""
        if not isinstance(quantizer, SplitResidualVectorQuantizer):
            return False
        halves: list[ResidualVectorQuantizer] = [quantizer.rvq_first, quantizer.rvq_rest]
        layers = [layer for half in halves for layer in half.vq.layers]
        projections = [part for half in halves for part in (half.input_proj, half.output_proj)]
        return all(type(part) is nn.Conv1d and part.bias is None for part in projections) and all(
            isinstance(layer.project_in, nn.Identity)
            and isinstance(layer.project_out, nn.Identity)
            and layer.embedding.dtype == torch.float32
            and layer.embedding.device.type == "cpu"
            for layer in layers
        )

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Codes [rows, codebooks, T] of x [rows, channels, T]."""
        (codes,) = self._nearest(x.transpose(1, 2).contiguous())
        return codes

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Vectors [rows, channels, T] of codes [rows, codebooks, T]: the first so many."""
        places = codes + self._starts[: codes.shape[1]]
        return F.embedding(places, self._spoken).sum(1).transpose(1, 2)


def _nearest(halves: list[ResidualVectorQuantizer]) -> Session:
    """Codes [rows, codebooks, T] from vectors [rows, T, channels]."""
    graph = Graph()
    x = graph.input("rows", "frames", halves[0].input_proj.weight.shape[1])
    codes = []
    for half in halves:
        left = graph.linear(x, half.input_proj.weight[:, :, 0])
        for layer in half.vq.layers[: half.n_q]:
            vectors: torch.Tensor = layer.embedding
            half_squares = graph.constant(vectors.square().sum(-1) / -2)
            near = graph.op("Add", graph.linear(left, vectors), half_squares)
            code = graph.op("ArgMax", near, axis=-1, keepdims=0)
            codes.append(graph.op("Unsqueeze", code, graph.numbers(1)))
            left = graph.op("Sub", left, graph.op("Gather", graph.constant(vectors), code))
    graph.output(graph.op("Concat", *codes, axis=1), torch.int64)
    return graph.session()


class LeanInput:
    """``forward_text`` of a language model whose tokens are all looked up in one table."""

    def __init__(self, lm: LMModel, working: WorkingRows) -> None:
        self._lm = lm
        self._working = working
        norm = lm.out_norm
        self._norm = LeanNorm(norm) if norm is not None and LeanNorm.fits(norm) else norm
        tables = [lm.text_emb, *lm.emb]
        sizes = torch.tensor([len(table.weight) for table in tables])
        self._starts = (sizes.cumsum(0) - sizes)[:, None]
        none = torch.zeros(1, lm.dim)
        self._table = torch.cat([*(table.weight.detach() for table in tables), none])
        at = 0
        for table in tables:  # one copy of the weights serves both ways
            rows = len(table.weight)
            table.weight.data = self._table[at : at + rows]
            at += rows

    @staticmethod
    def fits(lm: nn.Module) -> bool:
        """Whether its embeddings are plain ones in float32 on a CPU."""
        return isinstance(lm, LMModel) and all(
            isinstance(table, ScaledEmbedding)
            and table.norm is None
            and table.low_rank is None
            and not table.demux_second_stream
            and table.weight.dtype == torch.float32
            and table.weight.device.type == "cpu"
            for table in (lm.text_emb, *lm.emb)
        )

    def forward_text(
        self,
        sequence: torch.Tensor,
        sum_condition: torch.Tensor | None = None,
        cross_attention_src: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states [rows, T, dim] and text logits [rows, 1, T, card] of tokens [rows, K, T].

        A token of -1 counts for nothing.
        """
        lm, rows = self._lm, len(sequence)
        working = self._working.of(rows)
        sequence = sequence[:working]
        places = torch.where(sequence < 0, len(self._table) - 1, sequence + self._starts)
        x = F.embedding(places, self._table).sum(1)
        if sum_condition is not None:
            x = x + sum_condition[:working].to(x)
        hidden = lm.transformer(x, cross_attention_src=cross_attention_src)
        if self._norm:
            hidden = self._norm(hidden)
        return padded(hidden, rows), padded(lm.text_linear(hidden)[:, None], rows)
