"""One half of Mimi's codec as a graph of matrix products, for a CPU.

The package's convolutions are [rows, channels, samples], one after the other with few channels and
many samples, where a CPU's convolution is at its worst (a transposed one above all). With the
channels last, a convolution is two products: what a block of samples becomes depends on itself and
on the block before it, where a block is as long as what the convolution keeps for its next step.
Weights and results are the package's own, the last bits aside.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from moshi.modules.conv import StreamingConv1d, StreamingConvTranspose1d
from moshi.modules.seanet import SEANetDecoder, SEANetEncoder, SEANetResnetBlock
from moshi.modules.streaming import State
from torch import nn

from coda_voice.moshi.onnx_graph import Graph, Session

VECTORS = 2
"""In a frame, between encoder and decoder."""

BROAD = 1024
"""Numbers to which a bias is repeated: it takes ONNX Runtime as long to add sixteen."""

_END = 1 << 31


class UnknownShapeError(Exception):
    """The codec has a part that this was not made for."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A streaming state of the package's: ``name`` of ``state``, [rows, channels, samples]."""

    state: State
    name: str


@dataclass(frozen=True, slots=True)
class Sound:
    """A value of the graph: so many samples of each row, the channels last.

    It is in blocks [rows, blocks, numbers in a block], of one size wherever the others agree.
    """

    value: str
    samples: int
    channels: int


class CodecGraph:
    """A frame's way through an encoder or decoder that streams.

    From [rows, channels, samples] and what is kept [rows, 1, numbers], to the same after the step.
    ``kept`` says what lies there side by side, each with the channels last.
    """

    def __init__(self, net: SEANetEncoder | SEANetDecoder) -> None:
        convolutions = [part.conv.conv for part in net.model if isinstance(part, StreamingConv1d)]
        channels = convolutions[0].in_channels
        self.samples: int = VECTORS * math.prod(conv.stride[0] for conv in convolutions)
        self.kept: list[Kept] = []
        self._graph = Graph()
        x = self._graph.input("rows", channels, self.samples)
        self._before = self._graph.input("rows", 1, "numbers")
        self._after: list[str] = []
        self._numbers = 0
        last = self._graph.op("Transpose", x, perm=[0, 2, 1])
        sound = Sound(last, self.samples, channels)
        for part in net.model:
            sound = self._part(sound, part)
        self._graph.output(self._graph.op("Transpose", self._blocks(sound, 1), perm=[0, 2, 1]))
        self._graph.output(self._graph.op("Concat", *self._after, axis=2))

    def session(self) -> Session:
        """Make it ready to run."""
        return self._graph.session()

    def _part(self, x: Sound, part: nn.Module) -> Sound:
        if isinstance(part, StreamingConv1d):
            return self._conv(x, part)
        if isinstance(part, StreamingConvTranspose1d):
            return self._transposed(x, part)
        if isinstance(part, nn.ELU) and part.alpha == 1.0:
            return self._elu(x)
        if isinstance(part, SEANetResnetBlock) and isinstance(part.shortcut, nn.Identity):
            inner = x
            for inside in part.block:
                inner = self._part(inner, inside)
            added = self._graph.op("Add", inner.value, x.value)
            return Sound(added, x.samples, x.channels)
        raise UnknownShapeError

    def _elu(self, x: Sound) -> Sound:
        """ELU as max(x, e^min(x, 0) - 1), two and a half times as fast as ONNX Runtime's own."""
        op, zero, one = self._graph.op, *map(self._graph.constant, torch.tensor([0.0, 1.0]))
        below = op("Sub", op("Exp", op("Clip", x.value, "", zero)), one)
        return Sound(op("Max", x.value, below), x.samples, x.channels)

    def _conv(self, x: Sound, part: StreamingConv1d) -> Sound:
        conv, state = part.conv.conv, part._streaming_state
        kernel, stride = conv.kernel_size[0], conv.stride[0]
        kept = kernel - stride
        if type(conv) is not nn.Conv1d or part.pad_mode != "constant" or not _is_plain(conv):
            raise UnknownShapeError
        taps = conv.weight.detach().permute(2, 1, 0)  # [kernel, in, out]
        if not kept:
            made = self._times(self._blocks(x, stride), taps.flatten(0, 1))
        elif kept % stride == 0 and x.samples % kept == 0:
            made = self._from_blocks(x, state, taps, stride)
        elif stride == 1 and kept > x.samples:
            made = self._from_windows(x, state, taps)
        else:
            raise UnknownShapeError
        return self._biased(Sound(made, x.samples // stride, conv.out_channels), conv.bias)

    def _from_blocks(self, x: Sound, state: State, taps: torch.Tensor, stride: int) -> str:
        kernel, channels, out = taps.shape
        kept = kernel - stride
        weight = taps.new_zeros(2 * kept, channels, kept // stride, out)
        for at in range(kept // stride):
            weight[at * stride :, :, at][:kernel] = taps
        for_next, for_own = weight.flatten(2).flatten(0, 1).chunk(2)
        blocks = self._blocks(x, kept)
        before = self._keep(state, "previous", kept * channels)
        self._after.append(self._cut(blocks, -1, _END))
        earlier = self._times(self._shifted(before, blocks), for_next)
        return self._graph.op("Add", self._times(blocks, for_own), earlier)

    def _from_windows(self, x: Sound, state: State, taps: torch.Tensor) -> str:
        """More than a frame is kept: each result is a product over the samples that it is of."""
        kernel, channels, _ = taps.shape
        before = self._keep(state, "previous", (kernel - 1) * channels)
        across = self._graph.op("Concat", before, self._blocks(x, x.samples), axis=2)
        self._after.append(self._cut(across, (1 - kernel) * channels, _END, axis=2))
        windows = [
            self._cut(across, at * channels, (at + kernel) * channels, axis=2)
            for at in range(x.samples)
        ]
        return self._times(self._graph.op("Concat", *windows, axis=1), taps.flatten(0, 1))

    def _transposed(self, x: Sound, part: StreamingConvTranspose1d) -> Sound:
        """Each sample becomes two blocks, the second of which lies over the next one's first."""
        conv = part.convtr.convtr
        kernel, stride = conv.kernel_size[0], conv.stride[0]
        if type(conv) is not nn.ConvTranspose1d or kernel != 2 * stride or not _is_plain(conv):
            raise UnknownShapeError
        own, for_next = conv.weight.detach().permute(0, 2, 1).flatten(1).chunk(2, 1)
        samples = self._blocks(x, 1)
        before = self._keep(part._streaming_state, "partial", stride * conv.out_channels)
        second = self._times(samples, for_next)
        self._after.append(self._cut(second, -1, _END))
        made = self._graph.op("Add", self._times(samples, own), self._shifted(before, second))
        return self._biased(Sound(made, x.samples * stride, conv.out_channels), conv.bias)

    def _biased(self, x: Sound, bias: torch.Tensor | None) -> Sound:
        most = max(BROAD // x.channels, 1)
        times = max(n for n in range(1, most + 1) if x.samples % n == 0)
        value = self._blocks(x, times)
        if bias is not None:
            value = self._graph.op("Add", value, self._graph.constant(bias.detach().repeat(times)))
        return Sound(value, x.samples, x.channels)

    def _times(self, x: str, weight: torch.Tensor) -> str:
        return self._graph.op("MatMul", x, self._graph.constant(weight))

    def _keep(self, state: State, name: str, numbers: int) -> str:
        """Give what has been kept since the last step, as one block."""
        self.kept.append(Kept(state, name))
        start, self._numbers = self._numbers, self._numbers + numbers
        return self._cut(self._before, start, self._numbers, axis=2)

    def _blocks(self, x: Sound, size: int) -> str:
        """Blocks of ``size`` samples: [rows, blocks, numbers in a block]."""
        shape = self._graph.numbers(-1, x.samples // size, size * x.channels)
        return self._graph.op("Reshape", x.value, shape)

    def _shifted(self, first: str, blocks: str) -> str:
        """``first``, and all blocks but the last."""
        return self._graph.op("Concat", first, self._cut(blocks, 0, -1), axis=1)

    def _cut(self, x: str, start: int, end: int, axis: int = 1) -> str:
        numbers = self._graph.numbers
        return self._graph.op("Slice", x, numbers(start), numbers(end), numbers(axis))


def _is_plain(conv: nn.Conv1d | nn.ConvTranspose1d) -> bool:
    return (
        conv.groups == 1
        and conv.dilation[0] == 1
        and conv.weight.dtype == torch.float32
        and conv.weight.device.type == "cpu"
    )
