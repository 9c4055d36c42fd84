"""Facts in the sentences a checkpoint was trained on."""

from __future__ import annotations

import pytest
import sentencepiece

from coda_voice.moshi.capabilities import TINY_FOLDER
from coda_voice.moshi.sentences import LearntSentences, PlainSentences, sentences_for

CODA = "Your name is Coda. You are a helpful voice assistant who listens well. Be brief."


@pytest.fixture(scope="module")
def encode():
    return sentencepiece.SentencePieceProcessor(str(TINY_FOLDER / "tokenizer.model")).encode


def test_the_tokenizer_tells_which_sentences_it_takes(encode):
    assert isinstance(sentences_for(encode, 0), LearntSentences)
    assert isinstance(sentences_for(lambda text: [7] * len(text), 0), PlainSentences)


def test_coda_tiny_is_told_what_it_learnt_and_the_rest_is_named(encode):
    made = sentences_for(encode, 0).prompt(
        CODA,
        [
            "The user's name is Anna.",
            "The user likes chess.",
            "The user lives in Paris.",
            "The user likes tea.",
            "The user likes old maps.",
            "The user is called Bob.",
            "The user is allergic to walnuts.",
            "The user likes 3 cafés.",
        ],
        200,
    )
    assert made.text == (
        "your name is coda. be brief. the user is anna. the user lives in paris. "
        "the user likes chess and tea"
    )
    assert len(made.told) == 4
    assert dict(made.refused) == {
        "The user likes old maps.": "it learnt to hold 2 likings",
        "The user is called Bob.": "another name is told already",
        "The user is allergic to walnuts.": "this checkpoint learnt no such sentence",
        "The user likes 3 cafés.": "it has characters this checkpoint cannot read",
    }


def test_what_it_cannot_say_of_the_character_is_named_too(encode):
    made = sentences_for(encode, 0).prompt(f"{CODA} Born in 1999.", [], 200)
    assert made.text == "your name is coda. be brief"
    assert made.told == made.refused == []
    assert dict(made.persona_refused) == {
        "You are a helpful voice assistant who listens well.": (
            "this checkpoint learnt no such sentence of more than 5 words"
        ),
        "Born in 1999.": "it has characters this checkpoint cannot read",
    }


def test_what_does_not_fit_is_refused_and_the_rest_is_told(encode):
    facts = ["The user likes chess.", "The user lives in Paris."]
    room = len(encode("your name is coda. be brief. the user likes chess")) + 2
    made = sentences_for(encode, 0).prompt(CODA, facts, room)
    assert made.told == facts[:1]
    assert "no room" in made.refused[0][1]
    plain = PlainSentences(lambda text: text.split())  # a token a word
    made = plain.prompt("Your name is Coda.", ["One two three", "four five", "six"], 14)
    assert made.text == "Your name is Coda. What you know about the user: One two three. six."
    assert made.refused == [("four five", "the prompt has no room (14 tokens)")]


def test_messages_for_the_frame_sum(encode):
    tiny = sentences_for(encode, 0)
    assert tiny.message("The user likes Old Maps.") == "the user likes old maps"
    assert tiny.message("The user is called Anna.") == "the user is anna"
    assert tiny.message("The user drives a tram.") is None
    assert PlainSentences(encode).message("The user drives a tram") == "The user drives a tram."
