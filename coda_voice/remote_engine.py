"""An engine that is elsewhere: conversations are held by another server of ours.

The manager leases slots and gets frames as from its own engine, so everything around a
conversation (input chain, turns, events, figures) is the same. A thread with an event loop
holds one connection for each slot. What only a model on this machine can do (frame sum,
prompts exchanged in mid-conversation, snapshots) is refused; where the agent's words come from
(prompt, LLM, memory) is the other server's affair.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import sentencepiece
import torch
from moshi.models import LMModel, MimiModel

from coda_voice.errors import ConfigurationError, ConversationError, VoiceProcessingError
from coda_voice.moshi.capabilities import Capabilities
from coda_voice.moshi.checkpoint import SpeechModels
from coda_voice.moshi.engine import Engine, EngineOptions
from coda_voice.moshi.figures import EngineStats, TickFigures
from coda_voice.moshi.frames import (
    FRAME_SAMPLES,
    FRAME_SECONDS,
    FrameOut,
    Pcm,
    Renewal,
    Sampling,
    StageTimes,
    Word,
)
from coda_voice.moshi.prompt import Prompt
from coda_voice.moshi.slot import Slot, SlotState, Snapshot
from coda_voice.remote import RemoteConversation, RemoteFrame, RemoteMessage, websocket_url

T = TypeVar("T")

USUAL_SLOTS = 8
IN_FLIGHT_FRAMES = 8
"""Frames on their way to the server and back; it holds two seconds at most."""
PACE = 1.4
"""Times real time that a file is sent at: the server lets 1.5 pass."""
BURST_SECONDS = 8.0
_WORD_TOKEN, _PAD_TOKEN = 4, 3
_TINY_TOKENIZER = Path(__file__).parent / "tiny" / "tokenizer.model"


class RemoteEngine(Engine):
    """Speaks through the server at ``endpoint``; ``token`` is what that server wants, if it does.

    Raises ConfigurationError for an address that is none.
    """

    def __init__(self, endpoint: str, token: str | None = None, slots: int | None = None) -> None:
        websocket_url(endpoint, "/")
        super().__init__(_models(), EngineOptions(slots=slots or USUAL_SLOTS))
        self._endpoint = endpoint
        self._token = token
        self._loop: asyncio.AbstractEventLoop | None = None
        self._calls: dict[Slot, _Call] = {}

    # -- what the manager asks -------------------------------------------------------------

    def check(self, prompt: Prompt) -> None:
        """Raise ConfigurationError for a voice prompt: the sample is on this machine."""
        if prompt.voice is not None:
            raise ConfigurationError(
                "moshi.voice_prompt cannot be used with device: cloud; choose one of the server's "
                "voices by ?voice=NAME in the endpoint.",
                setting="moshi.voice_prompt",
            )

    def wake(self) -> None:
        """Have the connections look whether there is something to send."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._wake_calls)

    def mute(self, slot: Slot, muted: bool) -> None:
        """Zero the sound that arrives from now on."""
        call = self._calls.get(slot)
        if call is not None:
            call.muted = muted

    def release(self, slot: Slot) -> None:
        """End the lease and its connection."""
        super().release(slot)
        self.wake()

    def add_references(self, slot: Slot, vectors: torch.Tensor, generation: int) -> None:
        """Count them as dropped: there is no model here to tell them to."""
        slot.counters.dropped_references += len(vectors)

    def drop_references(self, slot: Slot) -> None:
        """Nothing waits."""

    def prime(self, slot: Slot, prompt: Prompt) -> Future[Renewal]:
        """Refuse: the prompt is given when a conversation begins. Raises ConfigurationError."""
        raise ConfigurationError(
            "A remote conversation's prompt cannot be exchanged; begin another one.",
            "remote_prompt",
        )

    def transcribe(self, slot: Slot, on: bool) -> None:
        """Leave it to the server."""

    def flush_transcript(self, slot: Slot) -> Future[tuple[Word, ...]]:
        """Give nothing: the server flushes by itself."""
        flushed: Future[tuple[Word, ...]] = Future()
        flushed.set_result(())
        return flushed

    def snapshot(self, slot: Slot) -> Future[Snapshot]:
        """Refuse, in the future."""
        return _refusal("A remote conversation's state stays on its server.")

    def restore(self, slot: Slot, snapshot: Snapshot) -> Future[None]:
        """Refuse, in the future."""
        return _refusal("A remote conversation's state stays on its server.")

    def stats(self) -> EngineStats:
        """Give slots and frames; ticks are the server's."""
        leased = sum(slot is not None for slot in self._slots)
        return self._figures.stats(self.options.slots, leased, 0, 0)

    # -- the thread ------------------------------------------------------------------------

    def close(self) -> None:
        """End all conversations."""
        with self._changed:
            self._closing = True
        self.wake()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._looked = asyncio.Event()
        self._started.set_result(None)
        tasks: dict[asyncio.Task[None], Slot] = {}
        while not self._closing:
            self._looked.clear()
            with self._changed:
                leased = [slot for slot in self._slots if slot is not None]
            for slot in leased:
                if slot not in self._calls:
                    call = _Call(slot, self._figures, self._endpoint, self._token)
                    self._calls[slot] = call
                    task = asyncio.create_task(call.hold(), name="remote conversation")
                    tasks[task] = slot
                    task.add_done_callback(lambda done: self._looked.set())
            for task, slot in list(tasks.items()):
                if slot not in leased:
                    _cancel_once(task)
                if task.done():
                    del tasks[task]
                    del self._calls[slot]
            for call in self._calls.values():
                call.changed.set()
            await self._looked.wait()
        for task in tasks:
            _cancel_once(task)
        if tasks:
            await asyncio.wait(tasks)
        for slot in tasks.values():
            slot.error, slot.state = "the engine closed", SlotState.ENDED
            slot.notify()

    def _wake_calls(self) -> None:
        self._looked.set()

    def _join(self, slot: Slot, transcribe: bool) -> None:
        """Nothing to do in this thread: the loop finds the slot."""


class _Call:
    """One slot's connection: its frames to the server, the server's into it."""

    def __init__(self, slot: Slot, figures: TickFigures, endpoint: str, token: str | None) -> None:
        self.slot = slot
        self.muted = False
        self._figures = figures
        self.changed = asyncio.Event()
        prompt = {"prompt": slot.prompt.text} if slot.prompt.text else {}
        self._conversation = RemoteConversation(
            endpoint, token, {**prompt, "seed": str(slot.sampling.seed)}
        )
        self._sent: deque[float] = deque(maxlen=4 * IN_FLIGHT_FRAMES)
        self._words: deque[Word] = deque(maxlen=256)
        self._frame = 0

    async def hold(self) -> None:
        """Hold the conversation until its slot is released; what breaks it ends the slot."""
        slot = self.slot
        try:
            async with self._conversation:
                slot.state = SlotState.RUNNING
                sending = asyncio.create_task(self._send(), name="remote sound")
                try:
                    async for message in self._conversation.messages():
                        self._take(message)
                    raise ConversationError("the server has ended the conversation")
                finally:
                    sending.cancel()
                    await asyncio.wait([sending])
        except VoiceProcessingError as error:
            if slot.state is not SlotState.ENDED:
                slot.error, slot.state = error.message, SlotState.FAILED
                slot.notify()

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        heard_until = loop.time()
        while True:
            self.changed.clear()
            room = len(self._sent) < IN_FLIGHT_FRAMES and (
                self.slot.realtime or not self.slot.outbox.full
            )
            frame = self.slot.inbox.get() if room else None
            if frame is None:
                await self.changed.wait()
                continue
            heard_until = max(heard_until, loop.time()) + FRAME_SECONDS / PACE
            ahead = heard_until - loop.time() - BURST_SECONDS
            if ahead > 0:
                await asyncio.sleep(ahead)
            self._sent.append(frame.arrived)
            await self._conversation.send(frame.pcm)

    def _take(self, message: RemoteFrame | RemoteMessage) -> None:
        match message:
            case RemoteFrame(pcm):
                self._deliver(pcm)
            case RemoteMessage(type="transcript") if message.text("speaker") == "agent":
                text = message.text("text")
                if text:
                    start, end = message.number("start"), message.number("end")
                    self._words.append(Word(text, start, end, text.endswith((".", "?", "!"))))
            case RemoteMessage(type="status") if message.text("status") == "dropped":
                for _ in range(min(len(self._sent), round(message.number("frames")))):
                    self._deliver(np.zeros(FRAME_SAMPLES, dtype=np.float32))
            case _:
                pass

    def _deliver(self, pcm: Pcm) -> None:
        if len(pcm) != FRAME_SAMPLES:
            raise ConversationError(
                f"the server sent a frame of {len(pcm)} samples instead of {FRAME_SAMPLES}"
            )
        slot = self.slot
        arrived = self._sent.popleft() if self._sent else time.perf_counter()
        words = tuple(self._words)
        self._words.clear()
        slot.deliver(
            FrameOut(
                frame=self._frame,
                pcm=np.zeros_like(pcm) if self.muted else pcm,
                text_token=_WORD_TOKEN if words else _PAD_TOKEN,
                words=words,
                muted=self.muted,
                generation=slot.generation,
                arrived=arrived,
                times=StageTimes(model=max(0.0, time.perf_counter() - arrived)),
            )
        )
        slot.notify()
        self._frame += 1
        self._figures.frame(late=False)
        self.changed.set()


def _cancel_once(task: asyncio.Task[None]) -> None:
    """Cancel a conversation; one that is taking its leave already is let finish that."""
    if not task.cancelling():
        task.cancel()


def _models() -> SpeechModels:
    """What the manager reads of a checkpoint, where the model is elsewhere."""
    known = Capabilities(
        name="cloud", summary="a server of ours", prompt="system_tags", speaking=False
    )
    return SpeechModels(
        name="cloud",
        folder=Path(),
        capabilities=known,
        # Never touched: everything that would is overridden above.
        mimi=cast("MimiModel", None),
        lm=cast("LMModel", None),
        tokenizer=sentencepiece.SentencePieceProcessor(model_file=str(_TINY_TOKENIZER)),
        device=torch.device("cpu"),
        dtype=torch.float32,
        sampling=Sampling(),
    )


def _refusal(reason: str) -> Future[T]:
    refused: Future[T] = Future()
    refused.set_exception(ConversationError(reason, "remote"))
    return refused
