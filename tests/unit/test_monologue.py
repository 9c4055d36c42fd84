"""Text tokens become words with times."""

from __future__ import annotations

import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from coda_voice.moshi.capabilities import TINY_FOLDER
from coda_voice.moshi.frames import Word
from coda_voice.moshi.monologue import Monologue

PAD, EPAD = 3, 0


class Spelling:
    """A tokenizer of a few pieces, so that a test can say what it means."""

    PIECES = (
        "<e>",
        "<s>",
        "</s>",
        "<p>",
        "▁hel",
        "lo",
        "▁world",
        ".",
        "▁",
        "x",
        "<0xC3>",
        "<0xA9>",
    )

    def id_to_piece(self, id: int) -> str:
        return self.PIECES[id]

    def is_control(self, id: int) -> bool:
        return id in (1, 2)


def read(tokens: list[int | None], *, flush: bool = True) -> list[Word]:
    monologue = Monologue(Spelling(), PAD, EPAD)
    words = [word for frame, token in enumerate(tokens) for word in monologue.push(frame, token)]
    return words + list(monologue.flush()) if flush else words


def test_a_word_ends_where_the_next_one_starts() -> None:
    first, second = read([None, 4, 5, 6])
    assert (first.text, first.start, first.end) == ("hello", 0.08, 0.24)
    assert (second.text, second.start, second.end) == ("world", 0.24, 0.32)


def test_epad_announces_the_next_word_and_so_ends_the_last() -> None:
    words = read([4, 5, PAD, EPAD, 6], flush=False)
    assert [word.text for word in words] == ["hello"]
    assert words[0].end == 3 * 0.08


def test_a_pause_ends_a_word_without_waiting_for_another() -> None:
    words = read([4, 5] + [PAD] * 20, flush=False)
    assert [word.text for word in words] == ["hello"]
    assert words[0].end <= 0.08 * 8


def test_pads_inside_a_word_do_not_split_it() -> None:
    assert [word.text for word in read([4, PAD, PAD, 5])] == ["hello"]


def test_punctuation_stays_with_its_word_and_ends_a_sentence() -> None:
    words = read([4, 5, 6, 7])
    assert [(word.text, word.sentence_end) for word in words] == [
        ("hello", False),
        ("world.", True),
    ]


def test_a_lone_space_piece_starts_a_new_word() -> None:
    assert [word.text for word in read([4, 5, 8, 9])] == ["hello", "x"]


def test_letters_spelled_in_bytes_are_joined() -> None:
    assert [word.text for word in read([8, 10, 11])] == ["é"]


def test_control_tokens_end_a_word_and_say_nothing() -> None:
    assert [word.text for word in read([4, 5, 2, 1])] == ["hello"]


def test_nothing_is_lost_at_a_reset() -> None:
    assert [word.text for word in read([4], flush=True)] == ["hel"]
    assert read([PAD, None, EPAD]) == []


TEXT = st.sampled_from(["hello", "you", "are", "what", "chess", "nova", "thank", "weather"])


@given(st.lists(TEXT, max_size=8), st.lists(st.integers(0, 12), min_size=8, max_size=8))
def test_whatever_the_rhythm_every_word_of_a_text_comes_out_once(
    text: list[str], pads: list[int]
) -> None:
    pieces = sentencepiece.SentencePieceProcessor(str(TINY_FOLDER / "tokenizer.model"))
    monologue = Monologue(pieces)
    tokens: list[int] = []
    for word, pause in zip(text, pads, strict=False):
        tokens += [PAD] * pause + [EPAD, *pieces.encode(word)]
    words = [word for frame, token in enumerate(tokens) for word in monologue.push(frame, token)]
    words += monologue.flush()
    assert [word.text for word in words] == text
    times = [time for word in words for time in (word.start, word.end)]
    assert times == sorted(times)
