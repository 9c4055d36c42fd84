"""Which of the memories found are worth a thought right now: 1 to 3 of 15, or none.

By rules, in microseconds. Relevance comes from the cosine, from how far a memory falls behind
the best one found, and from shared words; its three weights were fitted on half of
tests/integration/test_memory_data. Importance may tip the balance, no more.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from coda_memory.search import Hit

THRESHOLD = 0.7
MOST = 3
_COSINE, _BEHIND, _SHARED, _OFFSET = 9.4, 8.5, 1.0, -1.1
_IMPORTANCE = 0.1
_SOCIAL = re.compile(
    r"^(?:(?:oh|well|ok|okay|yes|yeah|no|hi|hey|hello|hi there|hello there|thanks|thank you|please|"
    r"good (?:morning|night|evening|afternoon)|bye|goodbye|great|sure|right|mm+|uh+|um+|haha|"
    r"how are you(?: today| doing)?|see you(?: later)?|never mind|that's (?:funny|great|nice|fine)|"
    r"very much|i see|i don't understand)[\s,.!?]*)+$",
    re.IGNORECASE,
)
_COMMON = frozenset(
    [
        "a",
        "an",
        "the",
        "i",
        "me",
        "my",
        "mine",
        "you",
        "your",
        "it",
        "its",
        "is",
        "are",
        "was",
        "were",
        "be",
        "been",
        "do",
        "does",
        "did",
        "have",
        "has",
        "had",
        "of",
        "in",
        "on",
        "at",
        "to",
        "for",
        "from",
        "by",
        "with",
        "what",
        "which",
        "who",
        "whom",
        "whose",
        "when",
        "where",
        "why",
        "how",
        "and",
        "or",
        "but",
        "not",
        "no",
        "that",
        "this",
        "there",
        "as",
        "if",
        "so",
        "then",
        "than",
        "too",
        "very",
        "can",
        "could",
        "should",
        "would",
        "will",
        "may",
        "might",
        "must",
        "about",
        "any",
        "more",
        "most",
        "we",
        "our",
        "us",
        "they",
        "them",
        "their",
        "he",
        "his",
        "she",
        "her",
        "user",
        "s",
        "t",
        "m",
        "like",
    ]
)


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

    def judge(self, utterance: str, hits: Sequence[Hit]) -> list[Verdict]:
        """Judge every memory found; those kept come first, best first."""
        best = max((hit.relevance for hit in hits), default=0.0)
        social = _SOCIAL.match(utterance.strip()) is not None
        words = _stems(utterance)
        judged = [self._judge(hit, best, words, social) for hit in hits]
        judged.sort(key=lambda verdict: -verdict.score)
        kept = 0
        said: set[str] = set()
        verdicts = []
        for verdict in judged:
            reason = verdict.reason
            # A fact and the turn it came from say the same: one of them is enough.
            source = verdict.hit.memory.source_id or verdict.hit.memory.id
            if not reason and source in said:
                reason = "said already"
            if not reason and kept >= self.most:
                reason = f"more than {self.most}"
            if not reason:
                said.add(source)
                kept += 1
            verdicts.append(
                Verdict(
                    verdict.hit, verdict.relevance, verdict.importance, verdict.score,
                    not reason, reason,
                )
            )  # fmt: skip
        verdicts.sort(key=lambda verdict: not verdict.kept)
        return verdicts

    def choose(self, utterance: str, hits: Sequence[Hit]) -> list[Hit]:
        """Give the memories worth telling, best first."""
        return [verdict.hit for verdict in self.judge(utterance, hits) if verdict.kept]

    def _judge(self, hit: Hit, best: float, words: set[str], social: bool) -> Verdict:
        shared = len(words & _stems(hit.memory.text)) / max(1, len(words))
        logit = _COSINE * hit.relevance + _BEHIND * (hit.relevance - best)
        relevance = 1 / (1 + math.exp(-(logit + _SHARED * shared + _OFFSET)))
        importance = hit.memory.importance
        score = (1 - _IMPORTANCE) * relevance + _IMPORTANCE * importance
        reason = ""
        if social:
            reason, score = "the user is only being polite", 0.0
        elif not hit.memory.valid:
            reason, score = "something newer is known", 0.0
        elif score < self.threshold:
            reason = f"scores {score:.2f}, needs {self.threshold:.2f}"
        return Verdict(hit, relevance, importance, score, not reason, reason)


def _stems(text: str) -> set[str]:
    return {
        re.sub(r"(?:ing|ed|es|s|e)$", "", word)
        for word in re.findall(r"[^\W_]+", text.casefold())
        if word not in _COMMON and len(word) > 1
    }
