"""The cache of prefilled prompts: bounded in bytes and in number."""

from __future__ import annotations

import torch

from coda_voice.moshi.prefill import PromptCache
from coda_voice.moshi.streaming_state import RowState


def state(floats: int = 10) -> RowState:
    return RowState({"x": torch.zeros(floats)})


def kept(cache: PromptCache, names: str) -> str:
    return "".join(name for name in names if cache.get(name) is not None)


def test_no_more_bytes_than_it_may_have():
    cache = PromptCache(limit_bytes=100)
    for name in "abc":  # 40 bytes each
        cache.put(name, state())
    assert kept(cache, "abc") == "bc"
    cache.put("d", state(1_000))
    assert kept(cache, "abcd") == "bc"


def test_no_more_prompts_than_it_may_have_and_the_least_used_goes():
    cache = PromptCache(limit_bytes=10_000, most=3)
    for name in "abc":
        cache.put(name, state())
    assert cache.get("a") is not None
    cache.put("d", state())
    assert kept(cache, "abcd") == "acd"
