"""The fast forward pass gives what moshi's own gives."""

import torch
from moshi.models.lm import LMModel
from moshi.utils.compile import no_compile

from scripts.train_tiny.fast import FastForward
from scripts.train_tiny.lm import lm_config


def test_both_passes_agree():
    torch.manual_seed(1)
    lm = LMModel(**lm_config(60), dtype=torch.float32, device="cpu").eval()
    inputs = torch.randint(0, 50, (2, 17, 30))
    added = torch.randn(2, 30, 256) * 0.1
    with torch.no_grad(), no_compile():  # compiling takes longer than all the rest
        hidden, _ = lm.forward_text(inputs, added)
        fast = FastForward(lm, compiled=False)
        assert (fast.text(inputs, added).float() - hidden).abs().mean() < 0.03 * hidden.abs().mean()
        logits = lm.forward_depformer_training(inputs, hidden)[0]
        chosen = fast.codes(hidden[0].to(torch.bfloat16), inputs[0])
        assert (chosen.float() - logits).abs().mean() < 0.03 * logits.abs().mean()


def test_codes_drawn_one_by_one_are_those_of_the_whole_pass():
    """At a vanishing temperature each draw is the likeliest code given the draws before it."""
    torch.manual_seed(2)
    lm = LMModel(**lm_config(60), dtype=torch.float32, device="cpu").eval()
    fast = FastForward(lm, compiled=False)
    hidden, text = torch.randn(40, 256).to(torch.bfloat16), torch.randint(0, 50, (40,))
    drawn = fast.sample(hidden, text, 1e-4)
    assert drawn.shape == (8, 40)
    logits = fast.codes(hidden, torch.cat([text[None], drawn])).float()
    assert (logits.argmax(-1) == drawn).float().mean() > 0.97
    chosen = logits.gather(-1, drawn[..., None])[..., 0]
    assert (logits.amax(-1) - chosen).max() < 0.05  # the rest are ties within bfloat16
