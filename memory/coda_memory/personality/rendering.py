"""A character told twice: briefly to Moshi, as a prompt, and in full to an LLM.

Moshi's prompt is PersonaPlex's manner ("Your name is …"), at most 200 tokens: sentences are
added in order of importance as long as they fit, so what is left out is the backstory's end and
never the name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from coda_memory.personality.character import Character
from coda_memory.personality.traits import in_words
from coda_voice.recollection import TokenCount

MOSHI_TOKENS = 200


def estimated_tokens(text: str) -> int:
    """English, about: four tokens to three words, where no tokenizer is at hand."""
    return -(-len(text.split()) * 4 // 3)


def moshi_prompt(
    character: Character,
    traits: dict[str, float],
    *,
    limit: int = MOSHI_TOKENS,
    count: TokenCount = estimated_tokens,
) -> str:
    """Give the character as a prompt for Moshi, at most ``limit`` tokens by ``count``."""
    sentences = [f"Your name is {character.name}.", f"You are {_clean(character.role)}."]
    if told := in_words(traits):
        sentences.append(f"{_joined(told).capitalize()}.")
    if character.style:
        sentences.append(f"Your style: {_clean(character.style)}.")
    if character.taboos:
        sentences.append(f"Do not speak about {_joined(map(_clean, character.taboos))}.")
    sentences += [s for s in re.split(r"(?<=[.!?])\s+", character.backstory.strip()) if s]
    return fitting(sentences, limit, count)


def fitting(sentences: Sequence[str], limit: int, count: TokenCount) -> str:
    """Give the first of ``sentences`` that fit into ``limit`` tokens; a long one is left out."""
    text = ""
    for sentence in sentences:
        longer = f"{text} {sentence}".strip()
        if count(longer) <= limit:
            text = longer
    return text


def llm_prompt(character: Character, traits: dict[str, float]) -> str:
    """Give the character as a part of an LLM's system prompt."""
    parts = [
        f"You are {character.name}, {_clean(character.role)}.",
        f"Style: {_clean(character.style)}." if character.style else "",
        f"In this conversation: {_joined(in_words(traits))}." if in_words(traits) else "",
        f"Background: {character.backstory.strip()}" if character.backstory else "",
        f"Never speak about {_joined(map(_clean, character.taboos))}; say kindly that you would "
        "rather not."
        if character.taboos
        else "",
    ]
    return "\n".join(part for part in parts if part)


def _clean(text: str) -> str:
    return " ".join(text.split()).rstrip(".")


def _joined(parts: Iterable[str]) -> str:
    listed = list(parts)
    return listed[0] if len(listed) == 1 else ", ".join(listed[:-1]) + " and " + listed[-1]
