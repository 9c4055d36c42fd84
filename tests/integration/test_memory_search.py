"""Searching: of which kinds, seen by whom, and how queries are embedded."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from coda_memory import MemoryStore, MemoryStoreError
from coda_memory.embedding import HASHED_WORDS, load_model

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)


@pytest.fixture
def store(tmp_path):
    with MemoryStore(tmp_path / "memory", HASHED_WORDS, now=lambda: NOW) as store:
        yield store


@pytest.mark.parametrize("kind", ["turn", "fact"])
def test_only_the_kinds_asked_for_are_found(store, kind):
    """What superseded a memory is fetched for it, but not where that is of another kind."""
    ada = store.user("ada")
    ada.remember("I live in Leeds.", at=NOW - timedelta(days=2))
    ada.remember("I live in York.", at=NOW - timedelta(days=1))
    hits = ada.search("Leeds", kinds=[kind])
    assert {hit.memory.kind for hit in hits} == {kind}
    assert any("Leeds" in hit.memory.text for hit in hits)


def test_what_superseded_a_memory_is_found_first_though_the_query_finds_the_older(store):
    ada = store.user("ada")
    for number in range(40):  # so that the newer one is not simply among the nearest
        ada.remember(f"Leeds has a market, said number {number}.", at=NOW - timedelta(days=9))
    ada.remember("I live in Leeds.", at=NOW - timedelta(days=2))
    ada.remember("I live in York.", at=NOW - timedelta(days=1))
    texts = [hit.memory.text for hit in ada.search("user lives in Leeds", kinds=["fact"])]
    assert texts == ["The user lives in York.", "The user lives in Leeds."]


@pytest.mark.parametrize("ranking", ["hybrid", "vector", "words"])
def test_who_has_asked_the_same_a_hundred_times_is_still_told_the_answer(store, ranking):
    ada = store.user("ada")
    ada.remember("I like chess.", at=NOW - timedelta(days=60))
    for number in range(50):
        at = NOW - timedelta(days=50, minutes=number)
        ada.remember("What do I like?", at=at)
        ada.remember("so what do I like", at=at)
    hits = ada.search("what do i like", ranking=ranking)
    texts = [hit.memory.text for hit in hits]
    assert "The user likes chess." in texts[:3]
    assert len(texts) == len(set(texts)), "the same words come once"
    only = ada.search("what do i like", kinds=["turn"], ranking=ranking)
    assert {hit.memory.kind for hit in only} == {"turn"}


def test_a_search_sees_what_another_process_made_anew(store, tmp_path):
    ada = store.user("ada")
    ada.remember("My cat is called Whiskers.")
    assert ada.search("cat")
    with MemoryStore(tmp_path / "memory", HASHED_WORDS, now=lambda: NOW) as other:
        other.user("ada").forget_everything()
        assert ada.search("cat") == []
        other.user("ada").remember("My dog is called Rex.")
        assert [hit.memory.text for hit in ada.search("dog", kinds=["turn"])] == [
            "My dog is called Rex."
        ]


def test_searches_at_once_find_what_each_finds_alone(store):
    users = [store.user(f"user{number}") for number in range(6)]
    for number, user in enumerate(users):
        for word in ("garden", "kitchen", "market"):
            user.remember(f"My {word} has {number} trees.")

    def found(n: int) -> list[str]:
        return [hit.memory.id for hit in users[n % 6].search(f"the market and garden {n % 6}")]

    alone = [found(n) for n in range(6)]
    assert all(alone)
    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(found, range(60))) == alone * 10


def test_who_asks_while_the_store_closes_waits_for_nothing_that_never_comes(store):
    store.user("ada").remember("I like chess.")
    table = store.tables.open(store.tables.users()[0])
    closing, asked = threading.Event(), threading.Event()

    async def under_way(_):
        for _ in iter(lambda: len(asyncio.all_tasks()), 2):  # until closing waits for this
            await asyncio.sleep(0.01)
        closing.set()
        await asyncio.to_thread(asked.wait)
        return "done"

    async def late(_):
        await asyncio.Event().wait()

    before = store.reader.ask(table, under_way)
    closer = threading.Thread(target=store.reader.close)
    closer.start()
    try:
        assert closing.wait(60)
        with pytest.raises(MemoryStoreError, match="closed"):
            store.reader.ask(table, late)
    finally:
        asked.set()
        closer.join(60)
    assert before.result(60) == "done"


def test_a_model_reads_queries_and_texts_each_in_its_own_way(tmp_path):
    """Some models were trained with a lead before either; without it they find less."""
    folder = tmp_path / "model"
    words = ["[UNK]", "find", "title", "tea", "harbour"]
    make_model(folder, words, query="find ", document="title ")
    model = load_model(str(folder))
    query, text = model.embed_query("tea"), model.embed(["tea"])[0]
    by_word = dict(zip(words, np.eye(len(words)), strict=True))
    assert query @ by_word["find"] > 0.5 > 0.1 > abs(query @ by_word["title"])
    assert text @ by_word["title"] > 0.5 > 0.1 > abs(text @ by_word["find"])
    with MemoryStore(tmp_path / "memory", str(folder), now=lambda: NOW) as store:
        ada = store.user("ada")
        ada.remember("harbour")
        assert ada.search("harbour", ranking="vector")[0].relevance == pytest.approx(0.5, abs=0.01)
        np.testing.assert_allclose(store.embedder.query("tea"), query, atol=1e-6)


def test_a_query_is_embedded_as_a_text_but_for_the_rounding_of_eight_bits():
    """What somebody waits for is quicker; what is stored stays as it was."""
    model = load_model()
    texts = [
        "what do I like",
        "chess",
        "where did I park the car yesterday?",
        "Zoë's naïve tea",
        "",
    ]
    for text, vector in zip(texts, model.embed(texts), strict=True):
        assert 0.97 < float(model.embed_query(text) @ vector) < 1.0001


def make_model(folder, words: list[str], *, query: str, document: str) -> None:
    """A sentence-transformers model: the mean of its words, each a direction of its own."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({w: n for n, w in enumerate(words)}, words[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    embedding = StaticEmbedding(tokenizer, embedding_weights=np.eye(len(words), dtype=np.float32))
    model = SentenceTransformer(
        modules=[embedding], prompts={"query": query, "document": document}, device="cpu"
    )
    model.save(str(folder))
