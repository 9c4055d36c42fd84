"""One user's sound on its way in, and the agent's on its way out.

In: bytes or arrays of any rate, format and chunking → 24 kHz → frames of 1920 → echo out →
noise down → level right → speech events. Out: frames → any rate and format. Each stage is a
setting; a stage that is off costs nothing and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coda_voice.audio.echo import EchoCanceller
from coda_voice.audio.features import level_dbfs
from coda_voice.audio.framing import Framer
from coda_voice.audio.gain import AutomaticGain
from coda_voice.audio.noise import NoiseReducer
from coda_voice.audio.pcm import Encoding, SampleReader, encode_samples
from coda_voice.audio.resample import Resampler, check_rate
from coda_voice.audio.vad import VadEvent, VadFrame, VadSettings, VoiceActivityDetector
from coda_voice.errors import AudioProcessingError, ConfigurationError
from coda_voice.moshi.frames import FRAME_SECONDS, SAMPLE_RATE, Pcm

_INTEGER_ENCODINGS: dict[int, Encoding] = {16: "int16", 24: "int24", 32: "int32"}


@dataclass(frozen=True, slots=True)
class AudioSettings:
    """What the sound at the edge is like, and what is done to it.

    ``sample_rate`` in Hz and ``channels`` (interleaved) hold for what comes in; bare bytes
    are ``encoding``, or where that is None integers of ``bit_depth`` (16, 24 or 32) bits.
    """

    sample_rate: int = SAMPLE_RATE
    channels: int = 1
    bit_depth: int = 16
    encoding: Encoding | None = None
    vad_enabled: bool = True
    vad_threshold: float = 0.5
    silence_duration_ms: int = 500
    noise_reduction: bool = False
    echo_cancellation: bool = False
    auto_gain_control: bool = False

    @property
    def sample_encoding(self) -> Encoding:
        """The byte format that ``encoding`` and ``bit_depth`` together mean."""
        if self.encoding is not None:
            return self.encoding
        if self.bit_depth not in _INTEGER_ENCODINGS:
            raise ConfigurationError(
                f"bit_depth must be 16, 24 or 32, not {self.bit_depth}; for other formats set "
                "encoding to float32, mulaw or alaw.",
                bit_depth=self.bit_depth,
            )
        return _INTEGER_ENCODINGS[self.bit_depth]


@dataclass(frozen=True, slots=True)
class IngestFrame:
    """80 ms of the user, ready for the engine.

    ``pcm``: float32 [1920], 24 kHz, finite, −1…1. ``frame`` counts from 0. ``speech``: voice
    right now (None with VAD off: nobody listened for it); ``in_utterance``: between a start and
    an end event (false with VAD off).
    Event times are seconds of the user's own sound, without the stages' delay.
    """

    frame: int
    pcm: Pcm
    speech: bool | None
    in_utterance: bool
    speech_probability: float
    events: tuple[VadEvent, ...]
    level_dbfs: float

    @property
    def time(self) -> float:
        """Start of the frame in seconds."""
        return self.frame * FRAME_SECONDS


@dataclass(frozen=True, slots=True)
class IngestCounters:
    """What had to be mended, since the start: samples, bytes."""

    frames: int
    bad_samples: int
    clipped_samples: int
    dropped_bytes: int
    reference_dropped: int


class Ingest:
    """The input chain of one conversation; not thread-safe, one caller at a time.

    Delay: the resampler's (0 at 24 kHz, about 15 ms from 16 kHz) and 10 ms each for echo
    cancellation and noise reduction. Raises AudioProcessingError or ConfigurationError for
    settings that cannot be.
    """

    def __init__(self, settings: AudioSettings | None = None) -> None:
        self.settings = settings = settings or AudioSettings()
        self._reader = SampleReader(settings.sample_encoding, settings.channels)
        self._resampler = Resampler(check_rate(settings.sample_rate), SAMPLE_RATE)
        self._framer = Framer()
        self._echo = EchoCanceller() if settings.echo_cancellation else None
        self._noise = NoiseReducer() if settings.noise_reduction else None
        self._gain = AutomaticGain() if settings.auto_gain_control else None
        self._vad = (
            VoiceActivityDetector(VadSettings(settings.vad_threshold, settings.silence_duration_ms))
            if settings.vad_enabled
            else None
        )
        late = sum(stage.delay_samples for stage in (self._echo, self._noise) if stage)
        self._delay = late / SAMPLE_RATE
        self._frames = 0
        self._dropped_bytes = 0
        self._heard_speech: bool | None = None
        self._finished = False

    @property
    def quick(self) -> bool:
        """Whether a frame takes a fraction of a millisecond: nothing but the voice detector."""
        return self._echo is None and self._noise is None

    @property
    def counters(self) -> IngestCounters:
        """What was mended and dropped so far."""
        return IngestCounters(
            frames=self._frames,
            bad_samples=self._reader.bad_samples,
            clipped_samples=self._reader.clipped_samples,
            dropped_bytes=self._dropped_bytes,
            reference_dropped=self._echo.reference_dropped if self._echo else 0,
        )

    def push(
        self,
        audio: bytes | bytearray | memoryview | NDArray[np.float32] | NDArray[np.int16],
        reference: Pcm | None = None,
    ) -> list[IngestFrame]:
        """Take a chunk of any length; give the frames it completes.

        ``audio``: bytes in the settings' format, or an array [samples] or
        [samples, channels]. ``reference``: what the agent was given out with since the last
        call, 24 kHz, for echo cancellation; needs no relation to the chunk's length.
        """
        if self._finished:
            raise AudioProcessingError("This input has been finished; begin a new one.")
        if isinstance(audio, np.ndarray):
            pcm = self._reader.read_array(audio)
        else:
            pcm = self._reader.read_bytes(bytes(audio))
        if reference is not None and self._echo is not None:
            self._echo.hear(reference)
        return [self._frame(frame) for frame in self._framer.push(self._resampler.process(pcm))]

    def finish(self) -> list[IngestFrame]:
        """End of the input: the frames still inside, the last filled with silence.

        Bytes that make no whole sample are dropped and counted; an utterance still open ends.
        n samples at 24 kHz give exactly ceil(n / 1920) frames in all; what the
        enhancing stages hold back at the end (10 ms each) may remain inside.
        """
        if self._finished:
            return []
        self._dropped_bytes += self._reader.finish()
        rest = [self._frame(frame) for frame in self._framer.push(self._resampler.flush())]
        last = self._framer.flush()
        if last is not None:
            rest.append(self._frame(last))
        self._finished = True
        if self._vad is not None and rest:
            closing = self._on_the_users_clock(self._vad.finish())
            rest[-1] = _with_events(rest[-1], closing)
        return rest

    def _frame(self, pcm: Pcm) -> IngestFrame:
        # Resampling rings: between samples at full scale the sound itself goes beyond it.
        pcm = np.clip(pcm, -1.0, 1.0)
        if self._echo is not None:
            pcm = self._echo.process(pcm)
        if self._noise is not None:
            pcm = self._noise.process(pcm)
        if self._gain is not None:
            pcm = self._gain.process(pcm, self._heard_speech)
        heard = VadFrame(False, False, 0.0)
        if self._vad is not None:
            heard = self._on_the_users_clock(self._vad.process(pcm))
            self._heard_speech = heard.is_speech
        frame = IngestFrame(
            frame=self._frames,
            pcm=pcm,
            speech=self._heard_speech,
            in_utterance=heard.in_utterance,
            speech_probability=heard.probability,
            events=heard.events,
            level_dbfs=level_dbfs(pcm),
        )
        self._frames += 1
        return frame

    def _on_the_users_clock(self, heard: VadFrame) -> VadFrame:
        if not self._delay or not heard.events:
            return heard
        events = tuple(
            VadEvent(event.kind, max(event.time - self._delay, 0.0), event.detected_at)
            for event in heard.events
        )
        return VadFrame(heard.is_speech, heard.in_utterance, heard.probability, events)


def _with_events(frame: IngestFrame, closing: VadFrame) -> IngestFrame:
    return IngestFrame(
        frame=frame.frame,
        pcm=frame.pcm,
        speech=frame.speech,
        in_utterance=False,
        speech_probability=frame.speech_probability,
        events=frame.events + closing.events,
        level_dbfs=frame.level_dbfs,
    )


class Outlet:
    """The agent's 24 kHz frames as bytes of any rate and format, mono."""

    def __init__(self, sample_rate: int = SAMPLE_RATE, encoding: Encoding = "int16") -> None:
        self._resampler = Resampler(SAMPLE_RATE, check_rate(sample_rate))
        self.sample_rate = sample_rate
        self.encoding: Encoding = encoding

    def push(self, pcm: Pcm) -> bytes:
        """Give the bytes that are ready after ``pcm``; whole samples, may be none."""
        return encode_samples(self._resampler.process(pcm), self.encoding)

    def finish(self) -> bytes:
        """Give the rest; the next push begins a new stream."""
        return encode_samples(self._resampler.flush(), self.encoding)
