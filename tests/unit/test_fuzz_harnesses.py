"""The fuzzers' harnesses hold on valid inputs and on some damage; ``make fuzz`` does far more."""

from __future__ import annotations

import random

import pytest

from coda_voice.server.codecs.kyutai import KyutaiCodec
from scripts.fuzzing import ogg
from scripts.fuzzing.harnesses import HARNESSES, SEEDS, pieces

DAMAGED = 60


@pytest.mark.parametrize("codec", HARNESSES)
def test_valid_and_damaged_inputs_are_answered(codec: str):
    dice = random.Random(codec)
    for seed in SEEDS[codec]:
        HARNESSES[codec](seed)
    for _ in range(DAMAGED):
        damaged = bytearray(dice.choice(SEEDS[codec]))
        for _ in range(dice.randint(1, 4)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        HARNESSES[codec](bytes(damaged[: dice.randint(1, len(damaged))]))


def test_our_pages_get_past_the_container_to_opus():
    packets = pieces(SEEDS["opus"][0])
    codec = KyutaiCodec()
    (heard,) = codec.receive(b"\x01" + ogg.stream(packets))
    assert abs(heard.chunk).max() > 0.1, "the tone is heard"
