"""Raw samples: their byte formats, down-mixing, and samples that are no numbers."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from coda_voice.audio import telephony
from coda_voice.errors import AudioProcessingError
from coda_voice.moshi.frames import Pcm

Encoding = Literal["int16", "int24", "int32", "float32", "mulaw", "alaw"]
BYTES_PER_SAMPLE: dict[Encoding, int] = {
    "int16": 2,
    "int24": 3,
    "int32": 4,
    "float32": 4,
    "mulaw": 1,
    "alaw": 1,
}
"""Byte formats, all little-endian, interleaved."""
MAX_CHANNELS = 64


def decode_samples(data: bytes, encoding: Encoding) -> Pcm:
    """Whole samples of ``encoding`` as float32, −1…1 for integer formats."""
    match encoding:
        case "int16":
            return telephony.from_int16(np.frombuffer(data, dtype="<i2").astype(np.int16))
        case "int24":
            # Three bytes become the upper three of four: the sign comes for free.
            wide = np.zeros((len(data) // 3, 4), dtype=np.uint8)
            wide[:, 1:] = np.frombuffer(data, dtype=np.uint8).reshape(-1, 3)
            return wide.view("<i4").ravel().astype(np.float32) / np.float32(2**31)
        case "int32":
            return np.frombuffer(data, dtype="<i4").astype(np.float32) / np.float32(2**31)
        case "float32":
            return np.frombuffer(data, dtype="<f4").astype(np.float32)
        case "mulaw" | "alaw":
            return telephony.decode(data, encoding)


def encode_samples(pcm: Pcm, encoding: Encoding) -> bytes:
    """float32 in −1…1 as bytes; integer formats are rounded, and clipped beyond −1…1."""
    match encoding:
        case "int16":
            return telephony.to_int16(pcm).astype("<i2", copy=False).tobytes()
        case "int24":
            wide = np.clip(np.rint(pcm.astype(np.float64) * 2**23), -(2**23), 2**23 - 1)
            return wide.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
        case "int32":
            wide = np.clip(np.rint(pcm.astype(np.float64) * 2**31), -(2**31), 2**31 - 1)
            return wide.astype("<i4").tobytes()
        case "float32":
            return pcm.astype("<f4").tobytes()
        case "mulaw" | "alaw":
            return telephony.encode(pcm, encoding)


def sanitise(samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
    """Give ``samples`` with NaN and ±Inf replaced by silence, and how many there were."""
    finite = np.isfinite(samples)
    bad = samples.size - int(np.count_nonzero(finite))
    if not bad:
        return samples, 0
    return np.where(finite, samples, np.float32(0.0)), bad


def downmix(samples: NDArray[np.float32], channels: int) -> Pcm:
    """Give the mean of ``channels`` interleaved channels."""
    if channels == 1:
        return samples.ravel()
    mono: Pcm = samples.reshape(-1, channels).mean(axis=1, dtype=np.float32)
    return mono


class SampleReader:
    """Chunks of bytes (or arrays) of one format as mono float32 samples, finite and in −1…1.

    A chunk may end anywhere, also within a sample: the rest of the sample is expected at
    the head of the next chunk. Counters: ``bad_samples`` (NaN and ±Inf, replaced by
    silence) and ``clipped_samples`` (beyond −1…1, which only float formats can hold).

    Raises AudioProcessingError for a channel count or an array that makes no sense.
    """

    def __init__(self, encoding: Encoding = "int16", channels: int = 1) -> None:
        if not 1 <= channels <= MAX_CHANNELS:
            raise AudioProcessingError(
                f"{channels} channels cannot be used; give 1 to {MAX_CHANNELS}.", channels=channels
            )
        if encoding not in BYTES_PER_SAMPLE:
            known = ", ".join(BYTES_PER_SAMPLE)
            raise AudioProcessingError(
                f"Unknown sample encoding {encoding!r}; one of: {known}.", encoding=encoding
            )
        self.encoding: Encoding = encoding
        self.channels = channels
        self.bad_samples = 0
        self.clipped_samples = 0
        self._step = BYTES_PER_SAMPLE[encoding] * channels
        self._carried = b""

    def read_bytes(self, data: bytes) -> Pcm:
        """Give the samples that ``data`` completes."""
        if self._carried:
            data = self._carried + data
        whole = len(data) // self._step * self._step
        self._carried = bytes(data[whole:])
        return self._clean(decode_samples(data[:whole], self.encoding))

    def read_array(self, samples: NDArray[np.float32] | NDArray[np.int16]) -> Pcm:
        """Take samples that are numbers already: [n] mono, or [n, channels]; float or int16."""
        if samples.ndim not in (1, 2) or (samples.ndim == 2 and not 1 <= samples.shape[1] <= 64):
            raise AudioProcessingError(
                f"An array of shape {samples.shape} is no audio; give [samples] or "
                "[samples, channels].",
                shape=samples.shape,
            )
        if samples.dtype == np.int16:
            values = telephony.from_int16(samples.astype(np.int16))
        elif np.issubdtype(samples.dtype, np.floating):
            # Numbers too large for float32 become infinite here and silence below.
            with np.errstate(over="ignore"):
                values = samples.astype(np.float32)
        else:
            raise AudioProcessingError(
                f"Samples of type {samples.dtype} are not understood; give float32 in −1…1 "
                "or int16.",
                dtype=str(samples.dtype),
            )
        return self._clean(values, samples.shape[1] if samples.ndim == 2 else 1)

    def finish(self) -> int:
        """End of the stream: drops the incomplete sample, and says how many bytes it had."""
        dropped = len(self._carried)
        self._carried = b""
        return dropped

    def _clean(self, samples: NDArray[np.float32], channels: int | None = None) -> Pcm:
        samples, bad = sanitise(samples)
        self.bad_samples += bad
        mono = downmix(samples, self.channels if channels is None else channels)
        if mono.size and float(np.abs(mono).max()) > 1.0:
            self.clipped_samples += int(np.count_nonzero(np.abs(mono) > 1.0))
            mono = np.clip(mono, np.float32(-1.0), np.float32(1.0))
        return mono
