"""What is known, in the sentences a checkpoint was trained on.

A checkpoint whose tokenizer has capitals reads plain English. coda-tiny's has none: it reads
lower case without punctuation, full stops between the sentences of a prompt, and learnt a few
kinds of fact ("the user likes chess"; scripts/train_tiny/corpus.py). Which of the two it is, its
tokenizer tells.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

Encode = Callable[[str], list[int]]


@dataclass(slots=True)
class Rendered:
    """A text, the facts it tells, and those it leaves out with the reason.

    ``persona_refused``: the sentences of the persona that it leaves out, with the reason.
    """

    text: str = ""
    told: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    persona_refused: list[tuple[str, str]] = field(default_factory=list)


class Sentences(Protocol):
    """How facts become text for one checkpoint."""

    def prompt(self, persona: str, facts: Sequence[str], limit: int) -> Rendered:
        """A prompt of ``persona`` and as many facts as fit into ``limit`` tokens, in order."""

    def message(self, fact: str) -> str | None:
        """One fact as a message by frame sum; None if no such thing was learnt."""


def sentences_for(encode: Encode, unknown_token: int) -> Sentences:
    """Choose by what the checkpoint's tokenizer can write."""
    if unknown_token in encode("A"):
        return LearntSentences(encode, unknown_token)
    return PlainSentences(encode)


class PlainSentences:
    """English as it is."""

    def __init__(self, encode: Encode) -> None:
        self._encode = encode

    def prompt(self, persona: str, facts: Sequence[str], limit: int) -> Rendered:
        """Persona, then the facts, marked as facts about the user."""
        made = Rendered(persona.strip())
        for fact in facts:
            lead = "" if made.told else "What you know about the user:"
            longer = " ".join(part for part in (made.text, lead, _sentence(fact)) if part)
            if len(self._encode(longer)) > limit:
                made.refused.append((fact, f"the prompt has no room ({limit} tokens)"))
                continue
            made.text = longer
            made.told.append(fact)
        return made

    def message(self, fact: str) -> str | None:
        """The fact."""
        return _sentence(fact)


_LEARNT: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"^the user(?:'s name is| is called) (.+)$"), "name"),
    (re.compile(r"^the user likes (.+)$"), "likes"),
    (re.compile(r"^the user lives in (.+)$"), "home"),
)
_MESSAGES = {
    "name": "the user is {}",
    "likes": "the user likes {}",
    "home": "the user lives in {}",
}
_MOST_LIKES = 2
"""Of one prompt, as in training."""
_LONGEST_REMARK = 5
"""Words of a sentence in a prompt that is neither a name nor a learnt fact."""
_UNREADABLE = "it has characters this checkpoint cannot read"
_TOO_LONG = f"this checkpoint learnt no such sentence of more than {_LONGEST_REMARK} words"


class LearntSentences:
    """Lower case, no punctuation, and the few kinds of sentence that were trained."""

    def __init__(self, encode: Encode, unknown_token: int) -> None:
        self._encode = encode
        self._unknown = unknown_token

    def prompt(self, persona: str, facts: Sequence[str], limit: int) -> Rendered:
        """Name first, then the facts; one sentence for all that the user likes."""
        made = Rendered()
        parts: list[str] = []
        for sentence in re.split(r"(?<=[.!?])\s+", persona):
            plain = self._plain(sentence)
            if plain is None:
                made.persona_refused.append((sentence, _UNREADABLE))
            elif plain.startswith("your name is ") or len(plain.split()) <= _LONGEST_REMARK:
                parts += [plain] if plain else []
            else:
                made.persona_refused.append((sentence, _TOO_LONG))
        likes: list[str] = []
        seen: set[str] = set()
        for fact in facts:
            kind, item, problem = self._learnt(fact)
            if problem is None and kind != "likes" and kind in seen:
                problem = f"another {kind} is told already"
            if problem is None and kind == "likes" and len(likes) == _MOST_LIKES:
                problem = f"it learnt to hold {_MOST_LIKES} likings"
            if problem is not None:
                made.refused.append((fact, problem))
                continue
            grown = [*likes, item] if kind == "likes" else likes
            new = parts if kind == "likes" else [*parts, _MESSAGES[kind].format(item)]
            text = self._join(new, grown)
            if len(self._encode(text)) > limit:
                made.refused.append((fact, f"the prompt has no room ({limit} tokens)"))
                continue
            parts, likes = new, grown
            seen.add(kind)
            made.told.append(fact)
        made.text = self._join(parts, likes)
        return made

    def message(self, fact: str) -> str | None:
        """``the user likes chess``, or None."""
        kind, item, problem = self._learnt(fact)
        return None if problem is not None else _MESSAGES[kind].format(item)

    def _learnt(self, fact: str) -> tuple[str, str, str | None]:
        plain = self._plain(fact)
        if plain is None:
            return "", "", _UNREADABLE
        for pattern, kind in _LEARNT:
            if match := pattern.match(plain):
                return kind, match[1], None
        return "", "", "this checkpoint learnt no such sentence"

    def _plain(self, text: str) -> str | None:
        words = re.sub(r"[^\w\s']|_", " ", text.casefold().replace("’", "'")).split()
        plain = " ".join(words)
        return None if self._unknown in self._encode(plain) else plain

    @staticmethod
    def _join(parts: Sequence[str], likes: Sequence[str]) -> str:
        liked = [f"the user likes {' and '.join(likes)}"] if likes else []
        return ". ".join([*parts, *liked])


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text if text.endswith((".", "!", "?")) else f"{text}."
