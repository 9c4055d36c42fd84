"""The codec's phone labels and the language models' optimizer, on numbers worked out by hand."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import torch

from scripts.train_tiny.lm import HIDDEN_AGENT, HIDDEN_USER, hide_codes
from scripts.train_tiny.optimize import Muon, MuonAndAdam
from scripts.train_tiny.phones import Labels

LEXICON = {"hi": [("hh", 0.5), ("ay", 1.0)], "oh": [("ow", 1.0)]}


def test_labels_follow_the_words_and_their_phones() -> None:
    labels = Labels(LEXICON)
    clip = [("hi", 0.16, 0.32), ("oh", 0.32, 0.40)]
    given = labels.of(clip, 0.0, 6).T.reshape(-1)
    names = [labels.names[number] for number in given]
    # one label every 20 ms, 20 ms late: "hi" from 0.16 s begins with the label of 0.18 s
    assert names[:9] == ["pau"] * 9
    assert names[9:13] == ["hh"] * 4
    assert names[13:17] == ["ay"] * 4
    assert names[17:21] == ["ow"] * 4
    assert names[21:] == ["pau"] * 3


def test_labels_of_a_crop_are_those_of_its_place() -> None:
    labels = Labels(LEXICON)
    clip = [("hi", 0.16, 0.32), ("oh", 0.32, 0.40)]
    whole, crop = labels.of(clip, 0.0, 8), labels.of(clip, 0.16, 4)
    assert np.array_equal(whole[:, 2:6], crop)


def test_an_unknown_word_is_silence_not_an_error() -> None:
    labels = Labels(LEXICON)
    clip = [("zyx", 0.0, 0.4)]
    assert not labels.of(clip, 0.0, 5).any()


def test_hiding_codes_leaves_the_text_and_most_first_codebooks() -> None:
    inputs = torch.arange(2 * 17 * 4000).reshape(2, 17, 4000) % 512
    hidden = hide_codes(inputs, deaf_to_itself=0.0)
    assert torch.equal(hidden[:, 0], inputs[:, 0])
    left = hidden >= 0
    assert torch.equal(hidden[left], inputs[left])
    for first, (of_first, of_others) in (1, HIDDEN_AGENT), (9, HIDDEN_USER):
        share = (~left[:, first : first + 8]).float().mean((0, 2))
        assert 0.0 < share[0] < 0.1 < share[1:].min() < share[1:].max() < 0.2
        assert abs(share[0] - of_first) < 0.02
        assert (share[1:] - of_others).abs().max() < 0.03


def test_a_row_that_is_deaf_to_itself_still_hears_the_user() -> None:
    inputs = torch.arange(2 * 17 * 4000).reshape(2, 17, 4000) % 512
    hidden = hide_codes(inputs, deaf_to_itself=1.0)
    assert (hidden[:, 1:9] == -1).all()
    assert (hidden[:, 9:] >= 0).float().mean() > 0.8


class Small(torch.nn.Module):
    """Names as in the language models: what Muon takes and what AdamW takes."""

    def __init__(self) -> None:
        super().__init__()
        self.transformer = torch.nn.Module()
        self.transformer.layers = torch.nn.ModuleList([torch.nn.Linear(8, 8)])
        self.text_linear = torch.nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.text_linear(self.transformer.layers[0](x).tanh())


def step(model: Small, optimizer: MuonAndAdam, x: torch.Tensor) -> float:
    loss = (model(x) - 1).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def test_training_goes_on_after_a_resume_as_without_one() -> None:
    torch.manual_seed(0)
    model, again, x = Small(), Small(), torch.randn(16, 8)
    optimizer = MuonAndAdam(model, 0.02)
    losses = [step(model, optimizer, x) for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0]
    again.load_state_dict(model.state_dict())
    resumed = MuonAndAdam(again, 0.02)
    resumed.load_state_dict(deepcopy(optimizer.state_dict()))  # as if read from a file
    assert [step(again, resumed, x) for _ in range(3)] == [
        step(model, optimizer, x) for _ in range(3)
    ]


def test_muon_moves_matrices_as_that_of_torch_does() -> None:
    """torch's computes in bfloat16, which is what the two may differ by."""
    torch.manual_seed(3)
    shapes = [(24, 8), (8, 24), (24, 8), (12, 12)]
    ours = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    theirs = [torch.nn.Parameter(parameter.detach().clone()) for parameter in ours]
    before = [parameter.detach().clone() for parameter in ours]
    mine = Muon(ours, 0.01, 0.05, torch.float32)
    peer = torch.optim.Muon(
        theirs, 0.01, weight_decay=0.05, ns_steps=4, adjust_lr_fn="match_rms_adamw"
    )
    for _ in range(5):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        mine.step()
        peer.step()
    for one, other, old in zip(ours, theirs, before, strict=True):
        assert (one - other).norm() < 0.02 * (one - old).norm()
