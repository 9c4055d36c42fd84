"""What goes into the engine and what comes out, one 80 ms frame at a time.

These types are the seam between the engine's thread and everybody else: plain
values, no torch in them, so a consumer need not know how a frame was made.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 24_000
"""Hz; what Mimi hears and speaks."""
FRAME_SAMPLES = 1_920
"""Samples in a frame."""
FRAME_RATE = 12.5
"""Frames a second: the frame clock."""
FRAME_SECONDS = 1 / FRAME_RATE

Pcm = NDArray[np.float32]
"""Mono samples, -1…1."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one conversation samples its tokens.

    Temperatures of 0 mean greedy. The same seed gives the same conversation for the
    same audio, whoever shares the batch.
    """

    temperature: float = 0.8
    top_k: int = 250
    text_temperature: float = 0.7
    text_top_k: int = 25
    seed: int = 0

    @classmethod
    def greedy(cls) -> Sampling:
        """The most likely token, always."""
        return cls(temperature=0.0, top_k=1, text_temperature=0.0, text_top_k=1)


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the inner monologue (or of a transcript), with its time in the audio.

    ``start`` and ``end`` are seconds on the conversation's own frame clock.
    """

    text: str
    start: float
    end: float
    sentence_end: bool = False


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Seconds a frame spent in each stage, measured from its arrival.

    ``engine_busy`` is that part of ``queued`` in which the engine was still stepping the tick
    before: the price of sharing it. What is left of ``queued`` was spent on the way to it.
    ``transcribe`` is what was waited for it: with a free core it goes on beside the model.
    """

    queued: float = 0.0
    encode: float = 0.0
    model: float = 0.0
    decode: float = 0.0
    transcribe: float = 0.0
    engine_busy: float = 0.0

    @property
    def compute(self) -> float:
        """What the models took."""
        return self.encode + self.model + self.decode + self.transcribe

    @property
    def total(self) -> float:
        """From the arrival of the user's frame to the agent's frame being ready."""
        return self.queued + self.compute


@dataclass(frozen=True, slots=True)
class Renewal:
    """A slot was rebuilt beside the running one and swapped before this frame.

    It now remembers ``prompt_frames`` of prompt and the last ``kept_frames`` it lived.
    """

    prompt_frames: int
    kept_frames: int


@dataclass(frozen=True, slots=True)
class OtherSound:
    """What is heard in a frame in Moshi's place: float32 [1920] (None: Moshi after all), and
    the words of the other voice that are complete with it.
    """

    pcm: Pcm | None
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class FrameOut:
    """What the engine made of one frame of the user's audio.

    ``frame`` counts from 0 on the conversation's clock; the agent's ``pcm`` belongs to
    the same 80 ms as the user's frame of that number. ``text_token`` is the monologue's
    token of that frame (None on the very first, where the model has said nothing yet).

    Where a transcriber runs: ``user_words`` are the user's words that became known with
    this frame, with their times in the user's audio (they lie about half a second back);
    ``user_partial`` is what is written so far of a word that is not complete, or "";
    ``pause`` the probability that the user stays silent for the next 0.5, 1, 2 and 3 s
    (None: the transcriber has no such heads). They are as the recogniser gives them:
    ``transcript.UserTranscript`` drops what was invented in silence, and the agent's echo.
    ``voiced`` is what the caller's voice detector said of the user's frame, None unknown.

    ``other_voice``: ``pcm`` is not Moshi's, who is not heard meanwhile; ``other_words`` are
    that voice's own, and ``words`` still what Moshi would have been heard to say.
    """

    frame: int
    pcm: Pcm
    text_token: int | None
    words: tuple[Word, ...] = ()
    forced: bool = False
    muted: bool = False
    generation: int = 0
    arrived: float = 0.0
    times: StageTimes = field(default_factory=StageTimes)
    renewed: Renewal | None = None
    user_words: tuple[Word, ...] = ()
    user_partial: str = ""
    pause: tuple[float, ...] | None = None
    voiced: bool | None = None
    other_voice: bool = False
    other_words: tuple[Word, ...] = ()

    @property
    def time(self) -> float:
        """Start of the frame in seconds."""
        return self.frame * FRAME_SECONDS
