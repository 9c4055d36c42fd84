"""Tell users what is remembered of them: "the user likes tea" is "you like tea"."""

from __future__ import annotations

import re

from coda_voice.recollection import quoted_memories

_TOLD = (
    (re.compile(r"^the user's\b", re.IGNORECASE), "Your"),
    (re.compile(r"^the user is\b", re.IGNORECASE), "You are"),
    (re.compile(r"^the user was\b", re.IGNORECASE), "You were"),
    (re.compile(r"^the user has\b", re.IGNORECASE), "You have"),
    (re.compile(r"^the user no longer has\b", re.IGNORECASE), "You no longer have"),
    (re.compile(r"^the user no longer (\w+)s\b", re.IGNORECASE), r"You no longer \1"),
    (re.compile(r"^the user (\w+)ies\b", re.IGNORECASE), r"You \1y"),
    (re.compile(r"^the user (\w+(?:ch|sh|ss|x|o|z))es\b", re.IGNORECASE), r"You \1"),
    (re.compile(r"^the user (\w+)s\b", re.IGNORECASE), r"You \1"),
    (re.compile(r"^the user\b", re.IGNORECASE), "You"),
)
_SAID = re.compile(r"^the user said:?\s*", re.IGNORECASE)


def recalled(memories: str) -> str:
    """Tell the user what is remembered of him: facts where there are any, else his words."""
    plain = [line.strip() for line in memories.splitlines() if line.strip()]
    lines = quoted_memories(memories) or plain
    facts = [line for line in lines if re.match(r"the user(?!\s+said)\b", line, re.IGNORECASE)]
    if facts:
        return " ".join(_to_the_user(fact) for fact in facts[:2])
    words = _SAID.sub("", lines[0]) if lines else ""
    if not words or words.startswith("Nothing "):
        return words
    asked = r"^(?:please )?(?:remember|note|keep in mind|don't forget) (?:that )?"
    words = re.sub(asked, "", words.rstrip(".").lower())
    return f"You said that {second_person(words)}."


def _to_the_user(fact: str) -> str:
    for pattern, address in _TOLD:
        told, found = pattern.subn(address, fact)
        if found:
            return re.sub(r"\btheir\b", "your", told)
    return fact


def second_person(text: str) -> str:
    swaps = {"my": "your", "me": "you", "i": "you", "mine": "yours", "am": "are"}
    return " ".join(swaps.get(word, word) for word in text.split())
