"""How often memory is searched while the user speaks."""

from __future__ import annotations

from coda_voice.attendants import UserText
from coda_voice.searches import Moment, Searches


def searched(*, seconds_a_word: float, words: int) -> list[str]:
    """The texts that are searched for in a turn of so many words, each of them heard alone."""
    searches, found = Searches(0.15, lambda error: None), []
    for count in range(1, words + 1):
        text, final = " ".join(["word"] * count), count == words
        said = UserText(text, final, 1, count * seconds_a_word)
        if searches.wanted(text, said):
            searches.newest = Moment(text, final, 1)
            found.append(text)
    return found


def test_every_second_word_is_searched_for_in_a_long_turn():
    assert len(searched(seconds_a_word=0.4, words=60)) == 30


def test_a_quick_speaker_has_five_searches_in_two_seconds_and_the_whole_turn():
    found = searched(seconds_a_word=0.01, words=60)
    assert len(found) == 6 and len(found[-1].split()) == 60


def test_the_whole_turn_is_searched_for_if_only_a_word_of_it_has_changed():
    searches = Searches(0.15, lambda error: None)
    searches.newest = Moment("I like honey", False, 1)
    assert searches.wanted("I like hockey", UserText("I like hockey", True, 1, 1.0))
    searches.newest = Moment("I like hockey", True, 1)
    assert not searches.wanted("I like hockey", UserText("I like hockey", True, 1, 1.0))
