"""What the transcriber is trained on: codes as another voice might have them."""

from __future__ import annotations

import torch

from coda_voice.moshi.capabilities import TINY_FOLDER
from scripts.train_tiny.codec import load_mimi
from scripts.train_tiny.stt import NEAR, drop_codes, nearest_codes


def test_some_codes_are_hidden_or_taken_for_near_ones_and_the_text_is_left_alone():
    near = nearest_codes(load_mimi(TINY_FOLDER))
    assert near.shape == (8, 512, NEAR)
    torch.manual_seed(1)
    codes = torch.randint(512, (4, 9, 500))
    seen = drop_codes(codes, near)
    assert torch.equal(seen[:, 0], codes[:, 0])
    audio, other = codes[:, 1:], seen[:, 1:]
    hidden = other == -1
    changed = (other != audio) & ~hidden
    assert 0.02 < hidden[:, 0].float().mean() < 0.08 < changed[:, 0].float().mean() < 0.13
    for book in range(8):
        before, after = audio[:, book][changed[:, book]], other[:, book][changed[:, book]]
        assert (near[book, before] == after[:, None]).any(1).all(), "another one, but not any"
        assert (before != after).all()
    assert hidden[:, 1:].float().mean() > 2 * hidden[:, 0].float().mean()
