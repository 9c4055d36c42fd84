"""A character for one user: what a voice asks of a personality, and Coda's interface to it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping

from coda_memory.owner import Owner
from coda_memory.personality.character import Character
from coda_memory.personality.feedback import wishes
from coda_memory.personality.rendering import (
    MOSHI_TOKENS,
    estimated_tokens,
    llm_prompt,
    moshi_prompt,
)
from coda_memory.personality.state import Adapted, Adjustment, PersonalityStates
from coda_memory.personality.traits import TRAITS, check_trait, in_words
from coda_memory.record import utc_now
from coda_voice.recollection import TokenCount


class Personality:
    """One character as one user has it; adapts when told to, and keeps that.

    Without ``states`` nothing outlives the object. ``given``: traits that somebody has set for
    this object alone; what is asked of them is not kept either. Raises ValidationError for a user
    id that is none, MemoryStoreError where the state cannot be read or written.
    """

    def __init__(
        self,
        character: Character,
        user_id: str,
        states: PersonalityStates | None = None,
        *,
        adapts: bool = True,
        given: Mapping[str, float] | None = None,
    ) -> None:
        self.given = dict(given or {})
        self.character = character.model_copy(update={"traits": {**character.traits, **self.given}})
        self.adapts = adapts
        self._owner = Owner.of(user_id)
        self._states = states
        self._changing = threading.Lock()
        kept = Adapted() if states is None else states.load(self._owner, character)
        self._adapted = kept.without(*self.given)

    # ---- its state ----------------------------------------------------------------------

    @property
    def traits(self) -> dict[str, float]:
        """All traits as they are now, 0 to 1."""
        return self._adapted.traits(self.character)

    @property
    def greeting(self) -> str | None:
        """What is said first."""
        return self.character.greeting

    def feedback(self, said: str) -> list[Adjustment]:
        """Adapt to what the user asks for; gives what changed and why. Most words ask nothing."""
        wished = wishes(said) if self.adapts else []
        if not wished:
            return []
        lasting = [wish for wish in wished if self._states and wish.trait not in self.given]
        passing = [wish for wish in wished if wish not in lasting]
        with self._changing:
            adapted, made = self._adapted.after(self.character, passing, utc_now())
            if self._states is not None and lasting:
                kept, more = self._states.adapt(self._owner, self.character, lasting)
                adapted = adapted.only(*self.given).joined(kept.without(*self.given))
                made += more
            self._adapted = adapted
        return made

    def reset(self, trait: str | None = None) -> None:
        """Take a trait (None: all) back to the character's own. Raises ValidationError."""
        if trait is not None:
            check_trait(trait)
        with self._changing:
            if self._states is None:
                self._adapted = self._adapted.without(*((trait,) if trait else TRAITS))
            else:
                kept = self._states.reset(self._owner, self.character, trait)
                self._adapted = kept.without(*self.given)

    def explain(self) -> list[str]:
        """Why each trait is what it is: the user's words that moved it, oldest first."""
        return [str(adjustment) for adjustment in self._adapted.adjustments]

    # ---- as it is told --------------------------------------------------------------------

    async def moshi_prompt(
        self, *, limit: int = MOSHI_TOKENS, count: TokenCount = estimated_tokens
    ) -> str:
        """Give the prompt for Moshi, at most ``limit`` tokens."""
        return moshi_prompt(self.character, self.traits, limit=limit, count=count)

    async def enhance_prompt(self, prompt: str, context: str = "") -> str:
        """Give ``prompt`` for an LLM with the character before it, ``context`` behind."""
        parts = [llm_prompt(self.character, self.traits), prompt.strip(), context.strip()]
        return "\n\n".join(part for part in parts if part)

    async def hear(self, text: str) -> list[Adjustment]:
        """Learn from what the user said; writing it down holds up nobody else."""
        if not (self.adapts and wishes(text)):
            return []
        return await asyncio.to_thread(self.feedback, text)

    # ---- Coda's interface -------------------------------------------------------------------

    def get_personality_state(self) -> dict[str, object]:
        """Give traits, and how they came about, as Coda reads them."""
        adjustments = self._adapted.adjustments
        return {
            "parameters": {
                trait: {
                    "value": value,
                    "default": self.character.default(trait),
                    "deviation": round(value - self.character.default(trait), 3),
                    "adjustments": sum(a.trait == trait for a in adjustments),
                }
                for trait, value in self.traits.items()
            },
            "topic_context": {},
            "behavior_profile": {"asks": in_words(self.traits)},
            "session": {"character": self.character.name},
            "lore_stats": {"taboos": len(self.character.taboos)},
        }

    async def format_response(self, response: str, context: str = "") -> str:
        """Give the response as it is: the character is in the prompt, not pasted on after."""
        return response

    async def process_user_input(self, text: str) -> None:
        """Learn from what the user said."""
        await self.hear(text)

    async def process_assistant_response(self, text: str) -> None:
        """Nothing is learnt from what the agent said."""

    async def process_feedback(self, feedback: str, feedback_type: str = "explicit") -> None:
        """Learn from feedback in words."""
        await self.hear(feedback)
