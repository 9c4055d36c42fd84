"""What a manager runs on from ``initialize`` to ``shutdown``: opened in order, closed in reverse.

Whatever goes wrong on the way, what was opened is closed again; and one part that does not
close keeps no other open.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from typing import Self

from coda_voice.analytics import Analytics
from coda_voice.audio.ingest import Ingest
from coda_voice.config import VoiceConfig
from coda_voice.errors import VoiceInitializationError, VoiceProcessingError
from coda_voice.event_bus import EventBus
from coda_voice.logs import Logs
from coda_voice.memory_setup import MemorySetup
from coda_voice.moshi.allocator import share_freed_memory
from coda_voice.moshi.engine import Engine
from coda_voice.moshi.prompt import Prompt
from coda_voice.moshi.synthesizer import Synthesizer
from coda_voice.opening import opened
from coda_voice.speaking_setup import open_synthesizer
from coda_voice.startup import audio_settings_of, open_engine, prompt_of

AUDIO_THREADS = 2
"""For the input chains: they must not hold up the event loop."""


class Lifetime:
    """Engine, memories, logs and threads of one run; ``begin`` makes it, ``end`` closes it.

    ``prompt``: what conversations begin with; ``synthesizer``: who reads scripts in Moshi's
    place; ``pool``: where sound is decoded and cleaned.
    """

    engine: Engine
    prompt: Prompt | None
    synthesizer: Synthesizer | None
    memories: MemorySetup
    logs: Logs
    pool: ThreadPoolExecutor

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._began = time.monotonic()
        self._open = AsyncExitStack()

    @classmethod
    async def begin(
        cls,
        config: VoiceConfig,
        events: EventBus,
        analytics: Analytics,
        *,
        engine: Engine | None = None,
        synthesizer: Synthesizer | None = None,
    ) -> Self:
        """Open all of it; an ``engine`` or ``synthesizer`` that is given stays its owner's.

        Raises ConfigurationError, ModelLoadingError, VRAMAllocationError, VoiceInitializationError.
        """
        if engine is not None and not engine.running:
            raise VoiceInitializationError(
                "The engine given to the manager is not running; start() it first."
            )
        Ingest(audio_settings_of(config))  # settings that cannot be fail now
        life = cls()
        async with AsyncExitStack() as opening:
            life.prompt = await asyncio.to_thread(prompt_of, config)
            share_freed_memory()  # before anything starts threads
            life.logs = logs = Logs(config.logging)
            logs.open()
            opening.push_async_callback(asyncio.to_thread, logs.close)
            opening.callback(events.listen(logs.event))
            opening.callback(events.listen(analytics.event))
            life.memories = memories = MemorySetup(config, events)
            opening.push_async_callback(memories.close)
            await memories.open()
            # Before the engine, which takes as many slots as then fit into the memory.
            life.synthesizer = synthesizer or await life._own_synthesizer(config, opening)
            if engine is None:
                engine = await opened(partial(open_engine, config, life.prompt), Engine.close)
                opening.push_async_callback(asyncio.to_thread, engine.close)
            else:
                engine.check(life.prompt or Prompt())
            life.engine = engine
            life.pool = ThreadPoolExecutor(AUDIO_THREADS, thread_name_prefix="coda-audio")
            # What is queued is done: whoever waits for it would look as if he were cancelled.
            opening.callback(life.pool.shutdown, wait=False)
            life._open = opening.pop_all()
        life._began = time.monotonic()
        return life

    @staticmethod
    async def _own_synthesizer(config: VoiceConfig, opening: AsyncExitStack) -> Synthesizer | None:
        made = await opened(
            partial(open_synthesizer, config), lambda made: None if made is None else made.close()
        )
        if made is not None:
            opening.push_async_callback(asyncio.to_thread, made.close)
        return made

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return time.monotonic() - self._began

    def check_thread(self) -> None:
        """Raise VoiceProcessingError where another thread's event loop runs all this."""
        if not self._loop.is_running():
            return  # one loop after the other: nobody else is at work
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if not here:
            raise VoiceProcessingError(
                "The voice manager runs in the event loop of another thread; call it there: "
                "asyncio.run_coroutine_threadsafe(manager.…, loop) for what is awaited, "
                "loop.call_soon_threadsafe(manager.say, …) for the rest.",
                "other_event_loop",
            )

    async def end(self) -> None:
        """Close all of it. Raises what a part raised, when the others are closed."""
        await self._open.aclose()
