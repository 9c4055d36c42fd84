"""Words become pieces of the tokenizer, also those a small vocabulary cannot write."""

from __future__ import annotations

import pytest

from coda_voice.moshi.checkpoint import SpeechModels
from coda_voice.moshi.spelling import speller


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
    pieces = speller(tokenizer)(word)
    assert tokenizer.decode(list(pieces)) == spoken
    assert tokenizer.unk_id() not in pieces


@pytest.mark.parametrize("word", ["\u2014", "...", "\u4f60"])
def test_what_has_no_sound_has_no_pieces(models: SpeechModels, word: str):
    assert models.tokenizer.unk_id() not in speller(models.tokenizer)(word)
