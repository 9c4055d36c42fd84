"""A character for one user: what the voice asks of a personality, in Coda's interface.

``Personality`` is ours. ``CodaPersonality`` asks a Coda-shaped manager (plain or async) for the
same, so that either can shape what Moshi and the LLM are told.
"""

from __future__ import annotations

from collections.abc import Mapping

from coda_memory.owner import Owner
from coda_memory.personality.character import Character
from coda_memory.personality.feedback import wishes
from coda_memory.personality.rendering import (
    MOSHI_TOKENS,
    estimated_tokens,
    fitting,
    llm_prompt,
    moshi_prompt,
)
from coda_memory.personality.state import Adapted, Adjustment, PersonalityStates
from coda_memory.personality.traits import TRAITS, check_trait, in_words
from coda_memory.record import utc_now
from coda_voice.errors import IntegrationError
from coda_voice.protocols import PersonalityManager, settle
from coda_voice.recollection import TokenCount


class Personality:
    """One character as one user has it; adapts when told to, and keeps that.

    Without ``states`` nothing outlives the object. Raises ValidationError for a user id that is
    none, MemoryStoreError where the state cannot be read or written.
    """

    def __init__(
        self,
        character: Character,
        user_id: str,
        states: PersonalityStates | None = None,
        *,
        adapts: bool = True,
    ) -> None:
        self.character = character
        self.adapts = adapts
        self._owner = Owner.of(user_id)
        self._states = states
        self._adapted = Adapted() if states is None else states.load(self._owner, character)

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
        if self._states is None:
            self._adapted, made = self._adapted.after(self.character, wished, utc_now())
        else:
            self._adapted, made = self._states.adapt(self._owner, self.character, wished)
        return made

    def reset(self, trait: str | None = None) -> None:
        """Take a trait (None: all) back to the character's own. Raises ValidationError."""
        if trait is not None:
            check_trait(trait)
        if self._states is None:
            self._adapted = self._adapted.without(trait)
        else:
            self._adapted = self._states.reset(self._owner, self.character, trait)

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
        """Learn from what the user said."""
        return self.feedback(text)

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
        self.feedback(text)

    async def process_assistant_response(self, text: str) -> None:
        """Nothing is learnt from what the agent said."""

    async def process_feedback(self, feedback: str, feedback_type: str = "explicit") -> None:
        """Learn from feedback in words."""
        self.feedback(feedback)


class CodaPersonality:
    """A Coda-shaped personality manager as ours. Raises IntegrationError for a wrong answer."""

    greeting: str | None = None

    def __init__(self, manager: PersonalityManager, name: str = "Coda") -> None:
        self._manager = manager
        self._name = name

    async def traits(self) -> dict[str, float]:
        """Those of its traits that we know, 0 to 1."""
        state = await settle(self._manager.get_personality_state())
        parameters = state.get("parameters") if isinstance(state, Mapping) else None
        if not isinstance(parameters, Mapping):
            raise IntegrationError(
                f"get_personality_state() of {type(self._manager).__name__} gave no "
                '{"parameters": {trait: {"value": …}}}.'
            )
        found = {}
        for trait in TRAITS:
            entry = parameters.get(trait)
            value = entry.get("value") if isinstance(entry, Mapping) else entry
            if isinstance(value, int | float):
                found[trait] = min(1.0, max(0.0, float(value)))
        return found

    async def moshi_prompt(
        self, *, limit: int = MOSHI_TOKENS, count: TokenCount = estimated_tokens
    ) -> str:
        """Give its name and its remarkable traits: its own prompt is written for an LLM."""
        asks = in_words(await self.traits())
        sentences = [f"Your name is {self._name}.", *(f"{ask.capitalize()}." for ask in asks)]
        return fitting(sentences, limit, count)

    async def enhance_prompt(self, prompt: str, context: str = "") -> str:
        """Let it work itself into the prompt. Raises IntegrationError where it gives no text."""
        enhanced = await settle(self._manager.enhance_prompt(prompt, context))
        if not isinstance(enhanced, str):
            raise IntegrationError(
                f"enhance_prompt() of {type(self._manager).__name__} gave "
                f"{type(enhanced).__name__}, not text."
            )
        return enhanced

    async def hear(self, text: str) -> list[Adjustment]:
        """Hand over what the user said, to managers that want it."""
        process = getattr(self._manager, "process_user_input", None)
        if callable(process):
            await settle(process(text))
        return []
