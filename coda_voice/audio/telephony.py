"""G.711 for telephone lines: µ-law and A-law to float32 and back, and 8 kHz to 24 kHz.

Source: ITU-T Recommendation G.711 (11/88), tables 1a/1b (A-law) and 2a/2b (µ-law). The
standard's 14-bit (µ-law) and 13-bit (A-law) values stand at the top of a 16-bit word, as
in every telephony interface; on the line the even bits of A-law and all bits of µ-law are
inverted, and a µ-law byte of 0xFF is zero.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from coda_voice.audio.resample import Resampler
from coda_voice.moshi.frames import SAMPLE_RATE, Pcm

Law = Literal["mulaw", "alaw"]
TELEPHONE_RATE = 8_000
"""Hz; what G.711 carries."""

_MULAW_BIAS = 0x84
_MULAW_CLIP = 32_635


def _mulaw_values() -> NDArray[np.int16]:
    """Give the 16-bit value of each µ-law byte."""
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    exponent = (code >> 4) & 7
    magnitude = (((code & 15) << 3) + _MULAW_BIAS << exponent) - _MULAW_BIAS
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _alaw_values() -> NDArray[np.int16]:
    """Give the 16-bit value of each A-law byte."""
    code = np.arange(256, dtype=np.int32) ^ 0x55
    exponent = (code >> 4) & 7
    mantissa = ((code & 15) << 4) + 8
    magnitude = np.where(exponent > 0, (mantissa + 0x100) << np.maximum(exponent - 1, 0), mantissa)
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


def _mulaw_codes() -> NDArray[np.uint8]:
    """Give the µ-law byte of each 16-bit value, indexed by the value's bits as uint16."""
    value = np.arange(65_536, dtype=np.uint16).view(np.int16).astype(np.int32)
    # The standard's values have 14 bits: what is below is cut off before the sign is taken.
    magnitude = np.abs(value >> 2) << 2
    biased = np.minimum(magnitude, _MULAW_CLIP) + _MULAW_BIAS
    exponent = np.floor(np.log2(biased)).astype(np.int32) - 7
    mantissa = (biased >> (exponent + 3)) & 15
    sign = np.where(value < 0, 0x80, 0)
    codes: NDArray[np.uint8] = (~(sign | (exponent << 4) | mantissa) & 0xFF).astype(np.uint8)
    return codes


def _alaw_codes() -> NDArray[np.uint8]:
    """Give the A-law byte of each 16-bit value, indexed by the value's bits as uint16."""
    value = np.arange(65_536, dtype=np.uint16).view(np.int16).astype(np.int32) >> 3
    # Negative values are counted from −1, so that both halves have 4096 values.
    magnitude = np.where(value < 0, -value - 1, value)
    exponent = np.maximum(np.floor(np.log2(np.maximum(magnitude, 1))).astype(np.int32) - 4, 0)
    mantissa = np.where(exponent > 1, magnitude >> exponent, magnitude >> 1) & 15
    sign = np.where(value < 0, 0, 0x80)
    codes: NDArray[np.uint8] = ((sign | (exponent << 4) | mantissa) ^ 0x55).astype(np.uint8)
    return codes


_VALUES: dict[Law, NDArray[np.int16]] = {"mulaw": _mulaw_values(), "alaw": _alaw_values()}
_CODES: dict[Law, NDArray[np.uint8]] = {"mulaw": _mulaw_codes(), "alaw": _alaw_codes()}


def to_int16(pcm: Pcm) -> NDArray[np.int16]:
    """float32 in −1…1 as 16-bit integers, rounded, clipped."""
    scaled = np.multiply(pcm, np.float32(32_768.0), dtype=np.float32)
    np.rint(scaled, out=scaled)
    values: NDArray[np.int16] = scaled.clip(-32_768, 32_767, out=scaled).astype(np.int16)
    return values


def from_int16(values: NDArray[np.int16]) -> Pcm:
    """16-bit integers as float32 in −1…1."""
    return values.astype(np.float32) / np.float32(32_768.0)


def encode_int16(values: NDArray[np.int16], law: Law) -> bytes:
    """One byte for each 16-bit sample."""
    return _CODES[law][values.view(np.uint16)].tobytes()


def decode_int16(data: bytes, law: Law) -> NDArray[np.int16]:
    """One 16-bit sample for each byte."""
    return _VALUES[law][np.frombuffer(data, dtype=np.uint8)]


def encode(pcm: Pcm, law: Law) -> bytes:
    """float32 samples in −1…1 (clipped beyond) as G.711 bytes, same rate."""
    return encode_int16(to_int16(pcm), law)


def decode(data: bytes, law: Law) -> Pcm:
    """G.711 bytes as float32 samples in −1…1, same rate."""
    return from_int16(decode_int16(data, law))


class FromTelephone:
    """A line's bytes (8 kHz) as a stream of 24 kHz samples."""

    def __init__(self, law: Law) -> None:
        self._law: Law = law
        self._resampler = Resampler(TELEPHONE_RATE, SAMPLE_RATE)

    def process(self, data: bytes) -> Pcm:
        """Give the samples that are ready after ``data``."""
        return self._resampler.process(decode(data, self._law))

    def flush(self) -> Pcm:
        """Give the rest; begins a new stream."""
        return self._resampler.flush()


class ToTelephone:
    """A stream of 24 kHz samples as a line's bytes (8 kHz)."""

    def __init__(self, law: Law) -> None:
        self._law: Law = law
        self._resampler = Resampler(SAMPLE_RATE, TELEPHONE_RATE)

    def process(self, pcm: Pcm) -> bytes:
        """Give the bytes that are ready after ``pcm``."""
        return encode(self._resampler.process(pcm), self._law)

    def flush(self) -> bytes:
        """Give the rest; begins a new stream."""
        return encode(self._resampler.flush(), self._law)
