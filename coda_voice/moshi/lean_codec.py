"""The halves of Mimi's codec in one call of ONNX Runtime a frame, for a CPU.

A frame of the package's is hundreds of operations of torch, and launching them takes longer than
what they do. See ``codec_graph`` for what is done instead.
"""

from __future__ import annotations

import torch
from moshi.modules.seanet import SEANetDecoder, SEANetEncoder

from coda_voice.moshi.codec_graph import CodecGraph, Kept, UnknownShapeError
from coda_voice.moshi.helper import Helper
from coda_voice.moshi.working_rows import ENOUGH_ROWS, WorkingRows, padded

LEAST_ROWS = 2
"""To be taken over by the helper: for fewer, calling it costs more."""


def lean_codec(
    net: SEANetEncoder | SEANetDecoder, working: WorkingRows, helper: Helper
) -> LeanCodec | None:
    """Give the short way for an encoder or decoder in the state in which it streams now.

    None where it is of a shape that this was not made for.
    """
    try:
        return LeanCodec(net, CodecGraph(net), working, helper)
    except UnknownShapeError:
        return None


class LeanCodec:
    """The forward of one half of the codec: [rows, channels, samples] as in the package.

    Of several rows the helper takes half.
    """

    def __init__(
        self,
        net: SEANetEncoder | SEANetDecoder,
        graph: CodecGraph,
        working: WorkingRows,
        helper: Helper,
    ) -> None:
        self._net = net
        self._state = net._streaming_state
        self._samples = graph.samples
        self._session = graph.session()
        self._kept = _side_by_side(graph.kept)
        self._working = working
        self._helper = helper

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Go one step, or the package's way for what it was not made for.

        That is another state, or anything but a frame.
        """
        if self._net._streaming_state is not self._state or x.shape[2] != self._samples:
            whole: torch.Tensor = type(self._net).forward(self._net, x)
            return whole
        # One row will do: ONNX Runtime adds up its products as those of many.
        working = self._working.of(len(x), ENOUGH_ROWS)
        return padded(self._step(x[:working].contiguous()), len(x))

    def _step(self, x: torch.Tensor) -> torch.Tensor:
        half = len(x) // 2
        if not self._helper.there or half < LEAST_ROWS:
            return self._run(x, slice(len(x)))
        helped = self._helper.share(lambda: self._run(x, slice(half, len(x))))
        return torch.cat([self._run(x, slice(half)), helped()])

    def _run(self, x: torch.Tensor, at: slice) -> torch.Tensor:
        kept = self._kept[at]
        made, new = self._session(x[at], kept)
        torch.where(self._state.exec_mask[at, None, None], new, kept, out=kept)
        return made


def _side_by_side(states: list[Kept]) -> torch.Tensor:
    """Put states into one tensor [rows, 1, numbers], of which the package's own become views."""
    last = [getattr(kept.state, kept.name).transpose(1, 2) for kept in states]
    whole = torch.cat([each.flatten(1) for each in last], 1).unsqueeze(1)
    parts = whole.split_with_sizes([each[0].numel() for each in last], 2)
    for kept, each, part in zip(states, last, parts, strict=True):
        setattr(kept.state, kept.name, part.view(each.shape).transpose(1, 2))
    return whole
