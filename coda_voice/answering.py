"""Who answers in the conversations of a manager: Moshi alone, or an LLM beside it.

The part of VoiceManager that changes the mode while conversations run, and has something
said or taken as said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar, get_args

from coda_voice.arguments import checked_text
from coda_voice.attendants import Attendant
from coda_voice.config import VoiceConfig
from coda_voice.config.model import Voicing
from coda_voice.conversation import Conversation
from coda_voice.errors import ValidationError
from coda_voice.event_bus import EventBus
from coda_voice.events import NoTranscript
from coda_voice.handover import UNUSED, HandedOver
from coda_voice.hybrid.attendant import HybridAttendant, Mode
from coda_voice.hybrid_setup import HybridSetup, as_mode, as_voicing
from coda_voice.memory_setup import MemorySetup
from coda_voice.protocols import Announcement, Scheduling, ToolHouse
from coda_voice.registry import Conversations
from coda_voice.scripted_voice import ScriptedVoice

Kind = TypeVar("Kind", bound=Attendant)


def _attendant(conversation: Conversation, kind: type[Kind]) -> Kind | None:
    return next((a for a in conversation.attendants if isinstance(a, kind)), None)


class Answering(HandedOver):
    """Modes, and what is said; ``tools``: where conversations get their tools."""

    def __init__(self, events: EventBus, config: VoiceConfig, tools: ToolHouse | None) -> None:
        super().__init__(events)
        self.config = config
        self._conversations = Conversations()
        self._memories: MemorySetup | None = None
        self._tool_house = tools
        self._mode: Mode | None = None
        self._voicing: Voicing | None = None
        self._hybrid: HybridSetup | None = None

    def _unused(self) -> Mapping[str, str]:
        """Give what nobody asks: the tools neither, where Moshi answers alone."""
        asks_an_llm = (self._mode or self.config.mode) in ("hybrid", "adaptive")
        tools_are_called = asks_an_llm and self.config.integration.tools_enabled
        return {k: why for k, why in UNUSED.items() if not (k == "tool" and tools_are_called)}

    def _conversation(self, conversation_id: str) -> Conversation:
        """Give a conversation that goes on, or raise ConversationError."""
        return self._conversations.get(conversation_id)

    @property
    def mode(self) -> Mode:
        """Who answers in conversations that begin now."""
        return self._mode or as_mode(self.config.mode)

    @property
    def voicing(self) -> Voicing:
        """What is heard beside scripts in conversations that begin now (``hybrid.voice``)."""
        return self._voicing or self.config.hybrid.voice

    async def set_mode(
        self,
        mode: str | None = None,
        conversation_id: str | None = None,
        *,
        voice: str | None = None,
    ) -> bool:
        """Change who answers, while conversations run: in one, or in all and those to come.

        ``voice`` is a value of ``hybrid.voice``; None of either leaves it as it is. False if no
        conversation has changed. Raises ConfigurationError for an unknown mode or voice or an
        LLM that cannot be, and ConversationError for an unknown conversation.
        """
        wanted = None if mode is None else as_mode(mode)
        voicing = None if voice is None else as_voicing(voice)
        if conversation_id is None:
            self._mode = wanted or self._mode
            self._voicing = voicing or self._voicing
            conversations = list(self._conversations)
        else:
            conversations = [self._conversation(conversation_id)]
        changed = False
        for conversation in conversations:
            present = _attendant(conversation, HybridAttendant)
            if present is None:
                scripted = _attendant(conversation, ScriptedVoice)
                # What is said of the voice alone must be kept for this one until it has an LLM.
                kept = voicing is not None and conversation_id is not None
                if scripted is None or (wanted in (None, "moshi_only") and not kept):
                    continue
                present = await self._join_hybrid(conversation, scripted)
            if conversation.ended is not None:  # while its LLM was being made ready
                continue
            only = None if voicing is None else voicing == "llm_only"
            changed = present.set_mode(wanted or present.mode, only) or changed
            if wanted not in (None, "moshi_only"):
                self._listen_to_words(conversation)
        return changed

    def _hybrid_setup(self) -> HybridSetup:
        """Give what conversations with an LLM share."""
        if self._hybrid is None:
            if self._tool_house is None:
                # The built-in tools and what they need are loaded only for who asks an LLM.
                from coda_voice.composition import HouseTools

                self._tool_house = HouseTools()
            self._hybrid = HybridSetup(self.config, self._tool_house, self.events.publish)
        return self._hybrid

    async def llm_trouble(self) -> str | None:
        """Say in a line why no LLM could answer just now and what to do; None where one could.

        Nothing is asked in mode moshi_only. Raises ConfigurationError for an LLM that cannot be.
        """
        return None if self.mode == "moshi_only" else await self._hybrid_setup().llm_trouble()

    async def _hybrid_attendant(
        self, conversation: Conversation, voice: ScriptedVoice
    ) -> HybridAttendant:
        hybrid = self._hybrid_setup()
        mode, voicing = self.mode, self.voicing  # of this moment, as its caller sees them
        await hybrid.prepare(self.tool_manager)
        memory = self.memory_manager
        if memory is None and self._memories is not None:
            memory = self._memories.manager_for(conversation.user_id, conversation.id)
        return hybrid.attendant(conversation, voice, mode, voicing, memory)

    async def _join_hybrid(
        self, conversation: Conversation, voice: ScriptedVoice
    ) -> HybridAttendant:
        """Give a running conversation an LLM; the one it has got meanwhile, if it has."""
        made = await self._hybrid_attendant(conversation, voice)
        present = _attendant(conversation, HybridAttendant)
        if present is None and conversation.ended is None:
            made.mode = "moshi_only"  # so that the change is told like any other
            conversation.attendants.add(made)
        return present or made

    def _listen_to_words(self, conversation: Conversation) -> None:
        conversation.transcribe()
        if not conversation.slot.can_transcribe:
            self.events.publish(
                NoTranscript(
                    conversation_id=conversation.id,
                    reason="this checkpoint has no transcriber; only typed text reaches the LLM",
                )
            )

    def say(self, conversation_id: str, text: str, scheduling: Scheduling = "interrupt") -> None:
        """Have the agent say ``text``: at once, or (``when_idle``) when nobody speaks.

        What becomes of it is told in ScriptStarted and ScriptEnded events. Raises
        ValidationError for what is no text, and for another ``scheduling``.
        """
        checked_text(text, "text", "bad_text", "the words to say")
        if scheduling not in get_args(Scheduling):
            raise ValidationError(
                f"scheduling {scheduling!r:.40} is none of {', '.join(get_args(Scheduling))}.",
                "bad_scheduling",
            )
        voice = _attendant(self._conversation(conversation_id), ScriptedVoice)
        if voice is not None and text.strip():
            voice.announce(Announcement(text, scheduling, "say"))

    def send_text(self, conversation_id: str, text: str) -> None:
        """Take ``text`` as a turn that the user typed.

        Raises ValidationError if it is empty, or no text.
        """
        checked_text(text, "text", "bad_text", "the words that the user typed")
        conversation = self._conversation(conversation_id)
        if not text.strip():
            raise ValidationError("A typed turn needs at least a word.", "empty_text")
        conversation.type_text(text.strip())

    async def _close_hybrid(self) -> None:
        hybrid, self._hybrid = self._hybrid, None
        if hybrid is not None:
            await hybrid.close()
