"""The benchmarks' second ear: a beam over a closed set of sentences, tried with made-up chances."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.train_tiny.judge import spelled_out
from scripts.train_tiny.second_ear import (
    Pieces,
    Sentences,
    between_pauses,
    likeliest,
    vocabulary,
)

VOCABULARY = [
    "<unk>", "<s>", "</s>", " you", " You", " like", " t", "ea", " tea", " t", "oast", ".",
    " hello", " hell", "o", " world", "<<ST_1>>",
]  # fmt: skip
SENTENCES = ["you like tea", "you like toast", "hello"]


def heard(*likely: str) -> str:
    """What is made of a sound whose tokens are these, the others being a hundred times rarer."""

    def score(sequences: list[list[int]]) -> np.ndarray:
        chances = np.full((len(sequences), len(VOCABULARY)), -5.0)
        for row, tokens in enumerate(sequences):
            at = len(tokens) - 1
            chances[row, VOCABULARY.index(likely[at]) if at < len(likely) else 2] = 0.0
        return chances

    return likeliest(score, Pieces(VOCABULARY), Sentences(SENTENCES))


@pytest.mark.parametrize(
    "tokens, said",
    [
        ((" You", " like", " tea", "."), "you like tea"),
        ((" you", " like", " t", "ea"), "you like tea"),
        ((" you", " like", " t", "oast"), "you like toast"),
        ((" hello", ".", " You", " like", " tea", "."), "hello you like tea"),
        ((" hell", "o"), "hello"),
        ((" hello", " world"), "hello"),  # nobody in this set says that
        ((" hell",), "hello"),
    ],
)
def test_what_is_heard_is_the_likeliest_of_the_sentences(tokens: tuple[str, ...], said: str):
    assert heard(*tokens) == said


def test_no_sentence_can_be_said_with_these_tokens():
    def score(sequences: list[list[int]]) -> np.ndarray:
        return np.zeros((len(sequences), len(VOCABULARY)))

    assert likeliest(score, Pieces(VOCABULARY), Sentences(["goodbye"])) == ""


def test_a_file_of_tokens_is_read_with_its_lengths():
    long = "▁" + "a" * 150
    coded = long.encode()
    content = b"\x03abc" + bytes([128 + len(coded) % 128, len(coded) // 128]) + coded
    assert vocabulary(content) == ["abc", " " + "a" * 150]


def test_sounds_are_parted_at_pauses_and_not_within_words():
    word, breath, pause = np.full(4_800, 0.3), np.zeros(4_800), np.zeros(24_000)
    first, second = between_pauses(np.concatenate([pause, word, breath, word, pause, word]))
    assert 14_400 <= len(first) < 24_000 and 4_800 <= len(second) < 12_000
    assert between_pauses(pause) == between_pauses(np.zeros(0)) == []


def test_slots_are_spelled_out():
    slots = {"like": ["tea", "toast"], "name": ["ada"]}
    assert [*spelled_out(["hello", "<name> likes <like>"], slots)] == [
        "hello", "ada likes tea", "ada likes toast"
    ]  # fmt: skip
