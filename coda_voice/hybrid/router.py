"""Decide whether Moshi answers alone or the LLM is asked, from what the user said.

Rules first, then a small classifier; what neither is sure of goes to the LLM, which is the
last resort. Moshi's own words are only a second signal ("let me check"): triggers on them
alone hallucinate.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

from coda_voice.events import RouteDecided
from coda_voice.hybrid.depth import reason_for_depth
from coda_voice.hybrid.intent_classifier import IntentClassifier
from coda_voice.hybrid.moshi_alone import says_it_looks
from coda_voice.hybrid.pleasantries import is_pleasantry
from coda_voice.hybrid.resources import Resources
from coda_voice.hybrid.route_budget import RouteBudget
from coda_voice.hybrid.route_rules import Kind, is_fragment, matching_rule, normalised

Target = Literal["moshi", "llm", "stop", "wait"]
Preference = Literal["moshi", "balanced", "llm"]
"""Who answers what either could: ``moshi`` at once, or the ``llm`` with more thought."""

FOLLOW_UP_SECONDS = 45.0
"""After an answer that is older, "and in Rome?" has nothing to go on with."""
UNSURE = 0.5
_UNFINISHED = re.compile(
    r"\b(?:a|an|the|of|in|to|for|and|or|is|are|was|my|your|what|who|how|when|where|why|which|"
    r"with|from|at|on|that|if|can|could|do|does|did|set|tell|me|about)$"
)


@dataclass(frozen=True)
class RouteDecision:
    """Who answers, why, and what deciding took.

    ``target``: ``moshi`` alone, the ``llm`` too, ``stop`` (fall silent), or ``wait`` (the
    partial transcript says too little yet, or thinking ahead would cost too much). ``deep``:
    the larger of two LLMs, where there are two. ``stand_in``: the offline brain in its place.
    """

    target: Target
    kind: Kind | Literal["unknown"]
    confidence: float
    reasons: tuple[str, ...]
    milliseconds: float
    deep: bool = False
    stand_in: bool = False

    def event(
        self, conversation_id: str, text: str, partial: bool, time: float, generation: int
    ) -> RouteDecided:
        """Give the event that tells of this decision."""
        return RouteDecided(
            conversation_id=conversation_id,
            time=time,
            generation=generation,
            text=text,
            partial=partial,
            target=self.target,
            kind=self.kind,
            confidence=round(self.confidence, 3),
            reasons=self.reasons,
            milliseconds=self.milliseconds,
        )


STANDS_IN = "the offline brain stands in"
ROUTED_BY = 4_000
"""Characters of a turn: of a typed letter the rules take a time that grows with its square."""


class Router:
    """Routes one conversation; ``every_turn`` (mode hybrid) asks the LLM but for pleasantries.

    ``preference`` tips the scale in mode adaptive, and so do ``resources``, which all
    conversations share. ``now`` is seconds on a monotonic clock of the caller's choice.
    """

    def __init__(
        self,
        *,
        every_turn: bool = False,
        preference: Preference = "balanced",
        budget: RouteBudget | None = None,
        classifier: IntentClassifier | None = None,
        resources: Resources | None = None,
    ) -> None:
        self.budget = budget or RouteBudget()
        self.every_turn = every_turn
        self.preference: Preference = preference
        self.resources = resources or Resources()
        self._classifier = classifier or IntentClassifier.shipped()
        self._answered_at: float | None = None

    def answered(self, now: float, first_text: float | None) -> None:
        """Note that the LLM answered (``first_text`` seconds to its text), or failed (None)."""
        self.budget.answered(now, first_text)
        if first_text is not None:
            self._answered_at = now

    def answered_by_stand_in(self, now: float) -> None:
        """Note that the offline brain answered, which says nothing of how the LLM is."""
        self._answered_at = now

    @staticmethod
    def is_stop(text: str) -> bool:
        """Whether ``text`` asks for silence and nothing else."""
        rule = matching_rule(normalised(text), False)
        return rule is not None and rule.kind == "stop"

    def route(
        self,
        text: str,
        now: float,
        *,
        partial: bool = False,
        agent_text: str = "",
        stand_in: Callable[[str], bool] = lambda text: False,
    ) -> RouteDecision:
        """Decide on the user's words so far; ``agent_text`` is Moshi's latest monologue.

        ``stand_in``: whether the offline brain can answer a text, where the LLM is spared.
        """
        started = perf_counter()
        reasons: list[str] = []
        target, kind, confidence = self._decide(text, now, partial, agent_text, reasons, stand_in)
        deep = any(reason.startswith("deep: ") for reason in reasons)
        took = (perf_counter() - started) * 1_000
        stands_in = STANDS_IN in reasons
        return RouteDecision(target, kind, confidence, tuple(reasons), took, deep, stands_in)

    def _decide(
        self,
        text: str,
        now: float,
        partial: bool,
        agent_text: str,
        reasons: list[str],
        stand_in: Callable[[str], bool],
    ) -> tuple[Target, Kind | Literal["unknown"], float]:
        words = normalised(text[:ROUTED_BY])
        if not words:
            reasons.append("no words")
            return "wait" if partial else "moshi", "unknown", 0.0
        previous = (
            self._answered_at is not None and 0 <= now - self._answered_at < FOLLOW_UP_SECONDS
        )
        kind, confidence = self._kind(words, previous, reasons)
        if kind == "stop":
            return "stop", kind, confidence
        if partial and (len(words.split()) < 3 or _UNFINISHED.search(words)):
            reasons.append("unfinished")
            return "wait", kind, confidence
        if kind == "social" and not self._needs_thought(words, confidence, agent_text, reasons):
            return "moshi", kind, confidence
        deep = reason_for_depth(words, kind)
        plain = kind == "question" and not deep
        if plain and self.preference == "moshi" and not self.every_turn:
            reasons.append("preference: moshi")
            return "moshi", kind, confidence
        refusal = self.budget.refusal(now)
        if refusal:
            reasons.append(refusal)
            if not stand_in(text):
                return "moshi", kind, confidence
            reasons.append(STANDS_IN)
            return "llm", kind, confidence
        shortage = None if self.every_turn else self.resources.shortage()
        if shortage and (partial or (plain and self.preference != "llm")):
            reasons.append(shortage)
            return "wait" if partial else "moshi", kind, confidence
        if deep:
            reasons.append(deep)
        if not partial:
            self.budget.asked(now)
        return "llm", kind, confidence

    def _kind(self, words: str, previous: bool, reasons: list[str]) -> tuple[Kind, float]:
        rule = matching_rule(words, previous)
        if rule is not None:
            reasons.append(f"rule: {rule.name}")
            return rule.kind, 1.0
        if is_fragment(words):
            reasons.append("fragment")
            return "social", 1.0
        chances = self._classifier.probabilities(words, previous)
        kind = max(chances, key=lambda candidate: chances[candidate])
        if kind == "stop":
            # Falling silent by mistake is worse than talking on: only rules may order it.
            del chances["stop"]
            kind = max(chances, key=lambda candidate: chances[candidate])
        reasons.append(f"classifier: {kind} {chances[kind]:.2f}")
        return kind, chances[kind]

    def _needs_thought(
        self, words: str, confidence: float, agent_text: str, reasons: list[str]
    ) -> bool:
        """Whether what looks like social talk had better go to the LLM all the same."""
        if self.every_turn and " " in words and not is_pleasantry(words):
            reasons.append("every substantial turn is asked")
            return True
        if self.preference == "llm" and confidence < 1.0 and len(words.split()) >= 4:
            reasons.append("preference: llm")
            return True
        if confidence < UNSURE and len(words.split()) >= 4:
            reasons.append("unsure")
            return True
        if says_it_looks(normalised(agent_text)) and len(words.split()) >= 3:
            reasons.append("Moshi says it has to look")
            return confidence < 1.0
        return False
