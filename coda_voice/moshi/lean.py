"""Steps of streaming models in few operations, for small models on a CPU.

The moshi package's step is made for CUDA graphs, where an operation costs nothing to launch: each
layer works out by itself where it is in the ring of keys, what it may see and how to rotate, some
seventy operations. On a CPU each of them costs as much as the arithmetic of a small model. Here
that is worked out once for all layers. States, weights and results are the package's own (the last
bits aside); what this step was not made for goes the package's way.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from moshi.modules.gating import ActivationGating
from moshi.modules.seanet import SEANetDecoder, SEANetEncoder
from moshi.modules.transformer import StreamingTransformer, StreamingTransformerLayer
from numpy.typing import NDArray
from torch import nn

from coda_voice.moshi.helper import Helper
from coda_voice.moshi.layer_graphs import LayerGraphs, has_graph
from coda_voice.moshi.lean_codec import LeanCodec, lean_codec
from coda_voice.moshi.lean_tokens import LeanInput, LeanQuantizer
from coda_voice.moshi.onnx_graph import is_small
from coda_voice.moshi.working_rows import WorkingRows, padded

MOST_FRAMES = 4
"""More at once than this are prefills, whose arithmetic outweighs everything else."""

BLOCK = 64
"""Places of a ring of keys that are looked at together."""

MANY_KEYS = 1 << 20
"""Numbers in a layer's keys, of all rows: 4 MB."""


def make_lean(model: nn.Module, working: WorkingRows, helper: Helper | None = None) -> int:
    """Have the transformers and codecs inside a model that streams now take the short way.

    For the states they have now: others (a prefill aside) go the package's way. What keeps no
    state, embeddings and quantizer, takes it always. Rows that are not ``working`` are left out;
    a codec shares its rows with ``helper``.
    Gives how many were of a shape for that.
    """
    found = 0
    for part in model.modules():
        short: LeanStep | LeanCodec | None = None
        if isinstance(part, StreamingTransformer) and _is_plain(part):
            short = LeanStep(part, working)
        elif isinstance(part, SEANetEncoder | SEANetDecoder) and part._streaming_state is not None:
            short = lean_codec(part, working, helper or Helper(False))
        elif LeanQuantizer.fits(part):
            quantizer = LeanQuantizer(part)
            part.encode = quantizer.encode  # type: ignore[assignment]
            part.decode = quantizer.decode  # type: ignore[assignment]
            found += 1
        if short is not None:
            part.forward = short
            found += 1
    return found


def make_input_lean(lm: nn.Module, working: WorkingRows) -> None:
    """Have a language model look all its tokens up at once; before it streams."""
    if LeanInput.fits(lm):
        lm.forward_text = LeanInput(lm, working).forward_text  # type: ignore[assignment]


def _is_plain(transformer: StreamingTransformer) -> bool:
    if transformer.positional_embedding != "rope" or transformer._streaming_state is None:
        return False
    return is_small(transformer) and all(_is_plain_layer(layer) for layer in transformer.layers)


def _is_plain_layer(layer: StreamingTransformerLayer) -> bool:
    if layer.skip_self_attn or layer.weights_per_step:
        return False
    attention = layer.self_attn
    state = attention._streaming_state
    linear = layer.gating.linear_in if layer.gating is not None else layer.linear1
    return (
        layer.cross_attention is None
        and attention.causal
        and attention.kv_repeat == 1
        and state is not None
        and state.kv_cache is not None
        and state.kv_cache.respect_exec_mask
        and state.kv_cache.capacity == attention.context
        and isinstance(layer.gating, ActivationGating | None)
        # Exactly: quantized and adapted layers are another class with the same face.
        and all(type(part) is nn.Linear for part in (attention.in_projs[0], linear))
        and linear.weight.dtype == torch.float32
        and linear.weight.device.type == "cpu"
        and has_graph(layer)
    )


class LeanStep:
    """The forward of one transformer over a batch of rows that stream independently.

    Takes x float32 [rows, frames, dim]; rows outside the ``exec_mask`` of the states keep theirs.
    """

    def __init__(self, transformer: StreamingTransformer, working: WorkingRows) -> None:
        self._transformer = transformer
        self._working = working
        self._state = transformer._streaming_state
        layers = transformer.layers
        first = layers[0].self_attn
        self._heads: int = first.num_heads
        width = first.embed_dim // first.num_heads
        self._capacity: int = first.context
        self._graphs = LayerGraphs(list(layers))
        self._caches: list[torch.Tensor] = [
            layer.self_attn._streaming_state.kv_cache.cache for layer in layers
        ]
        self._flat = [cache.view(-1, cache.shape[-1]) for cache in self._caches]
        self._many = self._caches[0][0].numel() >= MANY_KEYS
        self._seen: tuple[int, int, list[tuple[torch.Tensor, torch.Tensor]]] = (0, 0, [])
        """Keys and values [rows * heads, filled, width] of every layer, for so many of both."""
        steps = torch.arange(width // 2, dtype=torch.float32)
        speed = torch.exp(steps * (-math.log(transformer.max_period) * 2 / width))
        self._speed: NDArray[np.float32] = speed.numpy()
        self._slots = np.arange(self._capacity)
        # Every layer counts for itself, all alike: one tensor of which theirs are rows.
        rows = len(self._state.offsets)
        self._counts = torch.zeros(1 + 2 * len(layers), rows, dtype=torch.long)
        self._state.offsets = self._taken(0, self._state.offsets)
        for index, layer in enumerate(layers):
            state = layer.self_attn._streaming_state
            state.offset = self._taken(2 * index + 1, state.offset)
            state.kv_cache.end_offset = self._taken(2 * index + 2, state.kv_cache.end_offset)
        self._now: NDArray[np.int64] = self._counts[0].numpy()  # the same memory
        # Where the keys (first half) and values of each row and head begin in a layer's ring.
        heads = np.arange(2 * rows * self._heads) * self._capacity
        self._rings = heads.reshape(2, rows, self._heads, 1)

    def _taken(self, row: int, counted: torch.Tensor) -> torch.Tensor:
        self._counts[row] = counted
        return self._counts[row]

    def __call__(
        self, x: torch.Tensor, cross_attention_src: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Go one step of a few frames, or the package's way where that is not what is asked."""
        state, frames = self._transformer._streaming_state, x.shape[1]
        if state is not self._state or frames > MOST_FRAMES or cross_attention_src is not None:
            whole: torch.Tensor = StreamingTransformer.forward(
                self._transformer, x, cross_attention_src=cross_attention_src
            )
            return whole
        working = self._working.of(len(x), frames)
        return padded(self._step(x[:working], frames), len(x))

    def _step(self, x: torch.Tensor, frames: int) -> torch.Tensor:
        # In numpy: for numbers as few as these it takes a third of torch's time, and does not let
        # go of the interpreter twenty times.
        rows, capacity = x.shape[0], self._capacity
        now = self._now[:rows, None] + np.arange(frames)
        at = now % capacity
        places = (self._rings[:, :rows] + at[:, None]).ravel()
        # Places that nothing has been put into yet are not looked at; whole blocks, so that the
        # others are added up in the same order whatever the neighbours have filled.
        filled = min((int(now.max()) // BLOCK + 1) * BLOCK, capacity)
        # The youngest position that each place of the ring can hold, and who may look at it.
        last = now[:, -1:]
        held = last - (last - self._slots[:filled]) % capacity  # [rows, filled]
        seen = (held[:, None] <= now[..., None]) & (held >= 0)[:, None]
        shut = np.where(seen, np.float32(0), np.float32(-np.inf))  # [rows, frames, filled]
        bias = torch.from_numpy(np.repeat(shut, self._heads, 0))
        angle = torch.from_numpy(now.astype(np.float32)[..., None] * self._speed)
        into = torch.from_numpy(places)
        looked_at = self._looked_at(len(bias), filled)

        def look(layer: int, q: torch.Tensor, kv: torch.Tensor) -> torch.Tensor:
            self._flat[layer].index_copy_(0, into, kv.view(-1, kv.shape[-1]))
            keys, values = looked_at[layer]
            return attend(q, keys, values, bias, self._many)

        x = self._graphs.run(x.contiguous(), angle, look)
        self._counts.add_(self._state.exec_mask, alpha=frames)
        return x

    def _looked_at(self, rings: int, filled: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        if (rings, filled) != self._seen[:2]:
            parts = [cache.flatten(1, 2)[:, :rings, :filled] for cache in self._caches]
            self._seen = rings, filled, [(part[0], part[1]) for part in parts]
        return self._seen[2]


def attend(
    q: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    bias: torch.Tensor,
    many: bool = False,
) -> torch.Tensor:
    """Attention of queries [n, frames, width] to keys and values [n, places, width].

    ``bias`` [n, frames, places]. For one or two frames these three products are a third quicker
    on a CPU than the blocks of ``scaled_dot_product_attention``. ``many`` keys, which do not fit
    into its caches, are read a third quicker as the matrix of a product with a vector.
    """
    scale = q.shape[-1] ** -0.5
    if many and q.shape[1] == 1:
        alike = torch.bmm(keys, q.transpose(1, 2)).transpose(1, 2)
        weights = torch.add(bias, alike, alpha=scale)
    else:
        weights = torch.baddbmm(bias, q, keys.transpose(1, 2), alpha=scale)
    return torch.bmm(weights.softmax(-1), values)
