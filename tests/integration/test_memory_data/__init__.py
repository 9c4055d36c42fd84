"""Conversations of four people and questions about them, with the turns that answer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Said:
    conversation: str
    at: datetime
    text: str


@dataclass(frozen=True)
class Question:
    kind: str
    answer: str
    outdated: str
    text: str


@dataclass
class Person:
    name: str
    turns: list[Said] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)

    def answering(self, question: Question) -> set[str]:
        """The conversations that hold the answer; all of them for one that has none."""
        return {t.conversation for t in self.turns if question.answer in t.text}


def people(file: str = "conversations.txt") -> list[Person]:
    """Read a file; every question's answer is in somebody's turn, but of the kind "none"."""
    found: list[Person] = []
    at = NOW
    for line in (Path(__file__).parent / file).read_text().splitlines():
        mark, rest = line[:1], line[2:].strip()
        if mark == "=":
            found.append(Person(rest))
        elif mark == "@":
            at = datetime.strptime(rest, "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
        elif mark == "?":
            kind, parts, text = (part.strip() for part in rest.split("|"))
            answer, _, outdated = (part.strip() for part in parts.partition(">"))
            question = Question(kind, answer, outdated, text)
            assert bool(answer) == (kind != "none"), line
            assert found[-1].answering(question), line
            found[-1].questions.append(question)
        elif mark and mark != "#":
            found[-1].turns.append(Said(f"{at:%m-%d}", at, line.strip()))
    return found


def in_few_talks(person: Person, shares: tuple[float, ...]) -> Person:
    """The same, said in so few conversations, each with its share of all turns."""
    ends = [share * len(person.turns) for share in accumulate(shares)]
    turns = [
        replace(said, conversation=f"talk {sum(index >= end for end in ends)}")
        for index, said in enumerate(person.turns)
    ]
    return Person(person.name, turns, person.questions)
