"""Transcript tokens to words with times, each given once, whether or not it was flushed."""

from __future__ import annotations

import pytest

from coda_voice.moshi.frames import FRAME_SECONDS, Word
from coda_voice.moshi.user_words import TranscriptFormat, UserWords

PAD, EPAD = 3, 0
DELAY = 6
PIECES = ["<unk>", "<s>", "</s>", "<pad>", "▁what", "▁is", "▁your", "▁na", "me", "▁hello"]
WHAT, IS, YOUR, NA, ME, HELLO = range(4, 10)


class Pieces:
    def id_to_piece(self, id: int) -> str:
        return PIECES[id]

    def is_control(self, id: int) -> bool:
        return id in (1, 2)


def listener() -> UserWords:
    return UserWords(TranscriptFormat(Pieces(), PAD, EPAD, DELAY))


def written(*words: tuple[int, list[int]], frames: int) -> list[int]:
    """Tokens as the model writes words that began in the given frames."""
    tokens = [PAD] * frames
    for start, pieces in words:
        at = start + DELAY - 1
        tokens[at - 1] = EPAD
        tokens[at : at + len(pieces)] = pieces
    return tokens


NAME = written((10, [WHAT]), (13, [IS]), (15, [YOUR]), (18, [NA, ME]), frames=40)


def texts(words: list[Word]) -> list[str]:
    return [word.text for word in words]


def test_words_are_timed_where_they_were_said() -> None:
    user, words, partials = listener(), [], {}
    for frame, token in enumerate(NAME):
        words += user.push(frame, token)
        partials[frame] = user.partial
    assert texts(words) == ["what", "is", "your", "name"]
    starts = [word.start / FRAME_SECONDS for word in words]
    assert starts == pytest.approx([10, 13, 15, 18])
    assert all(word.start < word.end <= word.start + 0.5 for word in words)
    assert (partials[23], partials[24], partials[25]) == ("na", "name", "")


def test_a_word_at_the_very_beginning_is_not_timed_before_it() -> None:
    user = listener()
    words = [word for frame, token in enumerate([HELLO, PAD]) for word in user.push(frame, token)]
    assert texts(words) == ["hello"]
    assert (words[0].start, words[0].end) == (0.0, pytest.approx(1 / 3, abs=0.2))


@pytest.mark.parametrize("at", range(8, 32))
def test_a_flush_gives_the_same_words_as_waiting_each_once(at: int) -> None:
    """Whatever the moment: what the flush gave does not come again from the stream."""
    user, words = listener(), []
    for frame, token in enumerate(NAME):
        words += user.push(frame, token)
        if frame == at:
            words += user.flushed(NAME[frame + 1 : frame + 1 + DELAY + 4])
    assert texts(words) == ["what", "is", "your", "name"]


def test_a_flush_tells_the_last_word_at_once() -> None:
    user, known = listener(), []
    for frame, token in enumerate(NAME[:20]):
        known += user.push(frame, token)
    assert texts(known) == ["what", "is"]
    assert texts(list(user.flushed(NAME[20:30]))) == ["your", "name"]


def test_a_second_flush_gives_nothing_twice() -> None:
    user = listener()
    for frame, token in enumerate(NAME[:20]):
        user.push(frame, token)
    assert len(user.flushed(NAME[20:30])) == 2
    user.push(20, NAME[20])
    assert user.flushed(NAME[21:31]) == ()


def test_the_streams_other_reading_of_a_flushed_word_is_not_given_too() -> None:
    user = listener()
    for frame, token in enumerate(NAME[:20]):
        user.push(frame, token)
    assert texts(list(user.flushed(NAME[20:30]))) == ["your", "name"]
    otherwise = [HELLO if token == NA else PAD if token == ME else token for token in NAME]
    later = [w for f, token in enumerate(otherwise[20:], start=20) for w in user.push(f, token)]
    assert later == []


def test_whoever_goes_on_after_a_flush_is_heard() -> None:
    user, words = listener(), []
    went_on = written((10, [WHAT]), (13, [IS]), (20, [YOUR]), (23, [NA, ME]), frames=40)
    for frame, token in enumerate(went_on):
        words += user.push(frame, token)
        if frame == 17:
            words += user.flushed([IS, PAD, PAD, PAD, PAD, PAD])
    assert texts(words) == ["what", "is", "your", "name"]


def test_what_a_flush_invents_beyond_the_sound_is_not_believed() -> None:
    user = listener()
    for frame, token in enumerate(NAME[:20]):
        user.push(frame, token)
    invented = [*NAME[20:28], PAD, PAD, HELLO, PAD, HELLO, PAD]
    assert texts(list(user.flushed(invented))) == ["your", "name"]
