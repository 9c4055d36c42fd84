"""Sampling with settings and a seed per slot, independent of who shares the batch.

The moshi package samples a whole batch with one temperature, one top-k and one random
stream. Here every row has its own, and its noise is a pure function of (seed, frame,
stream, token): a conversation repeats itself whatever slot it got and whoever joined
meanwhile, a snapshot needs no generator state, and CUDA graphs can hold it all.

Sources: the Gumbel-max trick (Gumbel 1954; Maddison et al. 2014, "A* sampling") for drawing
from a softmax with an argmax; the finaliser of SplitMix64 (Steele et al. 2014) as the hash.
"""

from __future__ import annotations

import math
from numbers import Integral, Real

import torch

from coda_voice.errors import ValidationError
from coda_voice.moshi.frames import Sampling

# SplitMix64's constants, as signed 64-bit integers: torch has no unsigned arithmetic.
_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX_1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_MIX_2 = 0x94D049BB133111EB - (1 << 64)
_STREAM = 0x632BE59BD9B4E019

_MANY = 4
"""A top k of a quarter of all tokens is many: with as few, the winner of all is mostly among it."""


def checked_sampling(sampling: object) -> Sampling:
    """Give ``sampling`` back if a slot can be set so; the engine's thread must not find out.

    Raises ValidationError for another type, temperatures that are no numbers from 0 on,
    and numbers of tokens and seeds that are not whole.
    """
    if not isinstance(sampling, Sampling):
        raise ValidationError(
            f"sampling is {type(sampling).__name__}; give a coda_voice.moshi.frames.Sampling, or "
            "none for what is configured.",
            "bad_sampling",
        )
    for name in ("temperature", "text_temperature"):
        value = getattr(sampling, name)
        if not isinstance(value, Real) or not math.isfinite(value) or value < 0:
            raise ValidationError(
                f"sampling.{name} is {value!r:.40}; give a number from 0 (greedy) to about 1.",
                "bad_sampling",
            )
    for name, least in (("top_k", 0), ("text_top_k", 0), ("seed", None)):
        value = getattr(sampling, name)
        if not isinstance(value, Integral) or (least is not None and value < least):
            raise ValidationError(
                f"sampling.{name} is {value!r:.40}; give a whole number"
                + ("." if least is None else ", 0 for no limit of its own."),
                "bad_sampling",
            )
    return sampling


def _signed(x: int) -> int:
    """Wrap an integer into int64's range, as the tensors' arithmetic does."""
    return (x + (1 << 63)) % (1 << 64) - (1 << 63)


def _stream(stream: int) -> int:
    """Where a stream's noise begins: 0 is the text, 1 and up the audio codebooks."""
    return _signed((stream + 1) * _STREAM)


def _shift(x: torch.Tensor, bits: int) -> torch.Tensor:
    """Logical right shift of int64 (torch's own keeps the sign)."""
    return (x >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def _hash_(x: torch.Tensor) -> torch.Tensor:
    """Hash int64 in place."""
    x.bitwise_xor_(_shift(x, 30)).mul_(_MIX_1)
    x.bitwise_xor_(_shift(x, 27)).mul_(_MIX_2)
    return x.bitwise_xor_(_shift(x, 31))


def _gumbel(start: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Noise of ``tokens`` int64 [..., n]; the random streams begin at ``start`` int64 [...]."""
    bits = _hash_(_hash_(start.clone())[..., None] + tokens * _GOLDEN)
    # 24 bits fill a float32's mantissa; the half keeps it away from 0 and 1.
    uniform = _shift(bits, 40).float().add_(0.5).mul_(2.0**-24)
    return uniform.log_().neg_().log_().neg_()


class SlotSampler:
    """Draws one token per slot from logits.

    All per-slot settings live in tensors that are only ever written in place, so a
    captured CUDA graph sees every change. Nobody draws from more than the ``max_top_k``
    likeliest tokens; a ``top_k`` of 0 means that many. The noise of ``codebooks`` audio
    streams is made at once on a CPU.
    """

    def __init__(
        self, slots: int, device: torch.device, max_top_k: int = 250, codebooks: int = 8
    ) -> None:
        self.slots = slots
        self.max_top_k = max_top_k
        self._seed = torch.zeros(slots, dtype=torch.long, device=device)
        self._frame = torch.zeros(slots, dtype=torch.long, device=device)
        self._temperature = torch.ones(2, slots, 1, device=device)
        self._stochastic = torch.zeros(2, slots, 1, device=device)
        self._top_k = torch.ones(2, slots, 1, dtype=torch.long, device=device)
        self._greedy = [True] * slots
        self._widths = [[1, 1] for _ in range(slots)]
        self._ranks = torch.arange(max_top_k, device=device)[None]
        self._on_cpu = device.type == "cpu"
        self._streams = torch.tensor([_stream(1 + book) for book in range(codebooks)])
        self._noise: torch.Tensor | None = None
        """Of the audio streams in this frame: float32 [codebooks, n, card]."""

    def configure(self, row: int, sampling: Sampling) -> None:
        """Give ``row`` its settings and start its random stream anew."""
        self._seed[row] = _signed(int(sampling.seed))
        self._frame[row] = 0
        self._noise = None
        pairs = (
            (sampling.text_temperature, sampling.text_top_k),
            (sampling.temperature, sampling.top_k),
        )
        for kind, (temperature, top_k) in enumerate(pairs):
            warm = temperature > 0
            self._temperature[kind, row] = temperature if warm else 1.0
            self._stochastic[kind, row] = float(warm)
            width = min(top_k, self.max_top_k) if top_k > 0 else self.max_top_k
            self._top_k[kind, row] = width
            self._widths[row][kind] = width if warm else 1
        self._greedy[row] = all(temperature <= 0 for temperature, _ in pairs)

    @property
    def all_greedy(self) -> bool:
        """Whether nothing at all is drawn, so that a plain argmax does (CPU only).

        On a GPU this is always False: which kernels run must not depend on the
        conversations once a graph has been captured.
        """
        return self._on_cpu and all(self._greedy)

    @property
    def greedy_codes(self) -> bool:
        """Whether no slot draws its audio codes, so that the likeliest do (CPU only)."""
        return self._on_cpu and all(width == 1 for _, width in self._widths)

    def _width(self, kind: int) -> int:
        """So many of the likeliest tokens have to be looked at.

        It changes nothing that is drawn: noise belongs to tokens, not to ranks. On a GPU it
        is fixed, since a captured graph cannot change its shapes.
        """
        if not self._on_cpu:
            return self.max_top_k
        return max(widths[kind] for widths in self._widths)

    def advance(self, mask: torch.Tensor) -> None:
        """Move the rows of ``mask`` (bool [slots]) on by one frame."""
        self._frame.add_(mask)
        self._noise = None

    def position(self, row: int) -> int:
        """Frames drawn so far by ``row`` (a host synchronisation: snapshots only)."""
        return int(self._frame[row])

    def rewind(self, row: int, position: int) -> None:
        """Continue the random stream of ``row`` at ``position``."""
        self._frame[row] = position
        self._noise = None

    def draw(self, logits: torch.Tensor, stream: int) -> torch.Tensor:
        """Draw tokens [n] from ``logits`` [n, card] of the first n slots.

        ``stream`` 0 is the text, 1 and up the audio codebooks: each has its own noise.
        """
        kind = min(stream, 1)
        k = min(self._width(kind), logits.shape[-1])
        if k == 1:
            return logits.argmax(dim=-1)
        if self._on_cpu and 0 < stream <= len(self._streams) and k >= logits.shape[-1] // _MANY:
            drawn = self._draw_of_all(logits.float(), stream)
            if drawn is not None:
                return drawn
        values, tokens = logits.float().topk(k, dim=-1)
        rows = len(logits)
        noise = _gumbel(self._start(rows) + _stream(stream), tokens)
        noise *= self._stochastic[kind, :rows]
        scores = values / self._temperature[kind, :rows] + noise
        scores.masked_fill_(self._ranks[:, :k] >= self._top_k[kind, :rows], float("-inf"))
        picked = scores.argmax(dim=-1, keepdim=True)
        return tokens.gather(-1, picked)[:, 0]

    def _draw_of_all(self, logits: torch.Tensor, stream: int) -> torch.Tensor | None:
        """Draw from all tokens: who wins there and is among the top k also wins among those.

        None where a winner is not. For many of few tokens that is rare, and finding the top k
        costs a CPU five times as much as asking how many are likelier than the winner.
        """
        rows, card = logits.shape
        if self._noise is None or self._noise.shape[1:] != logits.shape:
            noise = _gumbel(self._start(rows) + self._streams[:, None], torch.arange(card))
            self._noise = noise.mul_(self._stochastic[1, :rows])
        scores = logits / self._temperature[1, :rows] + self._noise[stream - 1]
        picked = scores.argmax(dim=-1, keepdim=True)
        likelier = (logits > logits.gather(-1, picked)).sum(-1, keepdim=True)
        return picked[:, 0] if bool((likelier < self._top_k[1, :rows]).all()) else None

    def _start(self, rows: int) -> torch.Tensor:
        return self._seed[:rows] * _GOLDEN + self._frame[:rows] * _MIX_1
