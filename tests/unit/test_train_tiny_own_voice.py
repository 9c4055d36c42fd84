"""What the model says in place of a recording: its own codes, at the recording's frames."""

import json
from pathlib import Path

import numpy as np
import torch
from moshi.utils.compile import no_compile
from safetensors.torch import load_file

from scripts.train_tiny.dialogue import Material
from scripts.train_tiny.encode import Codes
from scripts.train_tiny.export import SAMPLING, open_lm
from scripts.train_tiny.fast import FastForward
from scripts.train_tiny.lm import Talker, warm_start
from scripts.train_tiny.own_voice import said
from scripts.train_tiny.talk import Pacer, Row, converse
from scripts.train_tiny.tokenizer import load_tokenizer

TINY = Path(__file__).parents[2] / "coda_voice" / "tiny"
TEXT = "hello how can i help you"


def test_in_place_of_its_own_recording_the_model_says_the_same():
    torch.manual_seed(1)
    tokenizer = load_tokenizer(TINY)
    silence = np.array(json.loads((TINY / "coda.json").read_text())["silence_codes"])
    model = Talker(tokenizer.vocab_size())
    warm_start(model, TINY, tokenizer, tokenizer)
    reference = load_file(TINY / "coda.safetensors")["reference_embedding"].float()
    lm, _ = open_lm(TINY, "moshi.safetensors")
    pieces = [tokenizer.encode(word) for word in TEXT.split()]
    row = Row(np.repeat(silence[:, None], 50, 1), pacer=Pacer(pieces, begin=6))
    with no_compile():
        ((text, recorded),) = converse(lm, reference, silence, [row], dict(SAMPLING))
    text, recorded = text[6:40], recorded[:, 6:40]
    none = Codes(torch.zeros(8, 0, dtype=torch.int16), [0], [], [])
    material = Material(none, none, none, none, [], silence, silence, tokenizer)
    fast = FastForward(model.lm, False, torch.float32)
    (own,) = said(model.eval(), fast, material, [(text, recorded)])
    assert own.shape == recorded.shape
    sounding = (recorded != silence[:, None]).mean(0) > 0.3
    same, late = (
        (voice == recorded)[:, sounding].mean() for voice in (own.numpy(), np.roll(own.numpy(), 1))
    )
    assert same > 0.5 > 3 * late
