"""Mimi's convolutions as matrix products, for a CPU.

The package's convolutions are [rows, channels, samples], one after the other with few channels and
many samples, where a CPU's convolution is at its worst (a transposed one above all). With the
channels last, each is one product: a convolution whose kernel is twice its stride takes whole
blocks, one that narrows multiplies first and adds shifted results, one that widens takes windows.
States, weights and results are the package's own, the last bits aside.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from moshi.modules.conv import StreamingConv1d, StreamingConvTranspose1d
from moshi.modules.seanet import SEANetDecoder, SEANetEncoder, SEANetResnetBlock
from moshi.modules.streaming import State
from torch import nn

from coda_voice.moshi.helper import Helper
from coda_voice.moshi.working_rows import WorkingRows, padded

LEAST_ROWS = 2
"""To be taken over by the helper: for fewer, calling it costs more."""

FEWEST_SAMPLES = 2
"""That a row gives to a product: two vectors a frame lie between encoder and decoder."""

AT_ONCE = 4
"""Samples that a product gives of a sound; a frame's are a multiple of it."""

RESULTS = 3
"""Kept at once: what goes into a residual block, between its convolutions, and what comes of it."""

LOG2E = 1.4426950408889634


def lean_codec(
    net: SEANetEncoder | SEANetDecoder, working: WorkingRows, helper: Helper
) -> LeanCodec | None:
    """Give the short way for an encoder or decoder in the state in which it streams now.

    None where it is of a shape that this was not made for.
    """
    steps = [_step_of(part) for part in net.model]
    if any(step is None for step in steps):
        return None
    return LeanCodec(net, [step for step in steps if step is not None], working, helper)


class Rows:
    """Some rows of the batch, and room to work on them.

    The room is used again in every frame. Megabytes that come from the C library and go back to it
    twelve times a second leave holes, in which others put what stays: a server grew by it.
    """

    def __init__(self) -> None:
        self.at = slice(None)
        self._rooms: dict[str | int, torch.Tensor] = {}
        self._result = 0

    def room(self, use: str | int, *shape: int) -> torch.Tensor:
        """Room for a float32 tensor, what was in it before being over."""
        size = math.prod(shape)
        kept = self._rooms.get(use)
        if kept is None or len(kept) < size:
            kept = self._rooms[use] = torch.empty(size)
        return kept[:size].view(shape)

    def result(self, *shape: int) -> torch.Tensor:
        """Room for what a convolution gives; the last ``RESULTS`` of them are kept."""
        self._result = (self._result + 1) % RESULTS
        return self.room(self._result, *shape)

    def times(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """X [rows, samples, in] by weight [in, out], before it is a convolution's result."""
        rows, samples, channels = x.shape
        made = self.room("made", rows * samples, weight.shape[1])
        torch.mm(x.view(-1, channels), weight, out=made)
        return made.view(rows, samples, -1)


Step = Callable[[torch.Tensor, Rows], torch.Tensor]
"""float32 [rows, samples, channels] to the same with other samples and channels."""


class LeanCodec:
    """The forward of one half of the codec: [rows, channels, samples] as in the package.

    Of several rows the helper takes half.
    """

    def __init__(
        self,
        net: SEANetEncoder | SEANetDecoder,
        steps: list[Step],
        working: WorkingRows,
        helper: Helper,
    ) -> None:
        self._net = net
        self._state = net._streaming_state
        self._steps = steps
        self._working = working
        self._helper = helper
        self._parts = Rows(), Rows()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Go one step, or the package's way in another state than the one it was made for."""
        if self._net._streaming_state is not self._state:
            whole: torch.Tensor = type(self._net).forward(self._net, x)
            return whole
        working = self._working.of(len(x), FEWEST_SAMPLES)
        return padded(self._step(x[:working].transpose(1, 2).contiguous()), len(x)).transpose(1, 2)

    def _step(self, x: torch.Tensor) -> torch.Tensor:
        first, second = self._parts
        half = len(x) // 2
        if not self._helper.there or half < LEAST_ROWS:
            return self._run(x, slice(len(x)), second)
        helped = self._helper.share(lambda: self._run(x[half:], slice(half, len(x)), second))
        return torch.cat([self._run(x[:half], slice(half), first), helped()])

    def _run(self, x: torch.Tensor, at: slice, part: Rows) -> torch.Tensor:
        part.at = at
        for step in self._steps:
            x = step(x, part)
        return x


def elu(x: torch.Tensor, part: Rows) -> torch.Tensor:
    """ELU as max(x, 2^(x log2 e) - 1): a CPU is three times faster at that than at e^x - 1."""
    out = torch.clamp(x, max=0, out=part.room("elu", *x.shape))
    return torch.maximum(out.mul_(LOG2E).exp2_().sub_(1), x, out=out)


def _step_of(part: nn.Module) -> Step | None:
    if isinstance(part, StreamingConv1d):
        return _conv(part)
    if isinstance(part, StreamingConvTranspose1d):
        return _transposed(part)
    if isinstance(part, nn.ELU) and part.alpha == 1.0:
        return elu
    if isinstance(part, SEANetResnetBlock) and isinstance(part.shortcut, nn.Identity):
        inner = [_step_of(inside) for inside in part.block]
        convolutions = sum(step is not elu for step in inner)
        if convolutions < RESULTS and all(step is not None for step in inner):
            return _Residual([step for step in inner if step is not None])
    return None


class _Residual:
    def __init__(self, steps: list[Step]) -> None:
        self._steps = steps

    def __call__(self, x: torch.Tensor, part: Rows) -> torch.Tensor:
        out = x
        for step in self._steps:
            out = step(out, part)
        return out.add_(x)


def _conv(part: StreamingConv1d) -> Step | None:
    conv = part.conv.conv
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    if type(conv) is not nn.Conv1d or part.pad_mode != "constant" or not _is_plain(conv):
        return None
    if kernel == stride == 1:
        return _Point(conv)
    if kernel == 2 * stride:
        return _Blocks(part, conv)
    if stride > 1:
        return None
    if conv.out_channels > conv.in_channels:
        return _Windows(part, conv)
    return _ToOne(part, conv) if conv.out_channels == 1 else _Shifts(part, conv)


def _transposed(part: StreamingConvTranspose1d) -> Step | None:
    conv = part.convtr.convtr
    if type(conv) is not nn.ConvTranspose1d or not _is_plain(conv):
        return None
    return _Spread(part, conv) if conv.kernel_size[0] == 2 * conv.stride[0] else None


def _is_plain(conv: nn.Conv1d | nn.ConvTranspose1d) -> bool:
    return (
        conv.groups == 1
        and conv.dilation[0] == 1
        and conv.weight.dtype == torch.float32
        and conv.weight.device.type == "cpu"
    )


def _bias(conv: nn.Conv1d | nn.ConvTranspose1d) -> torch.Tensor | None:
    return None if conv.bias is None else conv.bias.detach()


class _Past:
    """What a convolution keeps for its next step, with the channels last.

    The package's own tensor becomes a view of it.
    """

    def __init__(self, state: State, name: str) -> None:
        kept: torch.Tensor = getattr(state, name)
        self.kept = kept.transpose(1, 2).contiguous()
        self._state = state
        setattr(state, name, self.kept.transpose(1, 2))

    def before(self, x: torch.Tensor, part: Rows) -> torch.Tensor:
        """X [rows, samples, channels] with what was kept before it; keeps its end."""
        rows, samples, channels = x.shape
        whole = part.room("whole", rows, self.kept.shape[1] + samples, channels)
        torch.cat([self.kept[part.at], x], 1, out=whole)
        self.keep(whole[:, -self.kept.shape[1] :], part)
        return whole

    def keep(self, new: torch.Tensor, part: Rows) -> None:
        """Keep something else in those of these rows that step."""
        kept = self.kept[part.at]
        torch.where(self._state.exec_mask[part.at, None, None], new, kept, out=kept)


class _Point:
    """Kernel 1: a product for each sample."""

    def __init__(self, conv: nn.Conv1d) -> None:
        self._bias = _bias(conv)
        self._weight = conv.weight[:, :, 0].detach().t()

    def __call__(self, x: torch.Tensor, part: Rows) -> torch.Tensor:
        out = part.result(*x.shape[:2], self._weight.shape[1])
        across, flat = x.view(-1, x.shape[2]), out.view(-1, out.shape[2])
        if self._bias is None:
            torch.mm(across, self._weight, out=flat)
        else:
            torch.addmm(self._bias, across, self._weight, out=flat)
        return out


class _Blocks:
    """Kernel twice the stride: each output is a product of two neighbouring blocks."""

    def __init__(self, part: StreamingConv1d, conv: nn.Conv1d) -> None:
        self._past = _Past(part._streaming_state, "previous")
        self._stride, self._bias = conv.stride[0], _bias(conv)
        out, channels, _ = conv.weight.shape
        halves = conv.weight.detach().view(out, channels, 2, self._stride)
        self._weight = halves.permute(2, 0, 3, 1).flatten(2).flatten(0, 1).contiguous().t()

    def __call__(self, x: torch.Tensor, part: Rows) -> torch.Tensor:
        whole = self._past.before(x, part)
        blocks = whole.view(len(x), -1, self._stride * x.shape[2])
        earlier, later = part.times(blocks, self._weight).chunk(2, -1)
        out = part.result(len(x), earlier.shape[1] - 1, earlier.shape[2])
        torch.add(earlier[:, :-1], later[:, 1:], out=out)
        return out if self._bias is None else out.add_(self._bias)


class _Windows:
    """Few channels to many: a product over each window.

    From one channel, a window gives ``AT_ONCE`` samples: alone it is too narrow for a product.
    """

    def __init__(self, part: StreamingConv1d, conv: nn.Conv1d) -> None:
        self._past = _Past(part._streaming_state, "previous")
        out, channels, kernel = conv.weight.shape
        self._at_once = at_once = AT_ONCE if channels == 1 else 1
        taps = conv.weight.detach().transpose(1, 2).flatten(1).t()
        self._weight = taps.new_zeros((at_once - 1 + kernel) * channels, at_once, out)
        for sample in range(at_once):
            self._weight[sample * channels :, sample][: kernel * channels] = taps
        self._weight = self._weight.flatten(1)
        bias = _bias(conv)
        self._bias = taps.new_zeros(out * at_once) if bias is None else bias.repeat(at_once)

    def __call__(self, x: torch.Tensor, part: Rows) -> torch.Tensor:
        rows, samples, channels = x.shape
        whole = self._past.before(x, part)
        shape = rows, samples // self._at_once, len(self._weight)
        apart = whole.stride(0), self._at_once * channels, 1
        windows = part.room("windows", *shape).copy_(whole.as_strided(shape, apart))
        out = part.result(rows, samples, self._weight.shape[1] // self._at_once)
        flat = out.view(-1, self._weight.shape[1])
        torch.addmm(self._bias, windows.view(-1, shape[2]), self._weight, out=flat)
        return out


class _Shifts:
    """Many channels to few: a product for each tap of the kernel, added up shifted."""

    def __init__(self, part: StreamingConv1d, conv: nn.Conv1d) -> None:
        self._past = _Past(part._streaming_state, "previous")
        self._bias, self._out = _bias(conv), conv.out_channels
        self._kernel = conv.kernel_size[0]
        self._weight = conv.weight.detach().permute(2, 0, 1).flatten(0, 1).contiguous().t()

    def __call__(self, x: torch.Tensor, part: Rows) -> torch.Tensor:
        rows, samples, _ = x.shape
        made = part.times(self._past.before(x, part), self._weight)
        taps = made.view(rows, -1, self._kernel, self._out)
        out = part.result(rows, samples, self._out)
        torch.add(taps[:, :samples, 0], taps[:, 1 : samples + 1, 1], out=out)
        for tap in range(2, self._kernel):
            out += taps[:, tap : samples + tap, tap]
        return out if self._bias is None else out.add_(self._bias)


class _ToOne:
    """Many channels to one: the same with each tap's products side by side."""

    def __init__(self, part: StreamingConv1d, conv: nn.Conv1d) -> None:
        self._past = _Past(part._streaming_state, "previous")
        self._bias = _bias(conv)
        self._weight = conv.weight.detach()[0].t().contiguous()  # [kernel, in]

    def __call__(self, x: torch.Tensor, part: Rows) -> torch.Tensor:
        rows, samples, channels = x.shape
        whole = self._past.before(x, part)
        made = part.room("made", len(self._weight), rows * whole.shape[1])
        torch.mm(self._weight, whole.view(-1, channels).t(), out=made)
        taps = made.view(len(self._weight), rows, -1)
        out = part.result(rows, samples)
        torch.add(taps[0, :, :samples], taps[1, :, 1 : samples + 1], out=out)
        for tap in range(2, len(self._weight)):
            out += taps[tap, :, tap : samples + tap]
        out = out.unsqueeze(-1)
        return out if self._bias is None else out.add_(self._bias)


class _Spread:
    """A transposed convolution: each sample becomes two blocks, which overlap by one."""

    def __init__(self, part: StreamingConvTranspose1d, conv: nn.ConvTranspose1d) -> None:
        self._past = _Past(part._streaming_state, "partial")
        self._stride, self._out, self._bias = conv.stride[0], conv.out_channels, _bias(conv)
        self._weight = conv.weight.detach().permute(2, 1, 0).flatten(0, 1).contiguous().t()

    def __call__(self, x: torch.Tensor, part: Rows) -> torch.Tensor:
        rows, samples, _ = x.shape
        first, second = part.times(x, self._weight).chunk(2, -1)  # [rows, samples, stride * out]
        before = part.room("whole", *second.shape)
        torch.cat([self._past.kept[part.at].view(rows, 1, -1), second[:, :-1]], 1, out=before)
        self._past.keep(second[:, -1].view(rows, self._stride, self._out), part)
        out = part.result(rows, samples * self._stride, self._out)
        torch.add(first, before, out=out.view(first.shape))
        return out if self._bias is None else out.add_(self._bias)
