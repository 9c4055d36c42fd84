"""A recogniser for a benchmark's answers, and the words of the domain that it knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.train_tiny import corpus
from scripts.train_tiny.judge import Judge, pronounced, write_grammar


def judge_of(folder: Path, sentences: Sequence[str], slots: Mapping[str, Sequence[str]]) -> Judge:
    """Make a recogniser of these sentences, one after the other, and of nothing else.

    Trigrams would do, were the voice a person's: through coda-tiny's codec they take every second
    "i do not know" for "i did not know", which nobody in this domain ever says.
    """
    write_grammar(folder / "answers.gram", sentences, slots, several=True)
    return Judge(grammar=folder / "answers.gram")


def known_words() -> tuple[list[str], list[str]]:
    """Things that can be liked and names that the recogniser knows."""
    known = pronounced()
    words, _ = corpus.vocabularies()
    likes = [word for word in words.likes[:150] if word in known]
    return likes, [word for word in words.names[:300] if word in known]
