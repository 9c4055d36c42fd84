"""Which of the memories found are worth a thought right now: 1 to 3 of 15, or none.

By rules, in a millisecond. How relevant a memory is to what the user says is weighed from what
the search knows of it (its cosine, how far it falls behind the best) and from its company: what
else was said in the same conversation, whether another answers better (``evidence``), whether it
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

from coda_memory.evidence import Evidence, evidence, source_of
from coda_memory.one_turn import telling
from coda_memory.record import utc_now
from coda_memory.search import Hit

THRESHOLD = 0.7
MOST = 3
_IMPORTANCE = 0.1
_SOCIAL = re.compile(
    r"^(?:(?:oh|well|ok|okay|yes|yeah|no|hi|hey|hello|hi there|hello there|thanks|thank you|please|"
    r"good (?:morning|night|evening|afternoon)|bye|goodbye|great|sure|right|mm+|uh+|um+|haha|"
    r"how are you(?: today| doing)?|see you(?: later)?|never mind|that's (?:funny|great|nice|fine)|"
    r"very much|i see|i don't understand)[\s,.!?]*)+$",
    re.IGNORECASE,
)
WEIGHTS = Evidence(
    relevance=1.51, own=0.57, behind=0.19, rare=1.47, in_time=2.80, out_of_time=-4.28,
    personal=0.43, subject=2.36, rank=-0.20, lead=10.42, ahead=7.12, alone=-1.29, margin=7.31,
)  # fmt: skip
OFFSET = -0.01


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
