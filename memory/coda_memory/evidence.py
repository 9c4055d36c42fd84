"""What speaks for a memory that was found and against it: what the thinking filter weighs.

What else was said in the same conversation speaks for a memory as far as other conversations were
found beside it. Where all was said in one, as by somebody who tells of himself for the first time,
it says nothing, and each memory stands for itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from coda_memory.asking import answers, asked_subjects
from coda_memory.one_turn import stems
from coda_memory.search import Hit
from coda_memory.timespan import timespan

USUAL = 0.35
"""What some other conversation is worth for any words: a short memory has no rivals to show it."""
SECOND_SHARE = 0.5
"""What a conversation's second best memory adds to what it is worth."""

_PERSONAL = re.compile(
    r"\b(?:i|my|mine|we|our|us|myself|(?<!tell )(?<!give )(?<!show )(?<!call )me)\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for a memory and against it; cosines of the search, else 0 to 1.

    own: how much more its source or its facts are found than it is itself; behind: how much
    less than the best; rare: share of the question's words that it has, those that many others
    have count little; in_time, out_of_time: the question names a time; personal: the user speaks
    of herself; subject: 1 on the subject asked for, -1 on another; rank: its score beside the
    best score.

    alone: the share of what was found that is of its own conversation. lead: that conversation
    before the best other one, as far as there are others; ahead: the turn itself, with the nearest
    beside it, before the best other conversation, as far as there are none; margin: the turn
    before the best other turn.
    """

    relevance: float
    own: float
    behind: float
    rare: float
    in_time: float
    out_of_time: float
    personal: float
    subject: float
    rank: float
    lead: float
    ahead: float
    alone: float
    margin: float


class Company:
    """The turns that were found, in their conversations; a turn and its facts count as one."""

    def __init__(self, hits: Sequence[Hit]) -> None:
        self._talks: dict[str, dict[str, float]] = {}
        for hit in hits:
            turns = self._talks.setdefault(_talk(hit), {})
            source = source_of(hit)
            turns[source] = max(turns.get(source, -1.0), hit.relevance)
        self._worth = {name: _worth(turns.values()) for name, turns in self._talks.items()}
        self._count = sum(map(len, self._talks.values()))

    def relevance(self, hit: Hit) -> float:
        """How near the turn of a memory is, by whichever of its memories is nearest."""
        return self._talks.get(_talk(hit), {}).get(source_of(hit), hit.relevance)

    def lead(self, hit: Hit) -> tuple[float, float, float, float]:
        """Give a memory's ``lead``, ``ahead``, ``alone`` and ``margin``: see ``Evidence``."""
        talk, own = _talk(hit), self.relevance(hit)
        turns = self._talks.get(talk, {})
        beside = [near for source, near in turns.items() if source != source_of(hit)]
        elsewhere = max([USUAL, *(worth for name, worth in self._worth.items() if name != talk)])
        rivals = [
            near for name, other in self._talks.items() if name != talk for near in other.values()
        ]
        alone = len(turns) / self._count
        nearest = max(beside, default=0.0)
        return (
            (self._worth.get(talk, 0.0) - elsewhere) * (1 - alone),
            (own + SECOND_SHARE * min(nearest, own) - elsewhere) * alone,
            alone,
            own - max([nearest, 0.0, *rivals]),
        )


def evidence(utterance: str, hits: Sequence[Hit], now: datetime) -> list[Evidence]:
    """Gather what speaks for each of ``hits``, found together for ``utterance``."""
    if not hits:
        return []
    words, their_words = stems(utterance), [stems(hit.memory.text) for hit in hits]
    spread = {word: sum(word in found for found in their_words) for word in words}
    span, wanted = timespan(utterance, now), asked_subjects(utterance)
    personal = float(_PERSONAL.search(utterance) is not None)
    # What holds no more is told to nobody, and stands before nothing that holds.
    holding = [hit for hit in hits if hit.memory.valid] or hits
    best = max(hit.relevance for hit in holding)
    top = max(hit.score for hit in holding) or 1.0
    company, subjects = Company(holding), _subjects(holding)
    gathered = []
    for hit, found in zip(hits, their_words, strict=True):
        own = subjects.get(source_of(hit), set())
        in_span = span is not None and span.holds(hit.memory.created_at)
        on_subject = answers(own, wanted)
        lead, ahead, alone, margin = company.lead(hit)
        gathered.append(
            Evidence(
                relevance=hit.relevance,
                own=company.relevance(hit) - hit.relevance,
                behind=hit.relevance - best,
                rare=sum(1 / spread[word] for word in words & found) / max(1, len(words)),
                in_time=float(in_span),
                out_of_time=float(span is not None and not in_span),
                personal=personal,
                subject=1.0 if on_subject else -1.0 if wanted and own else 0.0,
                rank=hit.score / top,
                lead=lead,
                ahead=ahead,
                alone=alone,
                margin=margin,
            )
        )
    return gathered


def source_of(hit: Hit) -> str:
    """The turn a memory comes from: a fact from it says what the turn says."""
    return hit.memory.source_id or hit.memory.id


def _subjects(holding: Sequence[Hit]) -> dict[str, set[str]]:
    """The subjects of what still holds of each turn: who has moved is not told where he works
    because he once said both in one breath.
    """
    subjects: dict[str, set[str]] = {}
    for hit in holding:
        # What was to be remembered in the user's own words may be on any subject.
        if hit.memory.subject is not None and not hit.memory.subject.startswith("remember "):
            subjects.setdefault(source_of(hit), set()).add(hit.memory.subject)
    return subjects


def _talk(hit: Hit) -> str:
    return hit.memory.conversation_id or source_of(hit)


def _worth(found: Iterable[float]) -> float:
    best, *rest = sorted(found, reverse=True)
    return best + (SECOND_SHARE * rest[0] if rest else 0.0)
