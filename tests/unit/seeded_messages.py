"""Messages of strangers made from a seed: a hundredth of the time that hypothesis takes for one.

For the long run, a million inputs (`scripts/fuzz_properties.py`): with ``CODA_FUZZ_SEEDED`` a
test's messages come from here, and hypothesis draws nothing but the seed.
"""

from __future__ import annotations

import json
import os
import random
import string
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

SEEDED = "CODA_FUZZ_SEEDED" in os.environ
_LETTERS = string.printable + "äß€\u0000\u2028\ud7ff😀"
_SCALARS: tuple[Callable[[random.Random], Any], ...] = (
    lambda rng: None,
    lambda rng: rng.random() < 0.5,
    lambda rng: rng.choice((0, 1, -1, 7, 2**31, -(2**63), 10**30, rng.randrange(-999, 9_999))),
    lambda rng: rng.choice((0.0, -0.5, 1e308, float("inf"), float("nan"), rng.uniform(-9, 9))),
    lambda rng: text(rng, 20),
    lambda rng: rng.choice(("AAAA", "audio/pcmu", "server_vad", "item_1", "root", "none", "text")),
)


def text(rng: random.Random, longest: int) -> str:
    """Any characters."""
    return "".join(rng.choices(_LETTERS, k=rng.randint(0, longest)))


def value(rng: random.Random, depth: int = 0) -> Any:
    """Anything that JSON can say, and numbers that it cannot."""
    share = rng.random()
    if depth > 3 or share < 0.7:
        return rng.choice(_SCALARS)(rng)
    if share < 0.85:
        return [value(rng, depth + 1) for _ in range(rng.randint(0, 3))]
    return {text(rng, 8): value(rng, depth + 1) for _ in range(rng.randint(0, 3))}


def mutated(rng: random.Random, valid: Sequence[dict[str, Any]]) -> str:
    """A valid message, some of whose values are something else, missing, or added."""
    message = json.loads(json.dumps(rng.choice(valid)))
    for _ in range(rng.randint(0, 3)):
        here = message
        while rng.random() < 0.5:
            inner = [found for found in here.values() if isinstance(found, dict) and found]
            if not inner:
                break
            here = rng.choice(inner)
        known = bool(here) and rng.random() < 0.6
        key = rng.choice(sorted(here)) if known else text(rng, 10)
        kind = key in ("type", "event")
        if not kind and rng.random() < 0.5:
            here.pop(key, None)
        elif not kind or rng.random() < 0.1:
            here[key] = value(rng)
    return json.dumps(message)


def message(rng: random.Random, valid: Sequence[dict[str, Any]]) -> str | bytes:
    """Mostly a damaged message, else some JSON, some text, some bytes, one cut or torn."""
    share = rng.random()
    if share < 0.6:
        return mutated(rng, valid)
    if share < 0.7:
        return json.dumps(value(rng))
    if share < 0.8:
        return text(rng, 80)
    if share < 0.9:
        return rng.randbytes(rng.randint(0, 80))
    whole = bytearray(mutated(rng, valid).encode())
    for _ in range(rng.randint(0, 3)):
        whole[rng.randrange(len(whole))] = rng.randrange(256)
    return bytes(whole[: rng.randint(0, len(whole))])


def seeded(make: Callable[[random.Random], Any]) -> st.SearchStrategy[Any]:
    """What ``make`` makes of one seed."""
    return st.integers(0, 2**63).map(lambda seed: make(random.Random(seed)))


def several(
    valid: Sequence[dict[str, Any]], most: int = 60
) -> st.SearchStrategy[list[str | bytes]]:
    """A list of messages: long, because what hypothesis does for an example takes a while."""
    return seeded(lambda rng: [message(rng, valid) for _ in range(rng.randint(1, most))])
