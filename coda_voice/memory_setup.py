"""From a configuration to memory and personality in a conversation.

What the embedding program handed over is used first. Else ``integration.memory_store`` and
``integration.character`` say what there is: without them nothing is kept and nobody is played.
The one module of the core that knows the house of memory, and only where it is wanted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakSet

from coda_voice.audio import files
from coda_voice.config import VoiceConfig
from coda_voice.conversation import Conversation
from coda_voice.errors import VoiceProcessingError
from coda_voice.event_bus import EventBus
from coda_voice.memory_llm import LlmForMemory, llm_for_memory
from coda_voice.moshi.frames import SAMPLE_RATE, Pcm
from coda_voice.opening import opened
from coda_voice.recollection import (
    VoiceMemory,
    VoicePersonality,
    as_voice_memory,
    as_voice_personality,
)
from coda_voice.remembering import Remembering

if TYPE_CHECKING:
    from coda_memory.coda import CodaMemory
    from coda_memory.llm import MemoryLlm
    from coda_memory.personality import Character, Personality, PersonalityStates
    from coda_memory.store import MemoryStore
    from coda_memory.user import UserMemories


class MemorySetup:
    """The memory and the character that a manager's conversations share.

    Only a conversation with a user id has a memory: memories belong to somebody.
    """

    def __init__(self, config: VoiceConfig, events: EventBus) -> None:
        self._config = config
        self._integration = config.integration
        self._events = events
        self._asked: LlmForMemory | None = None
        self._llm: MemoryLlm | None = None
        self._greets = not config.hybrid.greeting
        self._store: MemoryStore | None = None
        self._character: Character | None = None
        self._voice: Pcm | None = None
        self._states: PersonalityStates | None = None
        self._remembering: WeakSet[Remembering] = WeakSet()
        """The attendants of conversations; those that are over among them."""

    async def open(self) -> None:
        """Open store and character, and load the embedding model (the first time ever: 30 s).

        Raises ConfigurationError for a character or an LLM that is none, MemoryStoreError,
        MemoryModelError.
        """
        self._store = await opened(self._open, lambda made: None if made is None else made.close())
        if self._store is not None:
            loop = asyncio.get_running_loop()

            def forgotten(user_id: str) -> None:
                loop.call_soon_threadsafe(self._forgotten, user_id)

            self._store.when_forgotten.append(forgotten)
            self._asked = llm_for_memory(self._config, self._events)
        if self._asked is not None:
            from coda_memory.llm import MemoryLlm

            leisure = None if self._asked.own else self._asked
            self._llm = MemoryLlm(self._asked.ask, leisure)

    def _open(self) -> MemoryStore | None:
        wanted = self._integration
        if wanted.personality_enabled and wanted.character is not None:
            from coda_memory.personality import load_character

            self._character = load_character(wanted.character)
            sample = self._character.voice_prompt
            self._voice = None if sample is None else files.read(sample).at(SAMPLE_RATE)
        if wanted.memory_store is None:
            return None
        from coda_memory.personality import PersonalityStates

        where = wanted.memory_store
        where = where if "://" in where else str(Path(where).expanduser())
        if wanted.personality_enabled:
            self._states = PersonalityStates.beside(where)
        if not wanted.memory_enabled:
            return None
        from coda_memory.embedding import DEFAULT_MODEL
        from coda_memory.store import MemoryStore
        from coda_memory.tables import held_model

        store = MemoryStore(where, held_model(where) or DEFAULT_MODEL)
        try:
            store.warm()
        except BaseException:
            store.close()
            raise
        return store

    async def close(self) -> None:
        """Write what waits, close the store and the connections to the LLM."""
        asked, self._asked, self._llm = self._asked, None, None
        if asked is not None:
            await asked.close()
        store, self._store = self._store, None
        if store is not None:
            await asyncio.to_thread(store.close)

    def _forgotten(self, user_id: str) -> None:
        """Have the user's conversations tell no more of what was deleted."""
        for remembering in self._remembering:
            if remembering.conversation.user_id == user_id:
                remembering.forgotten()

    def user_memories(self, user_id: str) -> UserMemories | None:
        """Give a user's memories to look at and change; None where none are kept."""
        return None if self._store is None else self._store.user(user_id)

    def llm_for(self, conversation: Conversation) -> MemoryLlm | None:
        """Give the LLM that memory may ask now: its own, or the one that the conversation asks."""
        own = self._asked is not None and self._asked.own
        return self._llm if own or conversation.mode != "moshi_only" else None

    def memory_for(
        self, conversation: Conversation, manager: object | None = None
    ) -> VoiceMemory | None:
        """Give the user's memory: ``manager`` if one was handed over, else the store's."""
        user_id = conversation.user_id
        if not self._integration.memory_enabled:
            return None
        if manager is not None:
            return as_voice_memory(manager)
        if self._store is None or user_id is None:
            return None
        from coda_memory.thinking_filter import MOST, ThinkingFilter
        from coda_memory.voice import RememberedUser

        most = min(MOST, self._integration.memory_context_limit)
        return RememberedUser(
            self._store.user(user_id),
            _kept_as(conversation),
            ThinkingFilter(most=most),
            llm=lambda: self.llm_for(conversation),
        )

    def manager_for(self, user_id: str | None, conversation_id: str) -> CodaMemory | None:
        """Give a user's memory in Coda's interface, for tools; None where there is none."""
        if not self._integration.memory_enabled or self._store is None or user_id is None:
            return None
        from coda_memory.coda import CodaMemory

        return CodaMemory(self._store.user(user_id), conversation_id)

    def personality_for(
        self, user_id: str | None, manager: object | None = None
    ) -> VoicePersonality | None:
        """Give who the agent is for a user. Raises MemoryStoreError for a damaged state."""
        if not self._integration.personality_enabled:
            return None
        if manager is not None:
            return as_voice_personality(manager)
        return None if self._character is None else self.played_by(self._character, user_id)

    def played_by(
        self, character: Character, user_id: str | None, given: Mapping[str, float] | None = None
    ) -> Personality:
        """Give a character as a user has it, with traits ``given`` for now; as ``Personality``."""
        from coda_memory.personality import Personality

        return Personality(
            character,
            user_id or "nobody",
            self._states if user_id is not None else None,
            adapts=self._integration.personality_adaptation,
            given=given,
        )

    async def attendant(
        self,
        conversation: Conversation,
        memory_manager: object | None = None,
        personality_manager: object | None = None,
    ) -> Remembering | None:
        """Make the attendant of one conversation; None where there is nothing to tell or keep.

        Memory or personality that cannot be had is reported, and left out.
        """
        user = conversation.user_id
        memory: VoiceMemory | None = None
        personality: VoicePersonality | None = None
        try:
            memory = self.memory_for(conversation, memory_manager)
            # Reads what is kept of it, from a disk or over the network.
            personality = await asyncio.to_thread(self.personality_for, user, personality_manager)
        except VoiceProcessingError as error:
            conversation.failed(error.error_code, error.message)
        if memory is None and personality is None:
            return None
        own_voice = self._voice if personality_manager is None else None
        remembering = Remembering(
            memory,
            personality,
            inject=self._integration.memory_context_limit > 0,
            voice=own_voice,
            greets=self._greets,
        )
        if memory_manager is None:
            self._remembering.add(remembering)
        return remembering


def _kept_as(conversation: Conversation) -> str:
    """Name a conversation among all a user ever has: its id may be used again tomorrow."""
    return f"{conversation.id[:200]} {conversation.started_at:%Y-%m-%d %H:%M:%S}"
