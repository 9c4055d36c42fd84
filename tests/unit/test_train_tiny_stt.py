"""What the transcriber is trained on: codes as another voice might have them, words, phones."""

from __future__ import annotations

import pytest
import torch
from moshi.models.lm import LMModel
from moshi.utils.compile import no_compile
from safetensors.torch import load_file

from coda_voice.moshi.capabilities import TINY_FOLDER
from scripts.train_tiny.codec import load_mimi
from scripts.train_tiny.deeper import deeper, layers_of
from scripts.train_tiny.phone_head import PhoneHead
from scripts.train_tiny.stt import HIDDEN, NEAR, TAKEN, drop_codes, nearest_codes, stt_config
from scripts.train_tiny.tokenizer import EPAD, PAD, transcript


def test_a_word_is_written_when_it_is_over() -> None:
    words = [("my", 0.4, 2.0), ("motorcycles", 2.0, 11.2), ("ride", 11.2, 14.0)]
    written = transcript(words, [[10], [11, 12], [13]], at=0, length=24)
    assert [(at, piece) for at, piece in enumerate(written) if piece not in (PAD, EPAD)] == [
        (6, 10),  # six frames after it began
        (14, 11),  # two after its last frame, where that is later
        (15, 12),
        (17, 13),
    ]


def test_a_deeper_model_gives_what_it_gave_before() -> None:
    weights = {
        name: value.float()
        for name, value in load_file(TINY_FOLDER / "stt" / "model.safetensors").items()
    }
    before = layers_of(weights)
    more = deeper(weights, before + 3)
    assert layers_of(more) == before + 3
    inputs, outputs = torch.randint(300, (2, 9, 20)), []
    for given in (weights, more):
        shape = stt_config(weights["text_emb.weight"].shape[0] - 1)
        model = LMModel(**shape | {"num_layers": layers_of(given)}, dtype=torch.float32)
        model.load_state_dict(given)
        with torch.no_grad(), no_compile():
            outputs.append(model.eval().forward_text(inputs)[1])
    assert torch.allclose(*outputs, atol=1e-4)
    with pytest.raises(ValueError, match="cannot be made one of 2"):
        deeper(weights, 2)


def test_phones_are_asked_of_the_two_frames_heard_last() -> None:
    torch.manual_seed(1)
    head, frames = PhoneHead(dim=12, phones=5), 12
    phones = torch.randint(5, (1, 4, frames))
    optimizer = torch.optim.Adam(head.parameters(), 0.1)
    below = torch.eye(12)[None]  # tells which frame it is
    for _ in range(200):
        loss, right = head.loss(below, phones)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert right == 1.0
    _, sooner = head.loss(below[:, 1:], phones[..., :-1])
    assert sooner < 0.7, "of frames already heard, not of the one to come"


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
    shares = [
        (seen.float().mean(), wanted)
        for seen, wanted in (
            (hidden[:, 0], HIDDEN[0]),
            (hidden[:, 1:], HIDDEN[1]),
            (changed[:, 0], TAKEN[0]),
            (changed[:, 1:], TAKEN[1] * (1 - HIDDEN[1])),
        )
    ]
    assert all(abs(share - wanted) < 0.01 for share, wanted in shares), shares
    for book in range(8):
        before, after = audio[:, book][changed[:, book]], other[:, book][changed[:, book]]
        assert (near[book, before] == after[:, None]).any(1).all(), "another one, but not any"
        assert (before != after).all()
    assert hidden[:, 1:].float().mean() > 2 * hidden[:, 0].float().mean()
