"""VoiceManager: starts, feeds and ends conversations. The way in for an embedding program.

    async with VoiceManager({"moshi": {"device": "cpu"}}) as manager:
        conversation = await manager.start_conversation()
        response = await manager.process_voice_input(conversation, wav_bytes)

A manager owns one engine, whose slots its conversations lease. Every call works on one
conversation, and what goes wrong in it leaves the others alone. For one event loop.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from types import TracebackType
from typing import Self

from coda_voice.analytics import Analytics
from coda_voice.answering import Answering
from coda_voice.attendants import Attendant, AttendantFactory
from coda_voice.bell import Bells
from coda_voice.calls import full_duplex, utterance
from coda_voice.conversation import LETTING_GO_SECONDS, Conversation
from coda_voice.errors import (
    ComponentNotInitializedError,
    ValidationError,
    VoiceInitializationError,
    VoiceProcessingError,
)
from coda_voice.event_bus import EventBus
from coda_voice.events import SettingWithoutEffect
from coda_voice.exchange import AudioChunk
from coda_voice.heard import Surroundings
from coda_voice.lifetime import Lifetime
from coda_voice.memory_setup import MemorySetup
from coda_voice.models import (
    ConversationState,
    Health,
    SystemStatus,
    VoiceAnalytics,
    VoiceResponse,
    VoiceStreamChunk,
)
from coda_voice.moshi.engine import Engine
from coda_voice.moshi.figures import EngineStats
from coda_voice.moshi.frames import FRAME_RATE, Sampling
from coda_voice.moshi.prompt import Prompt
from coda_voice.moshi.spelling import Speller
from coda_voice.moshi.synthesizer import Synthesizer
from coda_voice.protocols import REQUIRED_METHODS, ToolHouse
from coda_voice.scripted_voice import ScriptedVoice
from coda_voice.startup import (
    ConfigLike,
    as_config,
    refuse_what_is_not_here,
    sampling_of,
)
from coda_voice.status import device_of, health_of, status_of

GREETING_STALE = 250
"""Frames: who has been talking for 20 s is not greeted any more."""


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
        if idle_timeout is not None and not (
            isinstance(idle_timeout, (int, float)) and idle_timeout > 0
        ):
            raise ValidationError(
                f"idle_timeout is {idle_timeout!r:.40}; give seconds, more than 0, or None for "
                "never.",
                "bad_idle_timeout",
            )
        if engine is not None and not isinstance(engine, Engine):
            raise ValidationError(
                f"engine is {engine!r:.40}; give a started coda_voice.moshi.engine.Engine, or "
                'none: the device is a setting, {"moshi": {"device": "cuda"}}.',
                "bad_engine",
            )
        self.idle_timeout = idle_timeout
        self._attendants: list[AttendantFactory] = []
        for factory in attendants:
            self.attend(factory)
        self._shared_engine = engine
        self._shared_synthesizer = synthesizer
        self._life: Lifetime | None = None
        self._analytics = Analytics()
        self._bells = Bells()
        self._watch: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()

    # ---- life -------------------------------------------------------------------------

    async def initialize(self, config: ConfigLike | None = None) -> None:
        """Load the checkpoint and start the engine; again without a config does nothing.

        Raises UnsupportedModeError, ConfigurationError, ModelLoadingError,
        VRAMAllocationError, or VoiceInitializationError when already running otherwise.
        """
        async with self._starting:
            if self._life is not None:
                if config is not None:
                    raise VoiceInitializationError(
                        "The manager is running with another configuration; shutdown() first."
                    )
                return
            if config is not None:
                self.config, self._mode = as_config(config), None
            refuse_what_is_not_here(self.config)
            self._mode = self.mode  # one that was set before counts
            self._life = await Lifetime.begin(
                self.config,
                self.events,
                self._analytics,
                engine=self._shared_engine,
                synthesizer=self._shared_synthesizer,
            )
            self._memories = self._life.memories
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
        if self._life is not None:
            self._life.check_thread()
        async with self._starting:
            await self._shut_down()

    async def _shut_down(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            if not self._watch.done():  # as it is where its event loop has ended
                await asyncio.wait([self._watch])
            self._watch = None
        life, self._life = self._life, None  # from now on nothing begins
        for conversation in self._conversations:
            self._conversations.end(conversation, "shutdown")
        try:
            # Each has told its end by then; what does not let go must not keep us from stopping.
            await self._conversations.settled(seconds=2 * LETTING_GO_SECONDS)
            await self._close_hybrid()
        finally:  # what fails there, or is cancelled, leaves no engine running
            self._memories = self._mode = None
            if life is not None:
                await life.end()

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

    def _running(self, *, anywhere: bool = False) -> Lifetime:
        if self._life is None:
            raise ComponentNotInitializedError(
                "The voice manager is not running; call `await manager.initialize()` first."
            )
        if not anywhere:
            self._life.check_thread()
        return self._life

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
        life = self._running()
        if conversation_id is None:
            conversation_id = str(uuid.uuid4())
        self._conversations.check_new(conversation_id)
        self._conversations.check_user(user_id)
        await self._conversations.settled(conversation_id)  # an earlier one's end comes first
        limit = self.config.conversation_limit_seconds
        conversation = Conversation(
            conversation_id,
            Surroundings(self.events, self._analytics, life.logs, self._bells),
            user_id=user_id,
            limit_frames=None if limit is None else round(limit * FRAME_RATE),
        )
        mode, voicing = self.mode, self.voicing
        conversation.mode = mode
        models = life.engine.models
        voice = ScriptedVoice(models.capabilities, Speller(models.tokenizer), life.synthesizer)
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
        if self._running() is not life:
            raise ComponentNotInitializedError(
                "The voice manager was shut down and started anew meanwhile; begin again."
            )
        conversation.open(
            life.engine,
            sampling or self.sampling(),
            prompt or life.prompt,
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
            _ = conversation.slot  # raises where it has been ended meanwhile
        except BaseException:  # whoever asked gets no id, and so could never end it
            if conversation.ended is None:
                self._conversations.end(conversation, "cancelled")
            raise
        return conversation_id

    def sampling(self) -> Sampling:
        """Give how the next conversation would sample; with a seed of its own, if none is set."""
        return sampling_of(self.config, self._running().engine.models.sampling)

    async def end_conversation(self, conversation_id: str, reason: str = "ended") -> None:
        """End a conversation; its slot is free at once.

        Raises ConversationError for an id that is unknown or was ended by you before. One
        that the manager ended (length limit, idleness) may be ended once more in silence:
        you could not know.
        """
        self._running()
        self._conversations.end_asked(conversation_id, reason)
        await self._conversations.settled(conversation_id)  # not others that end meanwhile

    def attend(self, factory: AttendantFactory) -> None:
        """Have ``factory`` make an attendant for each conversation that begins from now on.

        Raises ValidationError for what cannot be called.
        """
        if not callable(factory):
            raise ValidationError(
                f"An attendant factory is {type(factory).__name__}, which cannot be called; give "
                "a function of the conversation, such as `lambda conversation: Greeter()`.",
                "bad_attendant_factory",
            )
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
        self._running(anywhere=True)  # who only looks may stand in another thread
        return self._conversations.get(conversation_id)

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
        conversation = self._conversation(conversation_id)
        pool = self._running().pool
        async with self._call_on(conversation):
            return await utterance(conversation, audio_data, self.config, pool)

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
        pool = self._running().pool
        chunks = full_duplex(
            conversation,
            audio_stream,
            self.config,
            pool,
            self._call_on(conversation),
            finish_answer=finish_answer,
        )
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk

    # ---- looking ----------------------------------------------------------------------

    @property
    def _engine(self) -> Engine | None:
        return None if self._life is None else self._life.engine

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
        engine = self._engine
        return engine is not None and engine.running

    @property
    def memories(self) -> MemorySetup | None:
        """The memories that conversations share; None before it runs."""
        return self._memories

    def engine_stats(self) -> EngineStats | None:
        """Give the engine's figures: slots, ticks, late frames; None before it runs."""
        engine = self._engine
        return None if engine is None else engine.stats()

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
            uptime=self._life.seconds if self._life else 0.0,
            integrations=handed_over,
            tool_servers=dict(self._hybrid.tool_servers) if self._hybrid else {},
            settings_without_effect=idle_settings,
        )
