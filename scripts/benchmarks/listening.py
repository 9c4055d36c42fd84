"""The transcriber: what it costs a tick, and how soon and how rightly it writes."""

from __future__ import annotations

import statistics
import threading
import time
from dataclasses import asdict, dataclass

import numpy as np
import torch

from coda_voice.audio.ingest import Ingest
from coda_voice.moshi.batch import SlotBatch
from coda_voice.moshi.checkpoint import SpeechModels
from coda_voice.moshi.engine import Engine
from coda_voice.moshi.frames import FRAME_SECONDS, FrameOut, Pcm, Sampling, Word
from coda_voice.moshi.transcript import AGREED_FRAMES, UserTranscript

_WAIT_SECONDS = 120.0
_TAIL_SECONDS = 1.0


@dataclass(frozen=True)
class Cost:
    """Processor milliseconds of the stepping thread: other work on the machine counts less."""

    conversations: int
    tick_ms_without: float
    tick_ms_with: float
    ratio: float
    flush_ms: float
    real_time_factor: float


def measure_cost(
    models: SpeechModels, conversations: int, frames: list[Pcm], rounds: int
) -> dict[str, object]:
    """Tick with and without the transcriber, turn about, over the same frames."""
    torch.set_num_threads(1)
    batch = SlotBatch(models, conversations, history_frames=100)
    rows = range(conversations)
    for row in rows:
        batch.reset(row, Sampling(seed=row))
    taken: dict[bool, list[float]] = {True: [], False: []}
    flushes = []
    for number in range(rounds * 2):
        on = number % 2 == 0
        for row in rows:
            batch.transcribe(row, on)
        for frame in frames:
            started = time.thread_time()
            batch.step([frame] * conversations)
            taken[on].append(time.thread_time() - started)
        if on:
            started = time.thread_time()
            batch.flush_transcripts([0], AGREED_FRAMES)
            flushes.append(time.thread_time() - started)
    with_it, without = (1e3 * statistics.median(taken[on]) for on in (True, False))
    return asdict(
        Cost(
            conversations=conversations,
            tick_ms_without=without,
            tick_ms_with=with_it,
            ratio=with_it / without,
            flush_ms=1e3 * statistics.median(flushes),
            real_time_factor=with_it / 1e3 / FRAME_SECONDS,
        )
    )


@dataclass(frozen=True)
class Heard:
    """How one recording was written down; seconds after the speech began or ended."""

    said: str
    written: str
    word_error_rate: float
    first_word_off: float | None
    last_word_known: float | None
    dropped_in_silence: int


def listen(engine: Engine, pcm: Pcm, said: str, onset: float, offset: float) -> dict[str, object]:
    """Have one recording written down, with voice detector and flush as in a conversation."""
    tail = np.zeros(int(24_000 * _TAIL_SECONDS), dtype=np.float32)
    out = _run(engine, np.concatenate([pcm, tail]).astype(np.float32))
    transcript = UserTranscript()
    for frame in out:
        transcript.push(frame)
    words = transcript.utterance.words
    last = max((frame.time + FRAME_SECONDS for frame in out if frame.user_words), default=None)
    return asdict(
        Heard(
            said=said,
            written=transcript.utterance.text,
            word_error_rate=word_error_rate(said, words),
            first_word_off=words[0].start - onset if words else None,
            last_word_known=None if last is None else last - offset,
            dropped_in_silence=transcript.silence_dropped,
        )
    )


def _run(engine: Engine, pcm: Pcm) -> list[FrameOut]:
    changed = threading.Event()
    slot = engine.lease(realtime=False, transcribe=True, on_output=changed.set)
    out: list[FrameOut] = []
    for frame in Ingest().push(pcm):
        while not slot.push(frame.pcm, voiced=frame.speech):
            changed.wait(_WAIT_SECONDS)
            changed.clear()
            out += slot.take()
    slot.finish()
    while not slot.drained:
        changed.wait(_WAIT_SECONDS)
        changed.clear()
        out += slot.take()
    out += slot.take()
    slot.release()
    return out


def word_error_rate(said: str, words: tuple[Word, ...]) -> float:
    """Insertions, deletions and substitutions for each word that was said."""
    wanted = said.lower().replace(",", "").split()
    heard = [word.text.lower() for word in words]
    line = list(range(len(heard) + 1))
    for i, one in enumerate(wanted, start=1):
        before, line[0] = line[0], i
        for j, other in enumerate(heard, start=1):
            change = before + (one != other)
            before, line[j] = line[j], min(change, line[j] + 1, line[j - 1] + 1)
    return line[-1] / len(wanted)
