"""What a search finds of what people said: tests/integration/test_memory_data, no LLM."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import get_args

from coda_memory import Hit, MemoryStore, UserMemories
from coda_memory.search import Ranking
from rich.progress import track

from scripts.benchmarks.memories import console
from scripts.benchmarks.report import Row
from tests.integration.test_memory_data import NOW, Person, Question, people


def told(store: MemoryStore, person: Person) -> UserMemories:
    """Store all that a person of the written set has said; give their memories."""
    user = store.user(person.name)
    waiting = [
        user.append(user.turn(said.text, conversation_id=said.conversation, at=said.at))
        for said in person.turns
    ]
    for done in waiting:
        done.result()
    return user


def quality() -> list[Row]:
    """Ask every question in each ranking: a row for each."""
    with tempfile.TemporaryDirectory() as folder, MemoryStore(folder, now=lambda: NOW) as store:
        asked: list[tuple[Person, UserMemories, Question]] = []
        for person in track(people(), "remembering", console=console):
            user = told(store, person)
            asked += [(person, user, question) for question in person.questions]
        count = sum(user.count() for user in {user.user_id: user for _, user, _ in asked}.values())
        return [_row(asked, ranking, count) for ranking in get_args(Ranking)]


def _row(
    asked: Sequence[tuple[Person, UserMemories, Question]], ranking: Ranking, count: int
) -> Row:
    first = among_five = newest = updates = 0
    for person, user, question in track(asked, ranking, console=console):
        hits = user.search(question.text, ranking=ranking)
        found = list(dict.fromkeys(hit.memory.conversation_id for hit in hits))
        right = person.answering(question)
        first += bool(right & set(found[:1]))
        among_five += bool(right & set(found[:5]))
        if question.outdated:
            updates += 1
            newest += _rank(hits, question.answer) < _rank(hits, question.outdated)
    return {
        "ranking": ranking,
        "memories": count,
        "questions": len(asked),
        "session_recall_at_5": among_five / len(asked),
        "session_first": first / len(asked),
        "contradictions": updates,
        "newest_first": newest / updates,
    }


def _rank(hits: Sequence[Hit], part: str) -> int:
    return next((i for i, hit in enumerate(hits) if part in hit.memory.text), len(hits))
