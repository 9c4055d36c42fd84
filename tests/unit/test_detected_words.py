"""Which words belong to which of a Realtime client's items, where turns are detected."""

from __future__ import annotations

from coda_integrations.realtime.detected import DetectedWords
from openai.types.realtime import RealtimeConversationItemUserMessage

from coda_voice.attendants import UserText
from coda_voice.moshi.frames import Word


def item(name: str) -> RealtimeConversationItemUserMessage:
    return RealtimeConversationItemUserMessage(id=name, type="message", role="user", content=[])


def said(text: str, *, partial: str = "") -> UserText:
    """A word each second, from 0."""
    words = tuple(Word(word, at, at + 0.4, False) for at, word in enumerate(text.split()))
    return UserText(f"{text} {partial}".strip(), True, 1, 9.0, words, end=9.0)


def told(words: DetectedWords) -> list[tuple[str | None, str, int]]:
    return [(item.id, said.text, len(said.words)) for item, said in words.take()]


def test_an_item_has_its_words_whichever_comes_first():
    words = DetectedWords()
    for number in range(2):
        words.began()
        words.committed(item("a"), 9.0)
        assert told(words) == []
        words.understood(said(f"turn {number}"))
        assert told(words) == [("a", f"turn {number}", 2)]
        assert told(words) == []
    words.began()
    words.understood(said("turn three"))
    words.committed(item("b"), 9.0)
    assert told(words) == [("b", "turn three", 2)]


def test_each_item_of_one_stretch_has_what_was_said_up_to_its_end():
    words = DetectedWords()
    words.began()
    words.committed(item("a"), 1.5)
    words.committed(item("b"), 1.8)
    words.understood(said("what is your name", partial="ple"))
    words.committed(item("c"), 9.0)
    assert told(words) == [("a", "what is", 2), ("b", "", 0), ("c", "your name ple", 2)]


def test_words_without_times_are_the_last_items():
    words = DetectedWords()
    words.committed(item("a"), 1.5)
    words.committed(item("b"), 9.0)
    words.understood(UserText("hello there", True, 1, 9.0))
    assert told(words) == [("a", "", 0), ("b", "hello there", 0)]


def test_what_was_not_written_down_does_not_get_the_next_turns_words():
    words = DetectedWords()
    words.began()
    words.committed(item("before the transcriber was on"), 1.0)
    words.began()
    words.understood(said("hello"))
    words.committed(item("b"), 9.0)
    assert told(words) == [("b", "hello", 1)]
