"""The personalities that clients may choose from, and how a running conversation takes one on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from coda_memory.personality import Character, Personality, list_characters, load_character
from coda_memory.personality.traits import check_trait

from coda_voice.conversation import Conversation
from coda_voice.errors import ValidationError
from coda_voice.memory_setup import MemorySetup
from coda_voice.remembering import Remembering


def names() -> list[str]:
    """List the personalities there are, by name."""
    return sorted(list_characters())


async def take_on(
    conversation: Conversation,
    name: str | None,
    traits: Mapping[str, float],
    memories: MemorySetup | None,
) -> dict[str, object]:
    """Have the agent be ``name`` (None: who it is), with ``traits`` of 0 to 1; tell who it is now.

    ``memories`` knows what the user has made of the characters; the traits hold for now.
    Raises ConfigurationError for an unknown name, ValidationError for an unknown trait, and
    where traits are to change and nobody is being played.
    """
    for trait in traits:
        check_trait(trait)
    remembering = _remembering(conversation)
    character, given = await _character(name, remembering)
    given = {**given, **traits}
    if memories is None:
        personality = Personality(character, conversation.user_id or "nobody", given=given)
    else:  # reads what is kept
        personality = await asyncio.to_thread(
            memories.played_by, character, conversation.user_id, given
        )
    if remembering is None:
        conversation.attendants.add(Remembering(None, personality, greets=False))
    else:
        await remembering.become(personality)
    return {"name": character.name, "traits": personality.traits}


def played(conversation: Conversation) -> str | None:
    """Tell who the agent is in a conversation; None where nobody is being played."""
    remembering = _remembering(conversation)
    personality = None if remembering is None else remembering.personality
    return personality.character.name if isinstance(personality, Personality) else None


def _remembering(conversation: Conversation) -> Remembering | None:
    return next((a for a in conversation.attendants if isinstance(a, Remembering)), None)


async def _character(
    name: str | None, remembering: Remembering | None
) -> tuple[Character, dict[str, float]]:
    """Give the character, and the traits that were set before, if it is the one there is."""
    if name is not None:
        if name not in list_characters():  # a file's path is nothing for a client to give
            raise ValidationError(
                f"There is no personality {name!r}; there are: {', '.join(names())}.",
                "unknown_personality",
            )
        return await asyncio.to_thread(load_character, name), {}
    played = None if remembering is None else remembering.personality
    if not isinstance(played, Personality):
        raise ValidationError(
            "Traits belong to a personality; choose one by name first.", "no_personality"
        )
    return played.character, played.given
