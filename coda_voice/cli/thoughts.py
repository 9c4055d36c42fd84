"""Who was asked to think, in words: how many turns each LLM got, and how many it failed.

Read from the events of one conversation. An LLM that is named was asked; that the offline
brain stepped in for it does not make the turn the offline brain's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from coda_voice.events import Event, ReasoningEnded, ReasoningStarted

OFFLINE = "the offline brain"
NO_RULE = "llm_not_understood"
"""The code of a turn for which the offline brain has no rule."""
OUTCOMES = ("answered", "asked for leave", "without a rule", "interrupted", "failed")
"""In the order in which they are told; whoever stood in for a failure is told after it."""


def count(number: int, one: str) -> str:
    """Say how many: ``1 turn``, ``2 turns``."""
    return f"{number} {one}" if number == 1 else f"{number} {one}s"


def who_was_asked(events: Iterable[Event]) -> dict[int, str]:
    """Give who was asked in each turn, by its generation; whom the last words were put to."""
    asked: dict[int, str] = {}
    for event in events:
        if isinstance(event, ReasoningStarted):
            asked[event.generation] = OFFLINE if event.offline else event.llm
    return asked


def answered(end: ReasoningEnded) -> str:
    """Say who had the last word in a turn."""
    return OFFLINE if end.offline else end.llm


def end_of_turn(end: ReasoningEnded, asked: str) -> str:
    """Say how a turn of thought ended, for one line of a transcript; ``asked``: who was first."""
    who = answered(end)
    code = f" ({end.code})" if end.code else ""
    if who != asked:
        return f"{asked}: failed{code}; {who} steps in: {end.outcome}"
    if end.offline and end.code == NO_RULE:
        return f"{who}: has no rule for that"
    return f"{who}: {end.outcome}{code}"


def turns_by_llm(events: Iterable[Event]) -> str:
    """Say how many turns each LLM got and what became of them; empty where none was asked."""
    events = list(events)
    first = who_was_asked(events)
    tallies: dict[str, Counter[str]] = {}
    stood_in: dict[str, Counter[str]] = {}
    for end in _ends(events):
        who = answered(end)
        asked = first.get(end.generation, who)
        tallies.setdefault(asked, Counter())[_became(end, asked)] += 1
        if who != asked and end.outcome == "answered":
            stood_in.setdefault(asked, Counter())[who] += 1
    return "; ".join(
        f"{count(became.total(), 'turn')} went to {name}: "
        + ", ".join(f"{became[what]} {what}" for what in OUTCOMES if became[what])
        + "".join(f" ({who} answered {n} of them)" for who, n in stood_in.get(name, {}).items())
        for name, became in tallies.items()
    )


def _ends(events: Iterable[Event]) -> Iterable[ReasoningEnded]:
    """Give one end for each turn: thought may begin anew on every further word of the user's."""
    ends: dict[int, ReasoningEnded] = {}
    for event in events:
        if isinstance(event, ReasoningEnded) and (
            event.outcome != "interrupted" or event.generation not in ends
        ):
            ends[event.generation] = event
    return ends.values()


def _became(end: ReasoningEnded, asked: str) -> str:
    if answered(end) != asked:
        return "failed"
    if end.offline and end.code == NO_RULE:
        return "without a rule"
    return {"asked": "asked for leave"}.get(end.outcome, end.outcome)


def failures(events: Iterable[Event]) -> list[str]:
    """Say why turns were failed, each reason once; that a rule is missing is no failure."""
    ends = (event for event in events if isinstance(event, ReasoningEnded))
    told = (end.detail for end in ends if end.code and end.code != NO_RULE and end.detail)
    return list(dict.fromkeys(told))
