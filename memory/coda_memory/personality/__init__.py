"""Who the agent is: characters from YAML, how they adapt to each user, and how it is told.

``load_character`` reads one, ``Personality`` holds one for one user.
"""

from __future__ import annotations

from coda_memory.personality.character import Character, list_characters, load_character
from coda_memory.personality.manager import Personality
from coda_memory.personality.state import Adjustment, PersonalityStates

__all__ = [
    "Adjustment",
    "Character",
    "Personality",
    "PersonalityStates",
    "list_characters",
    "load_character",
]
