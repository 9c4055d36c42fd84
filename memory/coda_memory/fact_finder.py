"""Reads the facts in one sentence by the rules, whether the sentence is to be believed or not."""

# ruff: noqa: E501 - a pattern is easier to read on one line

from __future__ import annotations

import re
from dataclasses import dataclass

from coda_memory.fact_rules import RULES, Fact, Rule
from coda_voice.number_names import UP_TO_TWELVE

MAX_WORDS = 14
"""A match longer than this is a story, not a fact; it is kept as the turn it is."""


@dataclass(frozen=True, slots=True)
class Found:
    """A fact and where in the sentence its thing stands; ``single``: only one can be true."""

    start: int
    end: int
    fact: Fact
    single: bool


_POINTING = re.compile(
    r"(?:it|that|this|them|him|her|you|there|those|these|what|how|the way|neither|yours?|theirs|where|when|why|\w+thing|(?:too|so)$)\b",
    re.IGNORECASE,
)
_PERSON = {
    "my": "their",
    "mine": "theirs",
    "me": "them",
    "myself": "themselves",
    "i": "they",
    "our": "their",
    "us": "them",
}
_OWNED = "has {key}"
_LISTED = ("allergic {key}", "speaks {key}", "consumes {key}")
"""Of these each may end by itself: "cats and dogs", and later "I'm not allergic to dogs"."""
_LIKED = "likes {key}"
_INSEPARABLE = frozenset(
    [
        "fish chips",
        "rock roll",
        "bed breakfast",
        "salt vinegar",
        "salt pepper",
        "black white",
        "drum bass",
        "arts crafts",
        "mac cheese",
        "macaroni cheese",
        "bacon eggs",
        "ham eggs",
        "gin tonic",
        "hide seek",
        "bread butter",
        "cookies cream",
        "rhythm blues",
        "peace quiet",
        "simon garfunkel",
        "tom jerry",
        "trial error",
        "cat mouse",
        "cops robbers",
    ]
)
"""One thing of two words: who likes fish and chips need not like fish."""
_AND = re.compile(r",? (?:and|or) (?:to )?|, ")
_AND_A = re.compile(
    rf"(?:,? and |, |(?<!\bin)(?<!\bof)(?<!\bon)(?<!\bat)(?<!\bfor)(?<!\bas)(?<!\bwith)(?<!\bfrom) (?=an? ))(?=(?:an?|{UP_TO_TWELVE}|\d+) )"
)
_AGE = re.compile(rf"^(?:(?:brand|new|old|second|little|{UP_TO_TWELVE}|\d+)\s+)+(?=\w)")
_NAMED = re.compile(r" (?:(?:called|named)\b.*|at home|of their own)$")
_PLURAL = re.compile(r"(?<=\w\w[^s])s$")
"""Who has a cat, then two cats, and then no cats, has had one thing to say."""
_FILLERS = re.compile(
    r"^(?:the|a|an|any|two|three|four|five|to|my|some|type (?:one|two|1|2)|playing|eating|drinking|of)\s+|\s+(?:a lot|very much|that much|so much|at all|too|as well|more than anything|anymore|any more|again)$"
)


def facts_in(sentence: str) -> list[Fact]:
    """Read the facts in a sentence, in the order they were said."""
    return [found.fact for found in found_in(sentence)]


def found_in(sentence: str) -> list[Found]:
    """Read the facts in a sentence, in the order they were said, with where they stand."""
    found: list[Found] = []
    covered: list[tuple[int, int]] = []
    for rule in RULES:
        for match in rule.pattern.finditer(sentence):
            span = match.span("x")
            if any(span[0] < end and start < span[1] for start, end in covered):
                continue  # an earlier rule, which is the more exact one, has it
            values = {k: _tidy(v) for k, v in match.groupdict().items() if v}
            if (
                not values.get("x")
                or _POINTING.match(values["x"])
                or len(values["x"].split()) > MAX_WORDS
            ):
                continue
            covered.append(span)
            single = "{key}" not in rule.subject
            found += [Found(*span, fact, single) for fact in _facts_of(rule, values)]
    return sorted(found, key=lambda one: one.start)


def _facts_of(rule: Rule, values: dict[str, str]) -> list[Fact]:
    """Make of a match its fact, or several: "a dog and a cat" are two that end apart."""
    owned = rule.subject == _OWNED
    facts = []
    for x in _apart(rule, values["x"]):
        told = {"be": "is", **values, "x": x}
        key = subject_key(x)
        key = one_thing(key) if owned else key
        subject = rule.subject.format(key=key, **{k: v.casefold() for k, v in told.items()})
        text = rule.text.format(**told) + "."
        facts.append(Fact(text, subject_key(subject), rule.kind, rule.importance))
    return facts


def _apart(rule: Rule, thing: str) -> list[str]:
    if rule.subject == _OWNED:
        return _AND_A.split(thing)
    if rule.subject in _LISTED:
        return _AND.split(thing)
    if rule.subject == _LIKED:
        # Of longer things nobody knows where they part: "books and films about cars and trains".
        things = _AND.split(re.sub(r"^(?:both|either) ", "", thing))
        if all(re.fullmatch(r"[\w'-]+", one) for one in things):
            return things if " ".join(things).casefold() not in _INSEPARABLE else [thing]
    return [thing]


def one_thing(key: str) -> str:
    """Give the name of one of what ``key`` names: "old dogs" are of the subject "dog"."""
    return _PLURAL.sub("", _AGE.sub("", _NAMED.sub("", key)))


def subject_key(text: str) -> str:
    """Give the words of ``text`` that name a thing, in lower case: no quotes, no articles."""
    text = " ".join(re.findall(r"\w+", text.casefold()))
    while (shorter := _FILLERS.sub("", text)) != text:
        text = shorter
    return text[:200]


def _tidy(text: str) -> str:
    return third_person(text.strip(" '\""))


def third_person(text: str) -> str:
    """Give what the user said of himself as others say it: "my car" is "their car"."""
    return " ".join(_PERSON.get(word.casefold(), word) for word in text.split())
