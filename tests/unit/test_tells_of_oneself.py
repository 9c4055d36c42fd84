"""Who is told something, and asked for nothing, has nothing to apologise for."""

import pytest

from coda_voice.hybrid.offline_requests import tells_of_oneself


@pytest.mark.parametrize(
    "text",
    [
        "My name is Sam.",
        "my name is sam",
        "Hi, I'm Anna. Nice to meet you.",
        "I moved to Berlin last week, and I don't like it yet.",
        "We’re having a baby in May!",
        "By the way, I am allergic to nuts.",
        "Actually I never drink coffee.",
        "My brother and I like to play chess.",
        "I want a dog.",
    ],
)
def test_statements_about_oneself(text: str) -> None:
    assert tells_of_oneself(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "What is my name?",
        "Who was Napoleon?",
        "My sister lives in Rome. What is the weather there?",
        "I live in Rome. Tell me about it.",
        "I want you to write a poem.",
        "I'd like to know who Napoleon was.",
        "I wonder how far the moon is.",
        "I was wondering about the moon.",
        "I don't know how to tie a tie.",
        "I have a question about Rome.",
        "I need help with my essay.",
        "I cannot remember where I parked.",
        "The moon is far away.",
        "Rome is my home?",
        "Can you tell me about Rome?",
        "My computer is broken, can you help me?",
    ],
)
def test_all_else_wants_an_answer(text: str) -> None:
    assert not tells_of_oneself(text)
