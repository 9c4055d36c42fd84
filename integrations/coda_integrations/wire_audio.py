"""Sound as a foreign protocol carries it, to 24 kHz samples and back."""

from __future__ import annotations

from dataclasses import dataclass

from coda_voice.audio.ingest import Outlet
from coda_voice.audio.pcm import Encoding, SampleReader
from coda_voice.audio.resample import Resampler
from coda_voice.moshi.frames import SAMPLE_RATE, Pcm


@dataclass(frozen=True, slots=True)
class WireFormat:
    """Mono samples on the wire: how a sample is written, and how many there are a second."""

    encoding: Encoding = "int16"
    sample_rate: int = SAMPLE_RATE

    @property
    def bytes_per_second(self) -> int:
        """What a second of sound takes."""
        return self.sample_rate * (2 if self.encoding == "int16" else 1)

    def outlet(self) -> Outlet:
        """Begin a stream of 24 kHz frames out."""
        return Outlet(self.sample_rate, self.encoding)


PCM_24K = WireFormat()
MULAW_8K = WireFormat("mulaw", 8_000)
ALAW_8K = WireFormat("alaw", 8_000)


class FromWire:
    """A stream of a wire's bytes as 24 kHz samples; a sample may be cut between two chunks."""

    def __init__(self, wire: WireFormat) -> None:
        self.wire = wire
        self._reader = SampleReader(wire.encoding, 1)
        self._resampler = Resampler(wire.sample_rate, SAMPLE_RATE)

    def process(self, data: bytes) -> Pcm:
        """Give the samples that are ready after ``data``."""
        return self._resampler.process(self._reader.read_bytes(data))
