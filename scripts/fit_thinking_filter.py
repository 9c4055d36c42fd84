"""Fit the thinking filter's weights on the written questions, and tell how well they do.

    python scripts/fit_thinking_filter.py

Pairs: the turn that answers a question against the nearest one of another conversation (the hard
wrong one), and 50 questions a person whose answer is in nobody's memory. Each person is judged by
weights fitted on the other three. Prints the weights fitted on all, for
``coda_memory/thinking_filter.py``.
"""

from __future__ import annotations

import random
import sys
import tempfile
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from coda_memory import Hit, MemoryStore
from coda_memory.thinking_filter import MOST, THRESHOLD, Evidence, evidence, source_of

sys.path.insert(0, str(Path(__file__).parent.parent))
from scripts.benchmarks.memory_quality import told
from tests.integration.test_memory_data import NOW, people

CHAT = (
    "what's the weather like in Paris", "set a timer for five minutes", "tell me a joke",
    "what is nine times seven", "who wrote War and Peace", "turn on the lights please",
    "what time is it in Tokyo", "how do I boil an egg", "play some music", "can you repeat that",
    "what's the capital of Australia", "is it going to rain tomorrow", "how far is the moon",
    "call a taxi", "what do you think about politics", "good idea", "what's your name",
    "how old are you", "tell me something interesting", "add milk to the shopping list",
)  # fmt: skip
KEPT_AT = 0.5
"""Probability of the fit that becomes the threshold of the filter."""
IDLE = 0.05
"""Weight of a memory found for a question that nothing answers: there are many of them."""
RIDGE = 1.0


@dataclass
class Case:
    """A question, what was found, and which of it is right, wrong, or neither (same talk)."""

    person: str
    hits: list[Hit]
    features: np.ndarray
    right: set[str]
    talk: set[str]
    hard: str | None

    def rows(self) -> list[tuple[np.ndarray, float, float]]:
        """Features, label and weight of each memory that tells something."""
        made = []
        wrong = 0
        for hit, row in zip(self.hits, self.features, strict=True):
            right = source_of(hit) in self.right
            if not hit.memory.valid or (not right and hit.memory.conversation_id in self.talk):
                continue
            wrong += not right
            weight = 1.0 if right or wrong <= 3 else 0.3
            made.append((row, float(right), weight if self.talk else weight * IDLE))
        return made


def cases() -> list[Case]:
    """Search for every question, and for the questions of others."""
    found, dice, everybody = [], random.Random(3), people()
    with tempfile.TemporaryDirectory() as folder, MemoryStore(folder, now=lambda: NOW) as store:
        for person in everybody:
            user = told(store, person)
            for question in person.questions:
                hits = user.search(question.text)
                found.append(
                    case(
                        person.name, question.text, hits, question.answer,
                        person.answering(question),
                    )
                )  # fmt: skip
            others = [
                q.text
                for p in everybody
                if p is not person
                for q in p.questions
                if q.kind != "time"
            ]
            idle = (*dice.sample(others, 30), *CHAT)
            found += [case(person.name, text, user.search(text), None, set()) for text in idle]
    return found


def case(person: str, text: str, hits: list[Hit], answer: str | None, talk: set[str]) -> Case:
    """Label what was found."""
    right = {source_of(hit) for hit in hits if answer is not None and answer in hit.memory.text}
    hard = next(
        (
            source_of(hit)
            for hit in hits
            if source_of(hit) not in right and hit.memory.conversation_id not in talk
        ),
        None,
    )
    features = np.array([astuple(one) for one in evidence(text, hits, NOW)])
    return Case(person, hits, features, right, talk, hard)


def fit(chosen: list[Case]) -> np.ndarray:
    """Logistic regression with a ridge, by Newton's method; the offset comes first."""
    rows = [row for one in chosen for row in one.rows()]
    x = np.array([row[0] for row in rows])
    y, weight = np.array([row[1] for row in rows]), np.array([row[2] for row in rows])
    mean, scale = x.mean(0), x.std(0) + 1e-9
    a = np.c_[np.ones(len(x)), (x - mean) / scale]
    ridge = RIDGE * np.diag([0.0] + [1.0] * x.shape[1])
    b = np.zeros(a.shape[1])
    for _ in range(40):
        p = 1 / (1 + np.exp(-a @ b))
        hessian = (a.T * (weight * p * (1 - p))) @ a + ridge + 1e-9 * np.eye(len(b))
        b -= np.linalg.solve(hessian, a.T @ (weight * (p - y)) + ridge @ b)
    slopes = b[1:] / scale
    return np.r_[b[0] - slopes @ mean, slopes]


def kept(one: Case, weights: np.ndarray, at: float) -> list[Hit]:
    """What would be told."""
    chance = 1 / (1 + np.exp(-(weights[0] + one.features @ weights[1:])))
    told: dict[str, Hit] = {}
    for index in np.argsort(-chance):
        hit = one.hits[index]
        if hit.memory.valid and chance[index] >= at and len(told) < MOST:
            told.setdefault(source_of(hit), hit)
    return list(told.values())


def report(found: list[Case], weights_of: dict[str, np.ndarray], at: float) -> str:
    """Precision and recall on hard pairs, and what is told where nothing should be."""
    right = wrong = pairs = told = told_right = idle = idle_told = 0
    for one in found:
        chosen = kept(one, weights_of[one.person], at)
        if not one.talk:
            idle += 1
            idle_told += bool(chosen)
            continue
        if not one.right or one.hard is None:
            continue
        sources = {source_of(hit) for hit in chosen}
        pairs += 1
        right += bool(sources & one.right)
        wrong += one.hard in sources
        told += len(chosen)
        told_right += sum(hit.memory.conversation_id in one.talk for hit in chosen)
    return (
        f"kept at {at:.2f}: precision {right / max(1, right + wrong):.3f}, recall "
        f"{right / pairs:.3f} ({2 * pairs} pairs); of what is told {told_right / max(1, told):.2f} "
        f"is from the answering conversation; something told without need {idle_told}/{idle}"
    )


def main() -> None:
    """Fit, tell, print."""
    found = cases()
    names = sorted({one.person for one in found})
    apart = {name: fit([one for one in found if one.person != name]) for name in names}
    for at in np.arange(0.4, 0.66, 0.05):
        print(report(found, apart, float(at)))
    weights = fit(found)
    print("all four, fitted on all four:", report(found, dict.fromkeys(names, weights), KEPT_AT))
    # The filter's threshold is another: the offset takes up the difference.
    shift = np.log(THRESHOLD / (1 - THRESHOLD)) - np.log(KEPT_AT / (1 - KEPT_AT))
    print(f"OFFSET = {weights[0] + shift:.2f}")
    for field, weight in zip(fields(Evidence), weights[1:], strict=True):
        print(f"    {field.name}={weight:.2f},")


if __name__ == "__main__":
    main()
