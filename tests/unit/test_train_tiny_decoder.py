"""The decoder's lessons: codes beside the very sound they stand for, and what a listener hears."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from scripts.train_tiny.clips import Clip, ClipStore, write_clips
from scripts.train_tiny.codec import FRAME
from scripts.train_tiny.decoder import CONTEXT, LEARNT, LISTENER_SHARE, CodeCrops, balanced
from scripts.train_tiny.encode import Codes
from scripts.train_tiny.listener import Listener
from scripts.train_tiny.phones import PARTS, Labels

FRAMES, SILENT = 12, 500


def lessons(folder: Path) -> CodeCrops:
    """One sentence whose codes, sound and phones all tell in which frame they are."""
    sound = np.repeat(np.arange(1, FRAMES + 1) * 1000, FRAME).astype(np.int16)
    words = [("ha", 0.0, 0.48), ("ho", 0.48, 0.96)]
    write_clips(folder, "agent", [(Clip("ha ho", "slt", words), sound)])
    flat = torch.arange(1, FRAMES + 1, dtype=torch.int16).repeat(8, 1)
    codes = Codes(flat, [0, FRAMES], ["ha ho"], [words])
    labels = Labels({"ha": [("a", 1.0)], "ho": [("o", 1.0)]})
    store = ClipStore(folder, "agent")
    return CodeCrops(codes, store, labels, np.full(8, SILENT), seed=1, errors=0.0)


def test_every_code_lies_beside_its_sound_and_its_phone(tmp_path):
    crops, learnt = lessons(tmp_path), set()
    for _ in range(60):
        codes, sound, phones = crops.one()
        assert codes.shape == (8, CONTEXT + LEARNT)
        frames = np.round(sound.reshape(LEARNT, FRAME)[:, FRAME // 2] * 32.768).astype(int)
        given = np.where(codes[0, CONTEXT:] == SILENT, 0, codes[0, CONTEXT:])
        assert (given == frames).all()
        middle = phones.reshape(LEARNT, PARTS)[:, 2]
        assert (middle == np.select([frames == 0, frames <= 6], [0, 1], 2)).all()
        learnt |= set(frames.tolist())
    assert learnt == set(range(FRAMES + 1)), "the first and the last frame, and the silence around"


def test_before_a_sentence_there_is_silence(tmp_path):
    crops = lessons(tmp_path)
    firsts = [codes for codes in (crops.one()[0] for _ in range(60)) if codes[0, CONTEXT] == 1]
    assert firsts and all((codes[:, :CONTEXT] == SILENT).all() for codes in firsts)


def test_a_listener_hears_that_two_sounds_are_apart():
    torch.manual_seed(3)
    listener = Listener(5).eval()
    sound, other = torch.randn(2, 1, 4800) * 0.1, torch.randn(2, 1, 4800) * 0.01
    labels = listener(sound)[1].argmax(1)
    assert labels.shape == (2, 10)
    same, apart = (listener.compare(heard, sound, labels) for heard in (sound, other))
    assert same < apart


def test_both_lessons_have_their_share_whatever_their_scale():
    output = torch.randn(3, 4, requires_grad=True)
    one, other = output[:, 0].sum(), 1000 * output[:, 1].sum()
    gradient = balanced(output, one, other)
    assert torch.allclose(gradient[:, 0], torch.ones(3))
    assert torch.allclose(gradient[:, 1], torch.full((3,), LISTENER_SHARE))
