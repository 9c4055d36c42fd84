"""A model on MLX where the moshi package's ``LMModel`` would stand.

What streams around it stays as it is: ``LMGen`` with its delays, steering and sampling, the
prefill, the transcriber. Tokens and logits cross as torch tensors on the CPU, which shares its
memory with the GPU on Apple silicon; hidden states and pasts stay with MLX. Rows are stepped
one after another: there is no batch in the temporal transformer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import mlx.core as mx
import numpy as np
import torch
from moshi.modules.streaming import State, StreamingModule

from coda_voice.moshi.mlx_layers import LmShape, MoshiNetwork, Past

Hidden = list[mx.array | None]
"""A row's hidden states [1, frames, dim]; None for rows that did not step."""


@dataclass
class _Pasts(State):  # type: ignore[misc]
    """Streaming state of all rows; ``row_memories`` is what ``streaming_state`` reads."""

    row_memories: list[Past] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.row_memories = [Past()] * self.batch_size

    def reset(self, reset_mask: torch.Tensor) -> None:
        super().reset(reset_mask)
        for row in reset_mask.nonzero()[:, 0].tolist():
            self.row_memories[row] = Past()


class MlxLM(StreamingModule[_Pasts]):  # type: ignore[misc]
    """The part of ``LMModel`` that is used while a conversation streams.

    ``delays`` are those of the text and every codebook. The weights must have been evaluated:
    MLX runs a computation in the thread that began it.
    """

    zero_token_id = -1
    ungenerated_token_id = -2
    audio_offset = 1
    fuser = None

    def __init__(
        self, network: MoshiNetwork, shape: LmShape, delays: list[int], dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.network = network
        self.shape = shape
        self.delays = delays
        self.dtype = dtype
        self.device = torch.device("cpu")
        self.n_q, self.dep_q = shape.codebooks, shape.steps
        self.card, self.text_card = shape.card, shape.text_card
        self.dim, self.context = shape.temporal.dim, shape.temporal.context
        self.num_codebooks = shape.codebooks + 1
        self.num_audio_codebooks = shape.codebooks
        self.initial_token_id, self.text_initial_token_id = shape.card, shape.text_card
        self.depformer = network.depformer if shape.steps else None
        self.extra_heads: list[Callable[[Hidden], torch.Tensor]] = [
            self._pause_head(index) for index in range(shape.pause_heads)
        ]
        self.eval()

    def _init_streaming_state(self, batch_size: int) -> _Pasts:
        return _Pasts(batch_size, self.device)

    def _get_initial_token(self) -> torch.Tensor:
        tokens = [self.text_initial_token_id] + [self.initial_token_id] * self.n_q
        return torch.tensor(tokens)[None, :, None]

    def forward_text(
        self,
        sequence: torch.Tensor,
        sum_condition: torch.Tensor | None = None,
        cross_attention_src: torch.Tensor | None = None,
    ) -> tuple[Hidden, torch.Tensor]:
        """Take tokens [rows, codebooks, frames] of the rows in the execution mask.

        Gives their hidden states and the text logits [rows, 1, 1, card] of the last frame.
        """
        state = self._streaming_state
        pasts, stepping = state.row_memories, state.exec_mask.tolist()
        hidden: Hidden = [None] * len(pasts)
        logits = torch.zeros(len(pasts), 1, 1, self.text_card)
        for row, steps in enumerate(stepping):
            if not steps:
                continue
            tokens = mx.array(sequence[row].numpy().astype(np.int32))
            sums = None if sum_condition is None else _to_mlx(sum_condition[row])
            # The old past must be let go before anything is computed, or it would be copied.
            out, pasts[row] = self.network.hear(tokens, sums, pasts[row])
            text = self.network.text_linear(out[:, -1])
            hidden[row] = out
            mx.eval(out, text, pasts[row].keys, pasts[row].values)
            logits[row, 0] = _to_torch(text)
        return hidden, logits

    def depformer_codes(
        self,
        text_token: torch.Tensor,
        hidden: Hidden,
        draw: Callable[[torch.Tensor, int], torch.Tensor],
    ) -> torch.Tensor:
        """Codes [rows, dep_q] of one frame, from the text token [rows] that was said.

        ``draw`` picks tokens [rows] from logits [rows, card] of a stream (1 is the first
        codebook). Rows that did not step get codes that mean nothing.
        """
        rows = [row for row, here in enumerate(hidden) if here is not None]
        token, codes, past = text_token, [], Past()
        heard = mx.concatenate([here for here in hidden if here is not None]) if rows else None
        for step in range(self.dep_q):
            logits = torch.zeros(len(hidden), self.card)
            if heard is not None:
                before = mx.array(token[rows].numpy().astype(np.int32))
                made, past = self.network.speak(step, before, heard, past)
                logits[rows] = _to_torch(made)
            token = draw(logits, step + 1)
            codes.append(token)
        return torch.stack(codes, dim=1)

    def _pause_head(self, index: int) -> Callable[[Hidden], torch.Tensor]:
        def logits(hidden: Hidden) -> torch.Tensor:
            """[rows, 1, classes] of the last frame."""
            out = torch.zeros(len(hidden), 1, self.shape.pause_classes)
            for row, here in enumerate(hidden):
                if here is not None:
                    out[row] = _to_torch(self.network.extra_heads[index](here[:, -1]))
            return out

        return logits


def _to_torch(array: mx.array) -> torch.Tensor:
    """Float32 on the CPU; waits until it is computed."""
    return torch.from_numpy(np.array(array.astype(mx.float32)))


def _to_mlx(tensor: torch.Tensor) -> mx.array:
    return mx.array(tensor.float().numpy())
