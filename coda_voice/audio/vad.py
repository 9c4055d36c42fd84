"""Who speaks when: Silero's voice activity detector as a stream of start and end events.

Model: Silero VAD (MIT licence), the ONNX file inside the silero-vad package, run by
onnxruntime alone. It hears 16 kHz in windows of 512 samples, each led by the last 64 of
the window before, and keeps a state of 2 × 128 numbers per stream; the network itself is
loaded once and shared. Start above ``threshold``, end below ``threshold`` − 0.15: the
hysteresis of Silero's own iterator.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from coda_voice.audio.framing import Framer
from coda_voice.audio.resample import Resampler
from coda_voice.errors import ConfigurationError, ModelLoadingError
from coda_voice.moshi.frames import SAMPLE_RATE, Pcm

VAD_RATE = 16_000
WINDOW_SAMPLES = 512
WINDOW_SECONDS = WINDOW_SAMPLES / VAD_RATE
_CONTEXT_SAMPLES = 64
_HYSTERESIS = 0.15


@dataclass(frozen=True, slots=True)
class VadEvent:
    """Speech began or ended at ``time``; it was known ``detected_at``.

    Seconds since the stream's first sample. An end is known only after the silence that
    proves it, so ``detected_at`` − ``time`` is about ``silence_duration_ms`` there.
    """

    kind: Literal["start", "end"]
    time: float
    detected_at: float


@dataclass(frozen=True, slots=True)
class VadFrame:
    """What one frame held: ``is_speech`` right now, its highest ``probability``, events.

    ``is_speech`` follows the voice itself and falls silent between words; between a start
    and an end event ``in_utterance`` is true throughout.
    """

    is_speech: bool
    in_utterance: bool
    probability: float
    events: tuple[VadEvent, ...] = ()


@dataclass(frozen=True, slots=True)
class VadSettings:
    """``threshold`` 0–1: what counts as voice. Times in milliseconds.

    A start needs ``min_speech_ms`` of voice, an end ``silence_duration_ms`` without.
    """

    threshold: float = 0.5
    silence_duration_ms: int = 500
    min_speech_ms: int = 64

    def __post_init__(self) -> None:
        if not 0.0 < self.threshold < 1.0:
            raise ConfigurationError(
                f"vad_threshold must be between 0 and 1, not {self.threshold}.",
                vad_threshold=self.threshold,
            )
        if self.silence_duration_ms < 0 or self.min_speech_ms < 0:
            raise ConfigurationError("silence_duration_ms must not be negative.")


def _model_path() -> Path:
    # find_spec locates the package without running it: importing it would import torch.
    spec = importlib.util.find_spec("silero_vad")
    places = spec.submodule_search_locations if spec else None
    path = Path(next(iter(places))) / "data" / "silero_vad_16k_sequence.onnx" if places else None
    if path is None or not path.is_file():
        raise ModelLoadingError(
            "The voice activity detector's model is missing: install the silero-vad package "
            "(pip install 'silero-vad>=6.2.2,<7'), or set vad_enabled: false.",
            path=str(path),
        )
    return path


@functools.cache
def _session() -> onnxruntime.InferenceSession:
    """Load the network, once for all streams: running it is thread-safe, it has no state."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Sound that fades into digital silence leaves denormal numbers: ten times slower.
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    return onnxruntime.InferenceSession(
        str(_model_path()), sess_options=options, providers=["CPUExecutionProvider"]
    )


class SileroModel:
    """The network with one stream's state: probabilities of speech, window by window.

    In the form that takes several windows at once: the same numbers to the last bit as one by one,
    at half the time for the two or three of a frame.
    """

    def __init__(self) -> None:
        self._session = _session()
        self.reset()

    def reset(self) -> None:
        """Begin a new stream."""
        self._hidden: NDArray[np.float32] = np.zeros((1, 1, 128), dtype=np.float32)
        self._cell: NDArray[np.float32] = np.zeros((1, 1, 128), dtype=np.float32)
        self._context: NDArray[np.float32] = np.zeros(_CONTEXT_SAMPLES, dtype=np.float32)

    def probabilities(self, windows: Sequence[Pcm]) -> list[float]:
        """Probability that each of ``windows`` (512 samples, 16 kHz) holds speech."""
        if not windows:
            return []
        stream = np.concatenate([self._context, *windows])
        led = sliding_window_view(stream, _CONTEXT_SAMPLES + WINDOW_SAMPLES)[::WINDOW_SAMPLES]
        self._context = stream[-_CONTEXT_SAMPLES:]
        given = np.ascontiguousarray(led)
        found, self._hidden, self._cell = self._session.run(
            None, {"input": given, "h": self._hidden, "c": self._cell}
        )
        return [float(probability) for probability in found]


class VoiceActivityDetector:
    """One stream of 24 kHz frames (of any length) to speech events.

    State per stream, about 5 KB; 0.2 ms of CPU a frame. Windows lag the frames by the
    resampler's 10 ms and by up to one window of 32 ms.
    """

    def __init__(self, settings: VadSettings | None = None) -> None:
        self.settings = settings or VadSettings()
        self._model = SileroModel()
        self._resampler = Resampler(SAMPLE_RATE, VAD_RATE)
        self._framer = Framer(WINDOW_SAMPLES)
        self._exit_threshold = max(self.settings.threshold - _HYSTERESIS, 0.01)
        self.reset()

    def reset(self) -> None:
        """Begin a new stream at time 0."""
        self._model.reset()
        self._resampler.reset()
        self._framer.reset()
        self._heard = 0
        self._windows = 0
        self._voiced = False
        self._voice_began = 0.0
        self._voice_ended = 0.0
        self._in_utterance = False
        self._probability = 0.0

    def process(self, pcm: Pcm) -> VadFrame:
        """Take the next frame and tell what is known now."""
        self._heard += len(pcm)
        return self._windows_of(self._resampler.process(pcm))

    def finish(self) -> VadFrame:
        """End of the stream: an utterance still open ends here. Begins a new stream."""
        last = self._windows_of(self._resampler.flush())
        events = last.events
        now = self._heard / SAMPLE_RATE
        if self._in_utterance:
            ended = now if self._voiced else self._voice_ended
            events += (VadEvent("end", min(ended, now), now),)
        self.reset()
        return VadFrame(last.is_speech, False, last.probability, events)

    def _windows_of(self, pcm16k: Pcm) -> VadFrame:
        events: list[VadEvent] = []
        is_speech = self._voiced
        highest: float | None = None
        for probability in self._model.probabilities(self._framer.push(pcm16k)):
            event = self._advance(probability)
            if event is not None:
                events.append(event)
            is_speech = self._voiced
            highest = probability if highest is None else max(highest, probability)
        if highest is not None:
            self._probability = highest
        return VadFrame(is_speech, self._in_utterance, self._probability, tuple(events))

    def _advance(self, probability: float) -> VadEvent | None:
        """One window's step of the two-threshold state machine."""
        began = self._windows * WINDOW_SECONDS
        self._windows += 1
        now = self._windows * WINDOW_SECONDS
        known = self._heard / SAMPLE_RATE
        if not self._voiced and probability >= self.settings.threshold:
            self._voiced = True
            if not self._in_utterance:
                self._voice_began = began
        elif self._voiced and probability < self._exit_threshold:
            self._voiced = False
            # The network lets go two windows late on average; one is taken back, so that no
            # end is ever dated before the last sound by more than a window.
            self._voice_ended = max(began - WINDOW_SECONDS, self._voice_began)
        if self._voiced == self._in_utterance:
            return None
        if self._voiced and _ms(now - self._voice_began) >= self.settings.min_speech_ms:
            self._in_utterance = True
            return VadEvent("start", self._voice_began, known)
        if not self._voiced and _ms(now - self._voice_ended) >= self.settings.silence_duration_ms:
            self._in_utterance = False
            return VadEvent("end", self._voice_ended, known)
        return None


def _ms(seconds: float) -> float:
    return seconds * 1_000
