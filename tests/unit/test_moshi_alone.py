"""What Moshi alone has answered, frame by frame."""

from __future__ import annotations

import pytest

from coda_voice.hybrid.moshi_alone import BEGINS_WITHIN, PAUSE, MoshiAlone, says_it_looks


def after(words: str, quiet: int, moshi: MoshiAlone | None = None) -> bool | None:
    """The user has spoken, Moshi has said ``words``, and then nobody anything."""
    alone = moshi or MoshiAlone()
    alone.heard([], user=True, moshi=False)
    for word in words.split():
        alone.heard([word], user=False, moshi=True)
    for _ in range(quiet):
        alone.heard([], user=False, moshi=False)
    return alone.answered


def test_an_answer_is_one_once_it_is_over():
    assert after("your name is david", PAUSE - 1) is None
    assert after("your name is david", PAUSE) is True


def test_a_lead_is_no_answer():
    assert after("let me check that", PAUSE) is False
    assert after("one moment please", PAUSE) is False


def test_who_says_nothing_for_long_enough_has_not_answered():
    assert after("", BEGINS_WITHIN - 1) is None
    assert after("", BEGINS_WITHIN) is False


def test_what_was_said_before_the_user_spoke_is_no_answer_to_him():
    alone = MoshiAlone()
    assert after("your name is david", PAUSE, alone) is True
    assert after("", BEGINS_WITHIN, alone) is False


@pytest.mark.parametrize(
    ("text", "looks"),
    [
        ("let me think", True),
        ("just a moment", True),
        ("i'll check", True),
        ("you like chess", False),
        ("i do not know what you like", False),
    ],
)
def test_what_it_says_while_it_looks(text: str, looks: bool):
    assert says_it_looks(text) is looks
