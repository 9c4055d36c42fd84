"""The monologue's layout, the frame grid and the pacer of coda-tiny's recipe."""

import numpy as np
import pytest

from scripts.train_tiny.grid import FRAME, LEAD_FRAMES, align_to_frames, wsola
from scripts.train_tiny.speech import SAMPLE_RATE, Speech, merge_words
from scripts.train_tiny.talk import Pacer
from scripts.train_tiny.tokenizer import EPAD, PAD, TEXT_LEAD, monologue


def test_every_word_is_led_by_epad_and_precedes_its_sound():
    text = monologue([[10], [20, 21]], frames=[3, 6], length=12)
    assert text == [PAD, EPAD, 10, PAD, EPAD, 20, 21, PAD, PAD, PAD, PAD, PAD]
    assert text.index(10) == 3 - TEXT_LEAD


def test_a_word_waits_for_the_one_before():
    text = monologue([[10, 11, 12], [20]], frames=[2, 3], length=10)
    assert [token for token in text if token not in (PAD, EPAD)] == [10, 11, 12, 20]
    assert text[text.index(20) - 1] == EPAD


def test_words_start_on_frames_and_get_their_least_length():
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    pcm = (0.3 * np.sin(2 * np.pi * 220 * time)).astype(np.float32)
    spoken = Speech(pcm, [("one", 0.11, 0.35), ("two", 0.35, 0.41), ("three", 0.41, 0.9)])
    placed = align_to_frames(spoken, [2, 3, 2])
    assert len(placed.pcm) % FRAME == 0
    starts = [start * SAMPLE_RATE / FRAME for _, start, _ in placed.words]
    assert starts == pytest.approx([round(start) for start in starts])
    assert starts[0] == pytest.approx(LEAD_FRAMES)
    assert starts[2] - starts[1] >= 3
    assert not placed.pcm[: (LEAD_FRAMES - 1) * FRAME].any()
    assert not placed.pcm[-FRAME:].any()


def test_stretching_keeps_the_pitch():
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    pcm = (0.3 * np.sin(2 * np.pi * 200 * time)).astype(np.float32)
    longer = wsola(pcm, np.array([0, len(pcm)]), np.array([0, int(1.4 * len(pcm))]))
    assert len(longer) == int(1.4 * len(pcm))
    spectrum = np.abs(np.fft.rfft(longer[5000:25000]))
    assert np.argmax(spectrum) * SAMPLE_RATE / 20000 == pytest.approx(200, abs=3)


def test_word_times_survive_the_synthesizers_own_tokens():
    tokens = [("what", 0.0, 0.2), ("'s", 0.2, 0.3), ("new", 0.3, 0.5)]
    assert merge_words("what's new", tokens) == [("what's", 0.0, 0.3), ("new", 0.3, 0.5)]
    expanded = merge_words("at 9", [("at", 0.0, 0.2), ("nine", 0.2, 0.6)])
    assert [word for word, _, _ in expanded] == ["at", "9"]


def test_pacer_gives_every_piece_once_and_then_only_pads():
    pacer = Pacer([[10], [20, 21]], begin=2)
    model = iter([5, 5, PAD, PAD, 7, PAD, EPAD, PAD, PAD, 9, 9, 9])
    said = [pacer(frame, next(model)) for frame in range(12)]
    assert [token for token in said if token not in (PAD, EPAD)] == [10, 20, 21]
    assert said[:2] == [PAD, PAD]
    assert said[-3:] == [PAD, PAD, PAD]


def test_pacer_does_not_wait_for_ever():
    pacer = Pacer([[10]], begin=0, patience=3)
    said = [pacer(frame, PAD) for frame in range(8)]
    assert 10 in said
