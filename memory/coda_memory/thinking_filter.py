"""Which of the memories found are worth a thought right now: 1 to 3 of 15, or none.

By rules, in a millisecond. How relevant a memory is to what the user says is weighed from what
the search knows of it (its cosine, how far it falls behind the best) and from its company: what
else was said in the same conversation, whether another conversation answers better, whether it
is from the time and on the subject that a question names, which of its words nothing else found
has. The weights were fitted on tests/integration/test_memory_data (scripts/fit_thinking_filter.py,
which also tells how well they do on a person they were not fitted on). Importance may tip the
balance, no more.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import datetime

from coda_memory.asking import answers, asked_subjects
from coda_memory.one_turn import stems, telling
from coda_memory.record import utc_now
from coda_memory.search import Hit
from coda_memory.timespan import timespan

THRESHOLD = 0.7
MOST = 3
_IMPORTANCE = 0.1
USUAL = 0.35
"""What some other conversation is worth for any words: a short memory has no rivals to show it."""
SECOND_SHARE = 0.5
"""What a conversation's second best memory adds to what it is worth."""
_SOCIAL = re.compile(
    r"^(?:(?:oh|well|ok|okay|yes|yeah|no|hi|hey|hello|hi there|hello there|thanks|thank you|please|"
    r"good (?:morning|night|evening|afternoon)|bye|goodbye|great|sure|right|mm+|uh+|um+|haha|"
    r"how are you(?: today| doing)?|see you(?: later)?|never mind|that's (?:funny|great|nice|fine)|"
    r"very much|i see|i don't understand)[\s,.!?]*)+$",
    re.IGNORECASE,
)
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
    best score; lead: its conversation before the best other one.
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


WEIGHTS = Evidence(
    relevance=3.19, own=10.64, behind=4.78, rare=0.11, in_time=3.12, out_of_time=-3.91,
    personal=0.52, subject=3.47, rank=1.20, lead=13.97,
)  # fmt: skip
OFFSET = -1.74


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the filter made of one memory, and why."""

    hit: Hit
    relevance: float
    importance: float
    score: float
    kept: bool
    reason: str


class ThinkingFilter:
    """Judges memories against what the user is saying.

    threshold: 0–1, what a memory must score; most: how many may pass.
    """

    def __init__(self, threshold: float = THRESHOLD, most: int = MOST) -> None:
        self.threshold = threshold
        self.most = most

    def judge(
        self, utterance: str, hits: Sequence[Hit], now: datetime | None = None
    ) -> list[Verdict]:
        """Judge every memory found; those kept come first, best first.

        now: what "yesterday" is counted from.
        """
        social = _SOCIAL.match(utterance.strip()) is not None
        weighed = zip(hits, evidence(utterance, hits, now or utc_now()), strict=True)
        judged = [self._judge(hit, found, social) for hit, found in weighed]
        judged.sort(key=lambda verdict: -verdict.score)
        answering = _answering(utterance, judged)
        kept = 0
        verdicts = []
        for verdict in judged:
            reason = verdict.reason
            if not reason and verdict.hit.memory.id not in answering:
                reason = "what answers is said by another of the same turn"
            if not reason and kept >= self.most:
                reason = f"more than {self.most}"
            kept += not reason
            verdicts.append(
                Verdict(
                    verdict.hit, verdict.relevance, verdict.importance, verdict.score,
                    not reason, reason,
                )
            )  # fmt: skip
        verdicts.sort(key=lambda verdict: not verdict.kept)
        return verdicts

    def choose(self, utterance: str, hits: Sequence[Hit], now: datetime | None = None) -> list[Hit]:
        """Give the memories worth telling, best first."""
        return [verdict.hit for verdict in self.judge(utterance, hits, now) if verdict.kept]

    def _judge(self, hit: Hit, found: Evidence, social: bool) -> Verdict:
        relevance = 1 / (1 + math.exp(-logit(found)))
        importance = hit.memory.importance
        score = score_of(relevance, importance)
        reason = ""
        if social:
            reason, score = "the user is only being polite", 0.0
        elif not hit.memory.valid:
            reason = "it was taken back" if hit.memory.taken_back else "something newer is known"
            score = 0.0
        elif score < self.threshold:
            reason = f"scores {score:.2f}, needs {self.threshold:.2f}"
        return Verdict(hit, relevance, importance, score, not reason, reason)


def _answering(utterance: str, judged: Sequence[Verdict]) -> set[str]:
    """Give the ids of what is worth telling of each turn: a turn and its facts are one."""
    turns: dict[str, list[Hit]] = {}
    for verdict in judged:
        if not verdict.reason:
            turns.setdefault(source_of(verdict.hit), []).append(verdict.hit)
    changed = {source_of(v.hit) for v in judged if not v.hit.memory.valid}
    return {
        hit.memory.id
        for source, hits in turns.items()
        for hit in telling(utterance, hits, whole=source not in changed)
    }


def score_of(relevance: float, importance: float) -> float:
    """Make of relevance and importance what the threshold is held against."""
    return (1 - _IMPORTANCE) * relevance + _IMPORTANCE * importance


def logit(found: Evidence) -> float:
    """Weigh the evidence: 0 is an even chance that the memory matters."""
    pairs = zip(astuple(WEIGHTS), astuple(found), strict=True)
    return OFFSET + float(sum(weight * value for weight, value in pairs))


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
    # A turn and its facts count as one, with the subjects of what of it still holds: who has moved
    # is not told where he works because he once said both in one breath.
    sources: dict[str, float] = {}
    subjects: dict[str, set[str]] = {}
    talks: dict[str, dict[str, float]] = {}
    for hit in holding:
        source = source_of(hit)
        sources[source] = max(sources.get(source, -1.0), hit.relevance)
        talks.setdefault(_talk(hit), {})[source] = sources[source]
        # What was to be remembered in the user's own words may be on any subject.
        if hit.memory.subject is not None and not hit.memory.subject.startswith("remember "):
            subjects.setdefault(source, set()).add(hit.memory.subject)
    worth = {talk: _worth(found) for talk, found in talks.items()}
    gathered = []
    for hit, found in zip(hits, their_words, strict=True):
        source, talk = source_of(hit), _talk(hit)
        own = subjects.get(source, set())
        in_span = span is not None and span.holds(hit.memory.created_at)
        elsewhere = [value for name, value in worth.items() if name != talk]
        on_subject = answers(own, wanted)
        gathered.append(
            Evidence(
                relevance=hit.relevance,
                own=sources.get(source, hit.relevance) - hit.relevance,
                behind=hit.relevance - best,
                rare=sum(1 / spread[word] for word in words & found) / max(1, len(words)),
                in_time=float(in_span),
                out_of_time=float(span is not None and not in_span),
                personal=personal,
                subject=1.0 if on_subject else -1.0 if wanted and own else 0.0,
                rank=hit.score / top,
                lead=worth.get(talk, 0.0) - max([*elsewhere, USUAL]),
            )
        )
    return gathered


def source_of(hit: Hit) -> str:
    """The turn a memory comes from: a fact from it says what the turn says."""
    return hit.memory.source_id or hit.memory.id


def _talk(hit: Hit) -> str:
    return hit.memory.conversation_id or source_of(hit)


def _worth(found: dict[str, float]) -> float:
    best, *rest = sorted(found.values(), reverse=True)
    return best + (SECOND_SHARE * rest[0] if rest else 0.0)
