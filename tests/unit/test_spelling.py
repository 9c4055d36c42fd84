"""Words become pieces of the tokenizer, also those a small vocabulary cannot write."""

from __future__ import annotations

import pytest

from coda_voice.moshi.checkpoint import SpeechModels
from coda_voice.moshi.spelling import Speller


@pytest.mark.parametrize(
    ("word", "spoken"),
    [
        ("seven", "seven"),
        ("Seven", "seven"),
        ("Seven.", "seven."),
        ("Paris,", "paris"),
        ("na\u00efve", "naive"),
        ("\u201chello\u201d", "hello"),
        ("It's", "it's"),
    ],
)
def test_a_word_is_written_as_the_vocabulary_can(models: SpeechModels, word: str, spoken: str):
    tokenizer = models.tokenizer
    pieces = Speller(tokenizer).pieces(word)
    assert tokenizer.decode(list(pieces)) == spoken
    assert tokenizer.unk_id() not in pieces


@pytest.mark.parametrize("word", ["\u2014", "...", "\u4f60"])
def test_what_has_no_sound_has_no_pieces(models: SpeechModels, word: str):
    assert models.tokenizer.unk_id() not in Speller(models.tokenizer).pieces(word)


def test_a_number_in_two_parts_is_two_words_where_there_is_no_hyphen(models: SpeechModels):
    spell = Speller(models.tokenizer)
    words = spell.words("It is twenty-three degrees, not -5 \u2014 or ninety\u2011one.")
    assert words == ["It", "is", "twenty", "three", "degrees,", "not", "-5", "\u2014", "or",
                     "ninety", "one."]  # fmt: skip
    pieces = [piece for word in words[2:4] for piece in spell.pieces(word)]
    assert pieces == models.tokenizer.encode("twenty three")


class WithHyphen:
    """A vocabulary of single characters."""

    def encode(self, text: str) -> list[int]:
        return [1 + ord(c) for c in text]

    def unk_id(self) -> int:
        return 0


def test_a_hyphen_that_can_be_written_stays():
    assert Speller(WithHyphen()).words("twenty-three degrees") == ["twenty-three", "degrees"]
