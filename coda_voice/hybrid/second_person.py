"""Tell users what is remembered of them: "the user likes tea" is "you like tea"."""

from __future__ import annotations

import re

from coda_voice.recollection import number_forgotten, quoted_memories

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
MOST_TOLD = 3
"""So many facts are told at once: of three allergies the third counts, too."""
MOST_FORGOTTEN = 3
"""So many forgotten facts are named; the rest is counted."""
_ONCE_SAID = re.compile(r'the user once said: "(?P<words>.+?)…?"$', re.IGNORECASE)
_SAID = re.compile(r"^the user said:?\s*", re.IGNORECASE)


def recalled(memories: str) -> str:
    """Tell the user what is remembered of him: facts where there are any, else his words."""
    plain = [line.strip() for line in memories.splitlines() if line.strip()]
    lines = quoted_memories(memories) or plain
    facts = [line for line in lines if re.match(r"the user(?!\s+said)\b", line, re.IGNORECASE)]
    if lines and lines[0] not in facts:  # best of all his own words, or a fact that says the same
        best = _long_words(_SAID.sub("", lines[0]))
        facts = [fact for fact in facts if best & _long_words(fact)]
    if facts:
        return " ".join(_to_the_user(fact) for fact in facts[:MOST_TOLD])
    words = _SAID.sub("", lines[0]) if lines else ""
    if not words or words.startswith("Nothing "):
        return words
    asked = r"^(?:please )?(?:remember|note|keep in mind|don't forget) (?:that )?"
    words = re.sub(asked, "", words.rstrip(".").lower())
    return f"You said that {second_person(words)}."


def _long_words(text: str) -> set[str]:
    return set(re.findall(r"\w{4,}", text.lower()))


def forgotten(told: str) -> str:
    """Tell the user what was forgotten: "I forgot that you like tea."."""
    facts = [_told(line) for line in quoted_memories(told)]
    if not facts:
        return told
    more = number_forgotten(told) - MOST_FORGOTTEN
    named = [f"that {fact}" for fact in facts[:MOST_FORGOTTEN]]
    if more > 0:
        named.append(f"{more} more thing{'s' if more > 1 else ''} of that kind")
    return f"I forgot {', '.join(named[:-1])}{' and ' if named[1:] else ''}{named[-1]}."


def _told(memory: str) -> str:
    """Give a memory as the part of a sentence that is said to the user."""
    if words := _ONCE_SAID.match(memory):
        return second_person(words["words"].rstrip(".!").lower())
    told = re.sub(r"^you asked to remember: ", "", _to_the_user(memory), flags=re.IGNORECASE)
    return f"{told[:1].lower()}{told[1:].rstrip('.')}"


def _to_the_user(fact: str) -> str:
    for pattern, address in _TOLD:
        told, found = pattern.subn(address, fact)
        if found:
            return _OF_THE_USER.sub(lambda word: _YOURS[word[0]], told)
    return fact


_YOURS = {"their": "your", "theirs": "yours", "them": "you", "themselves": "yourself"}
_OF_THE_USER = re.compile(rf"\b(?:{'|'.join(_YOURS)})\b")
"""What facts have in place of the user's "my" and "me"."""


def second_person(text: str) -> str:
    swaps = {"my": "your", "me": "you", "i": "you", "mine": "yours", "am": "are"}
    swaps |= {"i'm": "you're", "i've": "you've", "i'll": "you'll", "i'd": "you'd"}
    swaps |= {"myself": "yourself"}
    text = re.sub(r"\bi was\b", "you were", text)
    return " ".join(swaps.get(word, word) for word in text.split())
