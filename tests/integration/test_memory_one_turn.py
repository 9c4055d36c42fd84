"""What one turn told in several parts: each question brings back the part that it is about."""

from __future__ import annotations

import pytest
from coda_memory import MemoryStore
from coda_memory.voice import RememberedUser

INTRODUCED = [
    "my name is anna and i live in berlin",
    "my wife is called eve and my dog is called rex",
    "we parked the car on level three and i have a cat",
    "i'm allergic to nuts and eggs",
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with MemoryStore(tmp_path_factory.mktemp("memory")) as store:
        yield store


@pytest.fixture(scope="module")
def anna(store):
    user = store.user("anna")
    for said in INTRODUCED:
        user.remember(said)
    return RememberedUser(user)


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("where do i live", {"The user lives in berlin."}),
        ("what is my name", {"The user's name is anna."}),
        ("what is my dog called", {"The user's dog is called rex."}),
        ("what is my wife's name", {"The user's wife is called eve."}),
        (
            "what am i allergic to",
            {"The user is allergic to nuts.", "The user is allergic to eggs."},
        ),
        (
            "where did we park",
            {'The user once said: "we parked the car on level three and i have a cat"'},
        ),
    ],
)
async def test_of_a_turn_that_part_is_told_which_is_asked_for(anna, question, told):
    assert set((await anna.recall(question)).told) == told


async def test_what_holds_no_more_is_not_quoted_with_what_else_was_said(store):
    bob = store.user("bob")
    bob.remember("we parked the car on level three and i live in paris")
    bob.remember("i moved to rome")
    told = (await RememberedUser(bob).recall("where did we park")).told
    assert not any("paris" in said for said in told)
