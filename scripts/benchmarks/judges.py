"""A recogniser for a benchmark's answers, and the words of the domain that it knows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scripts.train_tiny import corpus
from scripts.train_tiny.judge import Judge, pronounced, write_language_model


def judge_of(folder: Path, kinds: Sequence[Sequence[str]]) -> Judge:
    """Make a recogniser of these sentences; each kind of them is as likely as another."""
    most = max(map(len, kinds))
    texts = [line for kind in kinds for line in list(kind) * (most // len(kind))]
    write_language_model(folder / "answers.arpa", texts)
    return Judge(folder / "answers.arpa")


def known_words() -> tuple[list[str], list[str]]:
    """Things that can be liked and names that the recogniser knows."""
    known = pronounced()
    words, _ = corpus.vocabularies()
    likes = [word for word in words.likes[:150] if word in known]
    return likes, [word for word in words.names[:300] if word in known]
