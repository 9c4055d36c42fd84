"""Fit the thinking filter's weights on the written questions, and tell how well they do.

    python scripts/fit_thinking_filter.py

Pairs: the turn that answers a question against the nearest one that has nothing to do with it (the
hard wrong one), and 20 to 50 questions a person whose answer is in nobody's memory. The same people
once more as if they had said everything in one conversation or in two, and three who really did.
Each person is judged by weights fitted on the others. Prints the weights fitted on all, for
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
from coda_memory.evidence import Evidence, evidence, source_of
from coda_memory.thinking_filter import MOST, THRESHOLD

sys.path.insert(0, str(Path(__file__).parent.parent))
from scripts.benchmarks.memory_quality import told
from tests.integration.test_memory_data import NOW, Person, Question, in_few_talks, people

CHAT = (
    "what's the weather like in Paris", "set a timer for five minutes", "tell me a joke",
    "what is nine times seven", "who wrote War and Peace", "turn on the lights please",
    "what time is it in Tokyo", "how do I boil an egg", "play some music", "can you repeat that",
    "what's the capital of Australia", "is it going to rain tomorrow", "how far is the moon",
    "call a taxi", "what do you think about politics", "good idea", "what's your name",
    "how old are you", "tell me something interesting", "add milk to the shopping list",
)  # fmt: skip
KEPT_AT = 0.4
"""Probability of the fit that becomes the threshold of the filter."""
IDLE, UNANSWERED = 0.1, 0.5
"""Weights of a memory found for what nothing answers: chat, of which there is much, and a question
about the user herself."""
LAYOUTS = {"as it was": 2.0, "in two": 0.5, "in one": 0.5, "at once": 1.0}
"""In how many conversations everything was said, and what a case of it weighs."""
RIDGE = 1.0


@dataclass
class Case:
    """A question, what was found, and which turns of it are right or beside it (same talk).

    idle: what a memory found weighs where nothing answers; else 0.
    """

    layout: str
    person: str
    hits: list[Hit]
    features: np.ndarray
    right: set[str]
    beside: set[str]
    idle: float = 0.0

    @property
    def hard(self) -> str | None:
        """The turn found nearest among the wrong ones."""
        good = self.right | self.beside
        return next((source_of(hit) for hit in self.hits if source_of(hit) not in good), None)

    def rows(self) -> list[tuple[np.ndarray, float, float]]:
        """Features, label and weight of each memory that tells something."""
        made = []
        wrong = 0
        for hit, row in zip(self.hits, self.features, strict=True):
            right = source_of(hit) in self.right
            if not hit.memory.valid or (not right and source_of(hit) in self.beside):
                continue
            wrong += not right
            weight = 1.0 if right or wrong <= 3 else 0.3
            weight *= self.idle or (1.0 if self.right else 0.3)
            made.append((row, float(right), weight * LAYOUTS[self.layout]))
        return made


def cases() -> list[Case]:
    """Search for every question, and for the questions of others, in every layout."""
    everybody, found = people(), []
    layouts = {
        "as it was": everybody,
        "in two": [in_few_talks(person, (0.7, 0.3)) for person in everybody],
        "in one": [in_few_talks(person, (1.0,)) for person in everybody],
        "at once": people("at_once.txt"),
    }
    before = {person.name: person for person in everybody}
    dice = random.Random(3)
    for layout, persons in layouts.items():
        with tempfile.TemporaryDirectory() as folder, MemoryStore(folder, now=lambda: NOW) as store:
            for person in persons:
                user = told(store, person)
                as_it_was = before.get(person.name, person)
                found += [
                    case(layout, as_it_was, question, user.search(question.text))
                    for question in person.questions
                ]
                idle = [*CHAT]
                if layout != "at once":
                    idle += dice.sample(others(everybody, person), 30)
                found += [
                    _unanswered(layout, person.name, text, user.search(text), IDLE) for text in idle
                ]
    return found


def others(everybody: list[Person], person: Person) -> list[str]:
    """What everybody else asks."""
    asking = [p for p in everybody if p.name != person.name]
    return [q.text for p in asking for q in p.questions if q.kind != "time"]


def case(layout: str, person: Person, question: Question, hits: list[Hit]) -> Case:
    """Label what was found; ``person``: in which conversations it was said at first."""
    if question.kind == "none":
        return _unanswered(layout, person.name, question.text, hits, UNANSWERED)
    right = {source_of(hit) for hit in hits if question.answer in hit.memory.text}
    talks = person.answering(question) if layout != "at once" else set()
    near = {said.text for said in person.turns if said.conversation in talks}
    beside = {source_of(hit) for hit in hits if hit.memory.text in near} - right
    return Case(layout, person.name, hits, _features(question.text, hits), right, beside)


def _unanswered(layout: str, person: str, text: str, hits: list[Hit], idle: float) -> Case:
    return Case(layout, person, hits, _features(text, hits), set(), set(), idle)


def _features(text: str, hits: list[Hit]) -> np.ndarray:
    return np.array([astuple(one) for one in evidence(text, hits, NOW)])


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
        chosen = {source_of(hit) for hit in kept(one, weights_of[one.person], at)}
        if one.idle:
            idle += 1
            idle_told += bool(chosen)
            continue
        if not one.right or one.hard is None:
            continue
        pairs += 1
        right += bool(chosen & one.right)
        wrong += one.hard in chosen
        told += len(chosen)
        told_right += len(chosen & (one.right | one.beside))
    return (
        f"kept at {at:.2f}: precision {right / max(1, right + wrong):.3f}, recall "
        f"{right / pairs:.3f} ({2 * pairs} pairs); of what is told {told_right / max(1, told):.2f} "
        f"answers or was said beside it; something told without need {idle_told}/{idle}"
    )


def main() -> None:
    """Fit, tell, print."""
    found = cases()
    names = sorted({one.person for one in found})
    apart = {name: fit([one for one in found if one.person != name]) for name in names}
    weights = fit(found)
    for layout in LAYOUTS:
        mine = [one for one in found if one.layout == layout]
        print(layout)
        for at in np.arange(0.35, 0.56, 0.05):
            print(" ", report(mine, apart, float(at)))
        print("  fitted on all:", report(mine, dict.fromkeys(names, weights), KEPT_AT))
    # The filter's threshold is another: the offset takes up the difference.
    shift = np.log(THRESHOLD / (1 - THRESHOLD)) - np.log(KEPT_AT / (1 - KEPT_AT))
    print(f"OFFSET = {weights[0] + shift:.2f}")
    for field, weight in zip(fields(Evidence), weights[1:], strict=True):
        print(f"    {field.name}={weight:.2f},")


if __name__ == "__main__":
    main()
