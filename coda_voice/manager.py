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
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Self

from coda_voice.analytics import Analytics, milliseconds
from coda_voice.answering import Answering
from coda_voice.attendants import Attendant, AttendantFactory
from coda_voice.audio.ingest import Ingest
from coda_voice.caller_audio import CallerAudio
from coda_voice.conversation import Conversation
from coda_voice.errors import (
    ComponentNotInitializedError,
    ValidationError,
    VoiceInitializationError,
    VoiceProcessingError,
)
from coda_voice.events import EventBus, SettingWithoutEffect
from coda_voice.exchange import AudioChunk, answer, chunk_of, stream
from coda_voice.heard import Surroundings
from coda_voice.logs import Logs
from coda_voice.memory_setup import MemorySetup
from coda_voice.models import (
    ConversationState,
    Health,
    SystemStatus,
    VoiceAnalytics,
    VoiceResponse,
    VoiceStreamChunk,
)
from coda_voice.moshi.allocator import share_freed_memory
from coda_voice.moshi.engine import Engine
from coda_voice.moshi.figures import EngineStats
from coda_voice.moshi.frames import FRAME_RATE, SAMPLE_RATE, Sampling
from coda_voice.moshi.prompt import Prompt
from coda_voice.moshi.spelling import Speller
from coda_voice.moshi.synthesizer import Synthesizer
from coda_voice.opening import opened
from coda_voice.protocols import REQUIRED_METHODS, ToolHouse
from coda_voice.scripted_voice import ScriptedVoice
from coda_voice.speaking_setup import open_synthesizer
from coda_voice.startup import (
    ConfigLike,
    as_config,
    audio_settings_of,
    open_engine,
    prompt_of,
    refuse_what_is_not_here,
    sampling_of,
)
from coda_voice.status import device_of, health_of, status_of

GREETING_STALE = 250
"""Frames: who has been talking for 20 s is not greeted any more."""
AUDIO_THREADS = 2
"""For the input chains: they must not hold up the event loop."""


class VoiceManager(Answering):
    """Voice conversations with Moshi, several at once.

    ``config``: a VoiceConfig, a dict or YAML path of any shape VoiceConfig reads, or None
    for the defaults (coda-tiny, on whatever machine this is). ``engine``: a running engine
    to share; without one the manager starts and closes its own. ``synthesizer``: likewise, in
    place of what ``speaking.voice`` says. ``idle_timeout``: seconds
    after which an untouched conversation is ended; None for never. ``attendants``: what
    accompanies each conversation beside what the configuration brings, made anew for each.
    ``tools``: where conversations get their tools in the modes that ask an LLM; None for the
    built-in ones and those of a tool manager that is handed over.

    Everything that happens is published on ``events``.
    """

    def __init__(
        self,
        config: ConfigLike | None = None,
        *,
        engine: Engine | None = None,
        synthesizer: Synthesizer | None = None,
        idle_timeout: float | None = None,
        attendants: Sequence[AttendantFactory] = (),
        tools: ToolHouse | None = None,
    ) -> None:
        super().__init__(EventBus(), as_config(config), tools)
        self.idle_timeout = idle_timeout
        self._attendants = list(attendants)
        self._shared_engine = engine
        self._engine: Engine | None = None
        self._prompt: Prompt | None = None
        self._shared_synthesizer = synthesizer
        self._synthesizer: Synthesizer | None = None
        self._analytics = Analytics()
        self._logs: Logs | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._watch: asyncio.Task[None] | None = None
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
                self.config, self._mode = as_config(config), None
            refuse_what_is_not_here(self.config)
            self._mode = self.mode  # one that was set before counts
            if self._shared_engine is not None and not self._shared_engine.running:
                raise VoiceInitializationError(
                    "The engine given to the manager is not running; start() it first."
                )
            Ingest(audio_settings_of(self.config))  # settings that cannot be fail now
            self._prompt = await asyncio.to_thread(prompt_of, self.config)
            share_freed_memory()  # before anything starts threads
            memories = MemorySetup(self.config, self.events)
            await memories.open()
            logs = Logs(self.config.logging)
            logs.open()
            synthesizer: Synthesizer | None = None
            try:
                # Before the engine, which takes as many slots as then fit into the memory.
                if self._shared_synthesizer is None:
                    synthesizer = await opened(
                        partial(open_synthesizer, self.config),
                        lambda made: None if made is None else made.close(),
                    )
                if self._shared_engine is not None:
                    self._shared_engine.check(self._prompt or Prompt())
                    self._engine = self._shared_engine
                else:
                    own: Engine = await opened(
                        partial(open_engine, self.config, self._prompt), Engine.close
                    )
                    self._engine = own
            except BaseException:
                if synthesizer is not None:
                    await asyncio.to_thread(synthesizer.close)
                logs.close()
                await memories.close()
                raise
            self._logs = logs
            self._synthesizer = self._shared_synthesizer or synthesizer
            self._memories = memories
            self._stop_logging = self.events.listen(logs.event)
            self._stop_counting = self.events.listen(self._analytics.event)
            self._pool = ThreadPoolExecutor(AUDIO_THREADS, thread_name_prefix="coda-audio")
            self._started_at = time.monotonic()
            for setting in self.config.settings_without_effect():
                self.events.publish(
                    SettingWithoutEffect(
                        conversation_id="", setting=setting.setting, reason=setting.reason
                    )
                )
            if self._mode != "moshi_only":
                try:
                    await self._hybrid_setup().connect()
                except BaseException:  # cancelled, say: nobody knows of it, and would stop it
                    await self._shut_down()
                    raise
            if self.idle_timeout is not None:
                self._watch = asyncio.create_task(self._conversations.end_idle(self.idle_timeout))

    async def shutdown(self) -> None:
        """End all conversations and stop the engine. May be called twice.

        A start that is under way is waited for.
        """
        async with self._starting:
            await self._shut_down()

    async def _shut_down(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
            self._watch = None
        for conversation in self._conversations:
            self._conversations.end(conversation, "shutdown")
        await self._conversations.settled()
        await self._close_hybrid()
        memories, self._memories = self._memories, None
        if memories is not None:
            await memories.close()
        self._mode = None
        engine, self._engine = self._engine, None
        if engine is not None and engine is not self._shared_engine:
            await asyncio.to_thread(engine.close)
        synthesizer, self._synthesizer = self._synthesizer, None
        if synthesizer is not None and synthesizer is not self._shared_synthesizer:
            await asyncio.to_thread(synthesizer.close)
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
        if self._logs is not None:
            self._stop_logging()
            self._stop_counting()
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
        self,
        user_id: str | None = None,
        conversation_id: str | None = None,
        *,
        prompt: Prompt | None = None,
        sampling: Sampling | None = None,
    ) -> str:
        """Begin a conversation and give its id (``conversation_id``, or a new one).

        ``prompt`` and ``sampling`` are this conversation's own; without them it begins as
        configured. Raises SlotsFullError when every slot is taken, ConversationError when a
        conversation of that id is going on, ValidationError for an id, also of a user, that is
        no text.
        """
        engine, _, logs = self._running()
        if conversation_id is None:
            conversation_id = str(uuid.uuid4())
        self._conversations.check_new(conversation_id)
        self._conversations.check_user(user_id)
        await self._conversations.settled(conversation_id)  # an earlier one's end comes first
        limit = self.config.conversation_limit_seconds
        conversation = Conversation(
            conversation_id,
            Surroundings(self.events, self._analytics, logs),
            user_id=user_id,
            limit_frames=None if limit is None else round(limit * FRAME_RATE),
        )
        mode, voicing = self.mode, self.voicing
        conversation.mode = mode
        voice = ScriptedVoice(
            engine.models.capabilities, Speller(engine.models.tokenizer), self._synthesizer
        )
        made: list[Attendant | None] = [voice]
        if mode != "moshi_only":
            made.append(await self._hybrid_attendant(conversation, voice))
        remembering = None
        if self._memories is not None:
            remembering = await self._memories.attendant(
                conversation, self.memory_manager, self.personality_manager
            )
            made.append(remembering)
        made += [factory(conversation) for factory in self._attendants]
        self._conversations.check_new(conversation_id)  # another may have begun meanwhile
        conversation.open(
            engine,
            sampling or self.sampling(),
            prompt or self._prompt,
            [attendant for attendant in made if attendant is not None],
        )
        self._conversations.add(conversation)
        try:
            if self.config.hybrid.greeting:
                voice.say(
                    self.config.hybrid.greeting, origin="greeting", stale_after=GREETING_STALE
                )
            if mode != "moshi_only" or remembering is not None:
                self._listen_to_words(conversation)
            # A change for all that came meanwhile has not found this one among them.
            await self.set_mode(
                self.mode if self.mode != mode else None,
                conversation_id,
                voice=self.voicing if self.voicing != voicing else None,
            )
            await conversation.attendants.ready()
        except BaseException:  # whoever asked gets no id, and so could never end it
            if conversation.ended is None:
                self._conversations.end(conversation, "cancelled")
            raise
        return conversation_id

    def sampling(self) -> Sampling:
        """Give how the next conversation would sample; with a seed of its own, if none is set."""
        engine, _, _ = self._running()
        return sampling_of(self.config, engine.models.sampling)

    async def end_conversation(self, conversation_id: str, reason: str = "ended") -> None:
        """End a conversation; its slot is free at once.

        Raises ConversationError for an id that is unknown or was ended by you before. One
        that the manager ended (length limit, idleness) may be ended once more in silence:
        you could not know.
        """
        self._running()
        self._conversations.end_asked(conversation_id, reason)
        await self._conversations.settled()

    def attend(self, factory: AttendantFactory) -> None:
        """Have ``factory`` make an attendant for each conversation that begins from now on."""
        self._attendants.append(factory)

    def get_active_conversations(self) -> list[str]:
        """Give the ids of the conversations that are going on."""
        return self._conversations.ids()

    def get_conversation_state(self, conversation_id: str) -> ConversationState | None:
        """Give the state of a conversation; None if no such one is going on."""
        conversation = self._conversations.find(conversation_id)
        return None if conversation is None else conversation.state()

    def conversation(self, conversation_id: str) -> Conversation:
        """Give the conversation itself, for edges that feed frames on their own."""
        return self._conversation(conversation_id)

    def _conversation(self, conversation_id: str) -> Conversation:
        self._running()
        return self._conversations.get(conversation_id)

    @asynccontextmanager
    async def _call_on(self, conversation: Conversation) -> AsyncIterator[None]:
        """Count a call; report its failure and the end of a conversation at its limit."""
        self._analytics.calls += 1
        try:
            yield
        except VoiceProcessingError as error:
            conversation.failed(error.error_code, error.message)
            raise
        finally:
            if conversation.at_limit and conversation.ended is None:
                self._conversations.end(conversation, "max_conversation_length")
                await self._conversations.settled(conversation.id)

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
        async with self._call_on(conversation):
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
        async with self._call_on(conversation):
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
        return await asyncio.to_thread(
            self._analytics.report,
            device=device_of(self._engine),
            active=len(self._conversations),
        )

    async def health_check(self) -> Health:
        """Tell whether conversations can go on, and whether new ones can start."""
        return health_of(self._engine)

    def is_healthy(self) -> bool:
        """Tell whether the engine runs."""
        return self._engine is not None and self._engine.running

    @property
    def memories(self) -> MemorySetup | None:
        """The memories that conversations share; None before it runs."""
        return self._memories

    def engine_stats(self) -> EngineStats | None:
        """Give the engine's figures: slots, ticks, late frames; None before it runs."""
        return None if self._engine is None else self._engine.stats()

    async def get_system_status(self) -> SystemStatus:
        """Give a picture of the whole: engine, conversations, integrations, figures."""
        handed_over = {kind: kind in self._managers for kind in REQUIRED_METHODS}
        idle_settings = {s.setting: s.reason for s in self.config.settings_without_effect()}
        idle_settings |= {
            f"{k}_manager": why for k, why in self._unused().items() if handed_over[k]
        }
        return status_of(
            self._engine,
            await self.get_analytics(),
            mode=self.mode,
            conversations=self.get_active_conversations(),
            uptime=time.monotonic() - self._started_at,
            integrations=handed_over,
            tool_servers=dict(self._hybrid.tool_servers) if self._hybrid else {},
            settings_without_effect=idle_settings,
        )
