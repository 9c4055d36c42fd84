"""VoiceManager: starts, feeds and ends conversations. The way in for an embedding program.

    async with VoiceManager({"moshi": {"device": "cpu"}}) as manager:
        conversation = await manager.start_conversation()
        response = await manager.process_voice_input(conversation, wav_bytes)

A manager owns one engine, whose slots its conversations lease. Every call works on one
conversation, and what goes wrong in it leaves the others alone. For one event loop.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from coda_voice.analytics import Analytics, milliseconds
from coda_voice.audio.ingest import Ingest
from coda_voice.caller_audio import CallerAudio
from coda_voice.conversation import Conversation, Surroundings
from coda_voice.errors import (
    ComponentNotInitializedError,
    ConversationError,
    ValidationError,
    VoiceInitializationError,
    VoiceProcessingError,
)
from coda_voice.events import EventBus, SettingWithoutEffect
from coda_voice.exchange import AudioChunk, answer, chunk_of, stream
from coda_voice.handover import UNUSED, HandedOver
from coda_voice.logs import Logs
from coda_voice.models import (
    ConversationState,
    Health,
    SystemStatus,
    VoiceAnalytics,
    VoiceResponse,
    VoiceStreamChunk,
)
from coda_voice.moshi.engine import Engine
from coda_voice.moshi.frames import FRAME_RATE, SAMPLE_RATE
from coda_voice.moshi.prompt import Prompt
from coda_voice.startup import (
    ConfigLike,
    as_config,
    audio_settings_of,
    open_engine,
    prompt_of,
    refuse_what_is_not_here,
    sampling_of,
)

REMEMBERED_ENDS = 1024
"""So many ended conversations are remembered, to tell "has ended" from "never was"."""
AUDIO_THREADS = 2
"""For the input chains: they must not hold up the event loop."""


class VoiceManager(HandedOver):
    """Voice conversations with Moshi, several at once.

    ``config``: a VoiceConfig, a dict or YAML path of any shape VoiceConfig reads, or None
    for the defaults (coda-tiny, on whatever machine this is). ``engine``: a running engine
    to share; without one the manager starts and closes its own. ``idle_timeout``: seconds
    after which an untouched conversation is ended; None for never.

    Everything that happens is published on ``events``.
    """

    def __init__(
        self,
        config: ConfigLike | None = None,
        *,
        engine: Engine | None = None,
        idle_timeout: float | None = None,
    ) -> None:
        super().__init__(EventBus())
        self.config = as_config(config)
        self.idle_timeout = idle_timeout
        self._shared_engine = engine
        self._engine: Engine | None = None
        self._prompt: Prompt | None = None
        self._analytics = Analytics()
        self._logs: Logs | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._watch: asyncio.Task[None] | None = None
        self._conversations: dict[str, Conversation] = {}
        self._ended: OrderedDict[str, str] = OrderedDict()
        self._started_at = time.monotonic()
        self._starting = asyncio.Lock()

    # ---- life -------------------------------------------------------------------------

    async def initialize(self, config: ConfigLike | None = None) -> None:
        """Load the checkpoint and start the engine; again without a config does nothing.

        Raises UnsupportedModeError, ConfigurationError, ModelLoadingError,
        VRAMAllocationError, or VoiceInitializationError when already running otherwise.
        """
        async with self._starting:
            if self._engine is not None:
                if config is not None:
                    raise VoiceInitializationError(
                        "The manager is running with another configuration; shutdown() first."
                    )
                return
            if config is not None:
                self.config = as_config(config)
            refuse_what_is_not_here(self.config)
            if self._shared_engine is not None and not self._shared_engine.running:
                raise VoiceInitializationError(
                    "The engine given to the manager is not running; start() it first."
                )
            Ingest(audio_settings_of(self.config))  # settings that cannot be fail now
            self._prompt = await asyncio.to_thread(prompt_of, self.config)
            logs = Logs(self.config.logging)
            logs.open()
            try:
                if self._shared_engine is not None:
                    self._shared_engine.check(self._prompt or Prompt())
                self._engine = self._shared_engine or await asyncio.to_thread(
                    open_engine, self.config, self._prompt
                )
            except BaseException:
                logs.close()
                raise
            self._logs = logs
            self._stop_logging = self.events.listen(logs.event)
            self._pool = ThreadPoolExecutor(AUDIO_THREADS, thread_name_prefix="coda-audio")
            self._started_at = time.monotonic()
            for setting in self.config.settings_without_effect():
                self.events.publish(
                    SettingWithoutEffect(
                        conversation_id="", setting=setting.setting, reason=setting.reason
                    )
                )
            if self.idle_timeout is not None:
                self._watch = asyncio.create_task(self._end_idle(self.idle_timeout))

    async def shutdown(self) -> None:
        """End all conversations and stop the engine. May be called twice."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
            self._watch = None
        for conversation in list(self._conversations.values()):
            self._end(conversation, "shutdown")
        engine, self._engine = self._engine, None
        if engine is not None and engine is not self._shared_engine:
            await asyncio.to_thread(engine.close)
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
        if self._logs is not None:
            self._stop_logging()
            await asyncio.to_thread(self._logs.close)
            self._logs = None

    async def cleanup(self) -> None:
        """Release everything: the same as ``shutdown``, by Coda's other name."""
        await self.shutdown()

    async def __aenter__(self) -> Self:
        """Initialize."""
        await self.initialize()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Shut down."""
        await self.shutdown()

    def _running(self) -> tuple[Engine, ThreadPoolExecutor, Logs]:
        if self._engine is None or self._pool is None or self._logs is None:
            raise ComponentNotInitializedError(
                "The voice manager is not running; call `await manager.initialize()` first."
            )
        return self._engine, self._pool, self._logs

    # ---- conversations ----------------------------------------------------------------

    async def start_conversation(
        self, user_id: str | None = None, conversation_id: str | None = None
    ) -> str:
        """Begin a conversation and give its id (``conversation_id``, or a new one).

        Raises SlotsFullError when every slot is taken, ConversationError when a
        conversation of that id is going on, ValidationError for an id that is no text.
        """
        engine, _, logs = self._running()
        if conversation_id is None:
            conversation_id = str(uuid.uuid4())
        if not isinstance(conversation_id, str) or not conversation_id.strip():
            raise ValidationError(
                f"conversation_id {conversation_id!r} is no name for a conversation; give a text "
                "that is not empty, or none to have one made.",
                "bad_conversation_id",
            )
        if conversation_id in self._conversations:
            raise ConversationError(
                f"Conversation {conversation_id!r} is going on already; end it first or use "
                "another id.",
                "conversation_exists",
                conversation_id=conversation_id,
            )
        limit = self.config.conversation_limit_seconds
        conversation = Conversation(
            conversation_id,
            Surroundings(self.events, self._analytics, logs),
            user_id=user_id,
            limit_frames=None if limit is None else round(limit * FRAME_RATE),
        )
        conversation.open(engine, sampling_of(self.config, engine.models.sampling), self._prompt)
        self._conversations[conversation_id] = conversation
        self._ended.pop(conversation_id, None)
        return conversation_id

    async def end_conversation(self, conversation_id: str) -> None:
        """End a conversation; its slot is free at once.

        Raises ConversationError for an id that is unknown or was ended by you before. One
        that the manager ended (length limit, idleness) may be ended once more in silence:
        you could not know.
        """
        conversation = self._conversations.get(conversation_id)
        if conversation is None and self._ended.get(conversation_id, "ended") != "ended":
            self._ended[conversation_id] = "ended"
            return
        self._end(self._conversation(conversation_id), "ended")

    def get_active_conversations(self) -> list[str]:
        """Give the ids of the conversations that are going on."""
        return list(self._conversations)

    def get_conversation_state(self, conversation_id: str) -> ConversationState | None:
        """Give the state of a conversation; None if no such one is going on."""
        conversation = self._conversations.get(conversation_id)
        return None if conversation is None else conversation.state()

    def conversation(self, conversation_id: str) -> Conversation:
        """Give the conversation itself, for edges that feed frames on their own."""
        return self._conversation(conversation_id)

    def _conversation(self, conversation_id: str) -> Conversation:
        self._running()
        conversation = self._conversations.get(conversation_id)
        if conversation is not None:
            return conversation
        reason = self._ended.get(conversation_id)
        raise ConversationError(
            f"There is no conversation {conversation_id!r}; start_conversation() gives ids."
            if reason is None
            else f"Conversation {conversation_id!r} has ended ({reason}); start a new one.",
            "unknown_conversation" if reason is None else "conversation_ended",
            conversation_id=conversation_id,
        )

    def _end(self, conversation: Conversation, reason: str) -> None:
        self._conversations.pop(conversation.id, None)
        self._ended[conversation.id] = reason
        while len(self._ended) > REMEMBERED_ENDS:
            self._ended.popitem(last=False)
        conversation.close(reason)

    async def _end_idle(self, after: float) -> None:
        while True:
            await asyncio.sleep(min(1.0, after / 2))
            for conversation in list(self._conversations.values()):
                idle = datetime.now(UTC) - conversation.last_activity
                if not conversation.busy and idle.total_seconds() >= after:
                    self._end(conversation, "idle")

    @contextmanager
    def _call_on(self, conversation: Conversation) -> Iterator[None]:
        """Count a call; report its failure and the end of a conversation at its limit."""
        self._analytics.calls += 1
        try:
            yield
        except VoiceProcessingError as error:
            conversation.failed(error.error_code, error.message)
            raise
        finally:
            if conversation.at_limit and conversation.ended is None:
                self._end(conversation, "max_conversation_length")

    # ---- audio ------------------------------------------------------------------------

    async def process_voice_input(self, conversation_id: str, audio_data: bytes) -> VoiceResponse:
        """Say one whole utterance to the agent and give its whole answer.

        ``audio_data``: a WAV, FLAC, OGG or MP3 file, or bare PCM as configured. Runs as
        fast as the machine allows. The answer ends when the agent has been silent for 1 s
        after having spoken, or 5 s after the input when it says nothing (then the response
        is empty); after 60 s it is cut. Raises AudioProcessingError for bytes that are no
        audio, ConversationError for a conversation that is unknown or busy.
        """
        called = time.perf_counter()
        conversation = self._conversation(conversation_id)
        _, pool, _ = self._running()
        with self._call_on(conversation):
            caller = CallerAudio(self.config.audio)
            loop = asyncio.get_running_loop()
            pcm = await loop.run_in_executor(pool, caller.decode, audio_data)
            ingest = Ingest(audio_settings_of(self.config, SAMPLE_RATE))
            said = await answer(conversation, pcm, ingest, pool)
            sound, seconds = await loop.run_in_executor(pool, caller.encode, said.pcm)
        quality = conversation.quality
        return VoiceResponse(
            conversation_id=conversation_id,
            audio_data=sound,
            audio_format=self.config.audio.format,
            text_content=said.text,
            duration_ms=seconds * 1000.0,
            total_latency_ms=(time.perf_counter() - called) * 1000.0,
            moshi_latency_ms=milliseconds(said.model_seconds.value),
            turn_latency_ms=milliseconds(said.turn_latency),
            audio_quality_score=quality.score if quality else None,
        )

    async def process_voice_stream(
        self,
        conversation_id: str,
        audio_stream: AsyncIterable[AudioChunk],
        *,
        finish_answer: bool | None = None,
    ) -> AsyncGenerator[VoiceStreamChunk, None]:
        """Talk in full duplex: the agent's chunks come out while the user's audio goes in.

        ``audio_stream`` gives bare PCM as configured (or float32 arrays) in chunks of any
        length. One chunk comes out for each 80 ms, aligned in time; the last one has
        ``is_complete``. Live audio is never held up (what does not fit is dropped and
        counted); faster audio is only asked for when there is room. With ``finish_answer``
        the end of the stream is the end of a turn, and the agent finishes its answer; None
        takes it from ``conversation_mode``: so in all but full_duplex.
        Breaking off leaves the conversation as it is, ready for the next call.
        """
        conversation = self._conversation(conversation_id)
        _, pool, _ = self._running()
        if not isinstance(audio_stream, AsyncIterable):
            raise ValidationError(
                f"audio_stream is {type(audio_stream).__name__}; give an async iterator of PCM "
                "bytes (an async generator, for example).",
                "not_a_stream",
            )
        outlet = CallerAudio(self.config.audio).outlet()
        index, spoken = 0, False
        with self._call_on(conversation):
            ingest = Ingest(audio_settings_of(self.config))
            if finish_answer is None:
                finish_answer = self.config.conversation_mode != "full_duplex"
            frames = stream(conversation, audio_stream, ingest, pool, finish_answer=finish_answer)
            async with aclosing(frames):
                async for heard in frames:
                    yield chunk_of(conversation, index, heard, outlet, first_words=not spoken)
                    spoken = spoken or bool(heard.text)
                    index += 1
        yield VoiceStreamChunk(
            conversation_id=conversation_id,
            chunk_index=index,
            audio_data=outlet.finish(),
            is_complete=True,
            chunk_type="end",
            time=conversation.seconds,
            dropped_frames=conversation.dropped_frames,
        )

    # ---- looking ----------------------------------------------------------------------

    async def get_analytics(self) -> VoiceAnalytics:
        """Give the measured figures since the manager was made."""
        device = None if self._engine is None else str(self._engine.models.device)
        return await asyncio.to_thread(
            self._analytics.report, device=device, active=len(self._conversations)
        )

    async def health_check(self) -> Health:
        """Tell whether conversations can go on, and whether new ones can start."""
        engine = self._engine
        stats = None if engine is None else engine.stats()
        checks = {
            "initialized": engine is not None,
            "engine_running": engine is not None and engine.running,
            "slot_free": stats is not None and stats.leased < stats.slots,
        }
        if all(checks.values()):
            return Health(status="healthy", checks=checks)
        if checks["engine_running"]:
            return Health(
                status="degraded", checks=checks, detail="every slot is leased: none can join"
            )
        return Health(
            status="unhealthy",
            checks=checks,
            detail="the engine has stopped; initialize() the manager again"
            if checks["initialized"]
            else "initialize() has not been called",
        )

    def is_healthy(self) -> bool:
        """Tell whether the engine runs."""
        return self._engine is not None and self._engine.running

    async def get_system_status(self) -> SystemStatus:
        """Give a picture of the whole: engine, conversations, integrations, figures."""
        engine = self._engine
        stats = None if engine is None else engine.stats()
        handed_over = {kind: kind in self._managers for kind in UNUSED}
        idle_settings = {s.setting: s.reason for s in self.config.settings_without_effect()}
        idle_settings |= {f"{k}_manager": UNUSED[k] for k, there in handed_over.items() if there}
        return SystemStatus(
            initialized=engine is not None,
            healthy=self.is_healthy(),
            checkpoint=None if engine is None else engine.models.name,
            device=None if engine is None else str(engine.models.device),
            slots_used=stats.leased if stats else 0,
            slots_total=stats.slots if stats else 0,
            active_conversations=self.get_active_conversations(),
            uptime_seconds=time.monotonic() - self._started_at if engine else 0.0,
            tick_p50_ms=stats.tick_p50_ms if stats and stats.ticks else None,
            tick_p99_ms=stats.tick_p99_ms if stats and stats.ticks else None,
            integrations=handed_over,
            settings_without_effect=idle_settings,
            analytics=await self.get_analytics(),
        )
