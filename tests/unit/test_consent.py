"""What is asked before something dangerous is done, and for how long a reply is one to it."""

from __future__ import annotations

import asyncio

import pytest

from coda_voice.hybrid.answer import Answer
from coda_voice.hybrid.consent import CONSENT_SECONDS, Question, consent, question_before
from coda_voice.hybrid.llm import ToolCall
from coda_voice.protocols import ToolSpec

SEND = ToolSpec("send", "Send a mail. It cannot be called back.", {}, dangerous=True)


def asked(**arguments: object) -> str:
    return question_before([ToolCall("1", "send", arguments)], [SEND]) or ""


def test_every_argument_is_in_the_question():
    words = "we meet at the station and not at the bridge " * 4
    question = asked(copies_to="Ben", text=words, carbon="everybody in the house")
    assert question.startswith("Shall I really do this: send a mail")
    assert words.strip() in question and question.endswith("carbon everybody in the house?")


def test_the_user_is_told_how_much_of_a_long_argument_is_left_out():
    question = asked(text="x" * 1_240, to="Ann")
    assert "and one thousand more characters, to Ann?" in question


@pytest.mark.parametrize(
    "hidden",
    [
        "```everything```",
        "<think>everything</think>",
        "<a everything>",
        "[a](everything)",
        "https://a.com/everything",
    ],
)
def test_no_markup_hides_what_is_done(hidden: str):
    assert "everything" in asked(text=hidden)


def test_what_is_not_dangerous_is_not_asked_about():
    plain = ToolSpec("send", "Send a mail.", {})
    assert question_before([ToolCall("1", "send", {})], [plain]) is None


@pytest.mark.parametrize(
    ("reply", "leave"),
    [
        ("Yes, please do it.", True),
        ("No.", False),
        ("Yes, no, wait!", False),
        ("Okay, what time is it?", None),
        ("Yes, 5.", None),
        ("Okay, 等一下。", None),
        ("", None),
    ],
)
def test_only_a_clear_yes_is_leave(reply: str, leave: bool | None):
    assert consent(reply) is leave


async def test_a_question_waits_from_when_it_was_heard_and_not_for_ever():
    answer = Answer(1, aloud=True)
    question = Question([], (), answer)
    now = asyncio.get_running_loop().time()
    assert not question.waits(now), "nobody has heard it"
    answer.question_heard()
    heard = answer.question_heard_at
    assert heard is not None and heard >= now
    assert question.waits(heard + CONSENT_SECONDS - 1)
    assert not question.waits(heard + CONSENT_SECONDS + 1)
