"""Audio into a conversation and the agent's frames out of it: streams and whole utterances.

A stream is full duplex: while the caller's iterator is drained, the agent's frames come
out, one for each 80 ms that went in. Nothing in between is unbounded:

- audio that comes as it is spoken is never held up; where the engine does not keep up, the
  slot drops the oldest frames and counts them
- audio that comes faster than it was spoken (a file) can wait, so it does: the iterator is
  only asked again when there is room, and nothing is lost
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from contextlib import aclosing

import numpy as np
from numpy.typing import NDArray

from coda_voice.analytics import Mean
from coda_voice.audio.ingest import Ingest, IngestFrame, Outlet
from coda_voice.audio.quality import QualityMeter
from coda_voice.conversation import Conversation
from coda_voice.errors import ValidationError
from coda_voice.events import SpeechStarted, TurnLatency
from coda_voice.heard import Heard
from coda_voice.models import VoiceStreamChunk
from coda_voice.moshi.frames import FRAME_SECONDS, Pcm
from coda_voice.turns import UserSpeech

AudioChunk = bytes | bytearray | memoryview | NDArray[np.float32] | NDArray[np.int16]
"""PCM as the settings say it is, or samples that are numbers already."""

PIPELINE_FRAMES = 8
"""Frames of a file on their way at once: enough to keep the engine busy, no more."""
LIVE_SHARE = 0.5
"""A source that made us wait for at least this share of its sound is live."""
SETTLED_SECONDS = 1.0
"""An agent that spoke and has been silent for so long has finished its answer."""
UNANSWERED_SECONDS = 5.0
"""An agent that said nothing for so long after the end of the input will not answer."""
LONGEST_ANSWER_SECONDS = 60.0
"""An answer is cut here, so that a model that never stops does not hold the caller for ever."""
_TAIL_FRAMES = 3
"""Kept after the agent's last sound, for its fading out."""
_ONSET_FRAMES = 8
"""An onset is certain only some frames later: so many are remembered."""
_SLICE_SECONDS = 1.0
_ECHO_FRAMES = 12
"""The agent's frames that may wait to be matched with their echo: about a second."""


class Intake:
    """Moves a source of audio through the input chain into a conversation's slot."""

    def __init__(self, conversation: Conversation, ingest: Ingest, pool: Executor) -> None:
        self.conversation = conversation
        self.ingest = ingest
        self.room = asyncio.Event()
        self.quality = QualityMeter()
        self._agent: deque[Pcm] = deque(maxlen=_ECHO_FRAMES)
        self._pool = pool
        self._started = conversation.offered_seconds
        self._dropped_before = conversation.dropped_frames
        self._waited = 0.0
        self._seconds = 0.0

    async def drain(self, source: AsyncIterable[AudioChunk], *, to_be_continued: bool) -> None:
        """Move everything; ``to_be_continued`` keeps back what does not fill a frame.

        Raises ValidationError for a chunk that is no audio at all.
        """
        chunks = aiter(source)
        while not self.conversation.at_limit:
            asked = time.perf_counter()
            try:
                chunk = await anext(chunks)
            except StopAsyncIteration:
                break
            arrived = time.perf_counter()
            self._waited += arrived - asked
            await self.put(_checked(chunk), arrived)
        if not to_be_continued:
            await self._offer(await self._in_pool(self._finish))

    async def put(self, chunk: AudioChunk, arrived: float | None = None) -> None:
        """Move one chunk, waiting for room unless its source is live."""
        frames = await self._in_pool(lambda: self._push(chunk))
        self._seconds += len(frames) * FRAME_SECONDS
        # What comes as fast as it is spoken cannot wait; what comes faster can.
        self.conversation.live = self._waited > LIVE_SHARE * self._seconds
        await self._offer(frames, arrived if self.conversation.live else None)

    def spoken(self, heard: Sequence[Heard]) -> None:
        """Learn what the agent said: there is room again, and its echo may come back."""
        self.room.set()
        if self.ingest.settings.echo_cancellation:
            self._agent.extend(h.frame.pcm for h in heard)

    async def _in_pool(self, work: Callable[[], list[IngestFrame]]) -> list[IngestFrame]:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def _push(self, chunk: AudioChunk) -> list[IngestFrame]:
        reference = [self._agent.popleft() for _ in range(len(self._agent))]
        frames = self.ingest.push(chunk, np.concatenate(reference) if reference else None)
        return self._judged(frames)

    def _finish(self) -> list[IngestFrame]:
        return self._judged(self.ingest.finish())

    def _judged(self, frames: list[IngestFrame]) -> list[IngestFrame]:
        for frame in frames:
            self.quality.push(frame.pcm)
        return frames

    async def _offer(self, frames: Sequence[IngestFrame], arrived: float | None = None) -> None:
        talk = self.conversation
        for frame in frames:
            if talk.at_limit:
                return
            while not talk.live and talk.in_flight >= PIPELINE_FRAMES:
                await self._wait_for_room()
            speech = [UserSpeech(e.kind, self._on_frame_clock(e.time)) for e in frame.events]
            while not talk.offer(frame.pcm, speech, arrived, frame.speech):
                await self._wait_for_room()

    def _on_frame_clock(self, seconds: float) -> float:
        lost = self.conversation.dropped_frames - self._dropped_before
        return max(0.0, self._started + seconds - lost * FRAME_SECONDS)

    async def _wait_for_room(self) -> None:
        self.room.clear()
        await self.room.wait()


def _checked(chunk: AudioChunk) -> AudioChunk:
    if isinstance(chunk, (bytes, bytearray, memoryview, np.ndarray)):
        return chunk
    raise ValidationError(
        f"A chunk of the audio stream is {type(chunk).__name__}; give bytes of PCM, or an "
        "array of float32 samples.",
        "not_audio",
    )


async def stream(
    conversation: Conversation,
    source: AsyncIterable[AudioChunk],
    ingest: Ingest,
    pool: Executor,
    *,
    finish_answer: bool = False,
) -> AsyncGenerator[Heard, None]:
    """Give the agent's frames while ``source`` is drained, then those still on their way.

    ``finish_answer``: the end of the source is the end of the user's turn; go on in
    silence until the agent has said its answer. Leaving the generator early leaves the
    conversation usable. Raises ConversationError when the conversation ends meanwhile.
    """
    async with conversation.exclusively():
        began = conversation.seconds
        intake = Intake(conversation, ingest, pool)
        task = asyncio.create_task(intake.drain(source, to_be_continued=finish_answer))
        task.add_done_callback(lambda _: conversation.nudge())
        try:
            while not (task.done() and not conversation.in_flight):
                await conversation.output_ready()
                for heard in _take(conversation, intake):
                    yield heard
            await task  # raises what the source or its audio raised
            if finish_answer:
                async for heard in _until_answered(conversation, intake, began):
                    yield heard
        finally:
            task.cancel()
            await asyncio.wait([task])
            conversation.judged(intake.quality.quality())
            if not task.cancelled():
                task.exception()  # raised above, or nobody is left to raise it to


def _take(conversation: Conversation, intake: Intake) -> list[Heard]:
    heard = conversation.take()
    intake.spoken(heard)
    return heard


async def _until_answered(
    conversation: Conversation, intake: Intake, began: float
) -> AsyncIterator[Heard]:
    """Let the user be silent, frame by frame, until the agent has finished.

    One frame at a time, so that where the answer ends depends on the frames alone.
    """
    input_end = conversation.seconds
    samples = round(intake.ingest.settings.sample_rate * FRAME_SECONDS)
    silence = np.zeros(samples, dtype=np.float32)
    while not _answered(conversation, began, input_end) and not conversation.at_limit:
        await intake.put(silence)
        while conversation.in_flight:
            await conversation.output_ready()
            for heard in _take(conversation, intake):
                yield heard


def _answered(conversation: Conversation, began: float, input_end: float) -> bool:
    who, now = conversation.tracker, conversation.seconds
    if now - input_end >= LONGEST_ANSWER_SECONDS:
        return True
    if who.user_speaking or who.agent_speaking:
        return False
    asked = who.user_last_spoke
    if asked is None or asked < began:
        asked = input_end
    spoken = who.agent_last_spoke
    if spoken is not None and spoken > asked:
        return now - spoken >= SETTLED_SECONDS
    return now - input_end >= UNANSWERED_SECONDS


class Answer:
    """What the agent said to one utterance, gathered from the frames of its stream."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.turn_latency: float | None = None
        """Seconds from the end of the user's speech to the agent's first sound."""
        self.model_seconds = Mean()
        self._before: deque[Heard] = deque(maxlen=_ONSET_FRAMES)
        self._spoken: list[Pcm] = []
        self._until_last_sound = 0

    def add(self, heard: Heard) -> None:
        """Take in the next frame."""
        times = heard.frame.times
        self.model_seconds.add(times.encode + times.model + times.decode)
        self.words += [word.text for word in heard.frame.words]
        for event in heard.events:
            if isinstance(event, TurnLatency) and self.turn_latency is None:
                self.turn_latency = event.seconds
        if self._spoken:
            self._spoken.append(heard.frame.pcm)
        else:
            self._before.append(heard)
            began = _agent_began(heard)
            if began is not None:
                first = began - 1.5 * FRAME_SECONDS
                self._spoken = [h.frame.pcm for h in self._before if h.frame.time >= first]
        if self._spoken and heard.loud:
            self._until_last_sound = len(self._spoken)

    @property
    def text(self) -> str:
        """The agent's words."""
        return " ".join(self.words)

    @property
    def pcm(self) -> Pcm:
        """Its sound, 24 kHz, from first to last; empty when it said nothing."""
        kept = self._spoken[: self._until_last_sound + _TAIL_FRAMES]
        return np.concatenate(kept) if kept else np.zeros(0, dtype=np.float32)


def _agent_began(heard: Heard) -> float | None:
    for event in heard.events:
        if isinstance(event, SpeechStarted) and event.speaker == "agent":
            return event.time
    return heard.frame.time if heard.agent_speaking else None


async def answer(conversation: Conversation, pcm: Pcm, ingest: Ingest, pool: Executor) -> Answer:
    """Say the whole of ``pcm`` (at the rate of ``ingest``) and wait for the agent's answer.

    It ends when the agent has been silent for 1 s after having spoken, or 5 s after the end
    of the input when it says nothing; an answer of over 60 s is cut.
    """
    gathered = Answer()
    heard_frames = stream(conversation, _slices(pcm, ingest), ingest, pool, finish_answer=True)
    async with aclosing(heard_frames):
        async for heard in heard_frames:
            gathered.add(heard)
    return gathered


async def _slices(pcm: Pcm, ingest: Ingest) -> AsyncIterator[AudioChunk]:
    length = round(ingest.settings.sample_rate * _SLICE_SECONDS)
    for begin in range(0, len(pcm), length):
        yield pcm[begin : begin + length]


def chunk_of(
    conversation: Conversation, index: int, heard: Heard, outlet: Outlet, *, first_words: bool
) -> VoiceStreamChunk:
    """Give a frame as the chunk a caller of the manager gets."""
    text = heard.text
    return VoiceStreamChunk(
        conversation_id=conversation.id,
        chunk_index=index,
        audio_data=outlet.push(heard.frame.pcm),
        text_content=text,
        text_delta=text if first_words or not text else f" {text}",
        chunk_type="text" if text else "audio",
        processing_latency_ms=heard.frame.times.total * 1000.0,
        time=heard.frame.time,
        user_speaking=heard.user_speaking,
        agent_speaking=heard.agent_speaking,
        dropped_frames=conversation.dropped_frames,
    )
