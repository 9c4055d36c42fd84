"""What people say of themselves, as a recogniser writes it: small letters, and no stops."""

from __future__ import annotations

import pytest
from coda_memory.coordination import in_full
from coda_memory.corrections import put_right
from coda_memory.distill import distill
from coda_memory.supersede import denies_another


def told(said: str) -> list[str]:
    """Give what is read of the user, without "The user"."""
    return [fact.text.removeprefix("The user").strip(" .") for fact in distill(said)]


@pytest.mark.parametrize(
    ("said", "home"),
    [
        ("i moved from paris to berlin", "lives in berlin"),
        ("we moved from new york to san francisco last year", "lives in san francisco"),
        ("i've just moved from hamburg to munich", "lives in munich"),
        ("i moved to berlin from paris", "lives in berlin"),
        ("i moved to london for work", "lives in london"),
        ("i moved from germany to france and then to spain", "lives in spain"),
        ("i do not live in berlin but in potsdam", "lives in potsdam"),
        ("I moved from New York to Berlin", "lives in Berlin"),
        ("i moved to a small flat in getxo", "lives in a small flat in getxo"),
    ],
)
def test_who_has_moved_lives_in_the_new_town(said, home):
    assert told(said) == [home]
    assert [fact.subject for fact in distill(said)] == ["home"]


@pytest.mark.parametrize(
    "said",
    [
        "i moved from tea to coffee",
        "i moved from sales to marketing",
        "i moved from nursing to teaching",
        "i moved from football to rugby",
        "i moved from the violin to the piano",
        "i moved from the kitchen to the garden",
        "i moved from monday to tuesday",
        "i moved from one house to another",
        "i moved my desk from the window to the door",
        "my sister moved from paris to berlin",
    ],
)
def test_not_all_that_moves_is_a_home(said):
    assert told(said) == []


def test_who_moves_into_another_flat_lives_in_the_same_town():
    assert [fact.subject for fact in distill("we moved into a new flat")] == ["home in new flat"]


@pytest.mark.parametrize(
    ("said", "facts"),
    [
        ("i live in berlin and work in potsdam", ["lives in berlin", "works in potsdam"]),
        ("i work in potsdam and live in berlin", ["works in potsdam", "lives in berlin"]),
        ("i live in berlin but work in potsdam", ["lives in berlin", "works in potsdam"]),
        ("i live in berlin work in potsdam", ["lives in berlin", "works in potsdam"]),
        ("i live in trinidad and tobago", ["lives in trinidad and tobago"]),
        ("i live and work in berlin", ["lives in berlin", "works in berlin"]),
        ("i work and live in new york now", ["works in new york", "lives in new york"]),
        (
            "i live and work in berlin and like jazz",
            ["lives in berlin", "works in berlin", "likes jazz"],
        ),
        ("if i live and work in berlin i need a car", []),
        ("i'm from spain and live in italy", ["is from spain", "lives in italy"]),
        ("i am thirty four and live in berlin", ["is thirty four years old", "lives in berlin"]),
        ("my wife and i live in berlin and have two kids", ["lives in berlin", "has two kids"]),
        ("i like tea and hate coffee", ["likes tea", "does not like coffee"]),
        (
            "I like tea, hate coffee and love chess.",
            ["likes tea", "does not like coffee", "likes chess"],
        ),
        ("i have a house and work from home", ["has a house"]),
        ("i don't have a dog and want one", ["does not have a dog"]),
        ("My wife isn't called Anna, she's called Hannah.", ["'s wife is called Hannah"]),
        ("i like tea but don't like coffee", ["likes tea", "does not like coffee"]),
        ("i love to cook and hate to clean", ["likes to cook", "does not like to clean"]),
        ("i have a dog and am allergic to cats", ["has a dog", "is allergic to cats"]),
        ("i don't eat meat and drink a lot of water", ["does not eat or drink meat"]),
        ("i like tea and my wife doesn't", ["likes tea"]),
        ("i like people who live in rome and work in paris", ["likes people"]),
        ("i like to dance and play the piano", ["likes to dance and play the piano"]),
        ("i want to live in rome and work in paris", []),
        ("if i live in rome and work in paris i am tired", []),
        ("my brother lives in rome and works in paris", []),
    ],
)
def test_of_two_things_in_one_breath_each_is_read(said, facts):
    """ "i live in berlin and work in potsdam" was a home in "berlin and work in potsdam"."""
    assert told(said) == facts


def test_nothing_is_added_where_somebody_else_is_spoken_of():
    for said in ("i know a place to live and work in berlin", "he lives here and i work in rome"):
        assert in_full(said) == said


@pytest.mark.parametrize(
    ("before", "after", "now"),
    [
        ("i like tea and coffee", "i do not like tea any more", "does not like tea"),
        ("i like tea", "i stopped liking tea", "does not like tea"),
        ("i'm a big fan of jazz", "i'm not into jazz any more", "does not like jazz"),
        ("i play football on sundays", "i don't play football any more", "does not play football"),
        ("i have two cats", "i have no cats any more", "does not have any cats"),
        ("my wife is called anna", "my wife isn't called anna she is called hannah",
         "'s wife is called hannah"),
        ("my favourite food is pizza", "my favourite food isn't pizza any more it's pasta",
         "'s favourite food is pasta"),
        ("i like sports", "i don't like sports at all", "does not like sports at all"),
        ("i'm thirty nine", "i turned forty last week", "is forty years old"),
    ],
)  # fmt: skip
def test_what_is_so_no_more_is_of_the_subject_of_what_was(before, after, now):
    """On the same subject the newer fact supersedes the older."""
    assert told(after) == [now]
    assert distill(after)[0].subject in {fact.subject for fact in distill(before)}


@pytest.mark.parametrize(
    ("said", "facts"),
    [
        ("i like both tea and coffee", ["likes tea", "likes coffee"]),
        ("i don't like tea or coffee", ["does not like tea", "does not like coffee"]),
        ("i like fish and chips", ["likes fish and chips"]),
        ("i like old books and films", ["likes old books and films"]),
    ],
)
def test_each_of_several_likings_may_end_by_itself(said, facts):
    assert told(said) == facts


def test_who_says_what_his_favourite_is_not_takes_back_only_that():
    assert denies_another(
        "The user's favourite colour is not blue.", "The user's favourite colour is green."
    )
    assert not denies_another(
        "The user's favourite colour is not blue.", "The user's favourite colour is blue."
    )
    assert denies_another("The user's dog is not called rex.", "The user's dog is called max.")


@pytest.mark.parametrize(
    ("said", "facts"),
    [
        ("i drive a lot", []),
        ("i drive the kids to school", []),
        ("i like tea actually", ["likes tea"]),
        ("i live in bern actually berlin", ["lives in berlin"]),
        ("i live in bern actually near the river", ["lives in bern"]),
        ("my favourite film is love actually", ["'s favourite film is love actually"]),
        ("i'm thirty four no thirty five", ["is thirty five years old"]),
        ("i love pizza especially with mushrooms", ["likes pizza"]),
        ("i don't drink and drive", []),
        ("i am called david", ["'s name is david"]),
        ("my sister is two years older than me", ["'s sister is two years older than them"]),
        ("my favourite fruit is kiwi", ["'s favourite fruit is kiwi"]),
        ("i'm twenty years older than my brother", []),
        ("i hate working on sundays", ["does not like working on sundays"]),
        ("my favourite colour was red but now it's blue", ["'s favourite colour is blue"]),
        ("my favourite colour was red", []),
        ("my email address is tom at example dot com", ["'s email is tom at example dot com"]),
        ("my surname is miller", ["'s surname is miller"]),
    ],
)
def test_what_is_said_is_read_to_its_end_and_not_beyond(said, facts):
    assert told(said) == facts


def test_an_age_may_be_put_right_in_the_next_turn():
    """ "Thirty four" were thirty of something called four, and then "thirty five fours"."""
    assert told(put_right("no i meant thirty five", "i'm thirty four")) == [
        "is thirty five years old"
    ]
