"""Stores of an earlier version: read as they are, written to, and brought up to date."""

from __future__ import annotations

import pytest
from coda_memory import MemoryStore, MemoryStoreError
from coda_memory.embedding import HASHED_WORDS
from coda_memory.record import RECORD
from coda_memory.tables import Tables
from coda_memory.upkeep import WRITES_BEFORE_OPTIMIZE
from lancedb.table import LanceTable

TOLD = ["I like chess.", "I live in Oslo.", "My sister is called Zoë."]


def texts(store: MemoryStore) -> set[str]:
    return {hit.memory.text for hit in store.user("ada").search("Oslo, chess, Zoë", 50)}


def say(store: MemoryStore, text: str) -> None:
    ada = store.user("ada")
    ada.append(ada.turn(text)).result(60)


def table_in(folder) -> LanceTable:
    """The only user's table."""
    tables = Tables(str(folder))
    tables.use_model(HASHED_WORDS)
    (name,) = tables.users()
    table = tables.open(name)
    assert table is not None
    return table


@pytest.fixture
def earlier(tmp_path):
    """A folder as format 1 left it: no memory whole in one column."""
    with MemoryStore(tmp_path, HASHED_WORDS) as store:
        for text in TOLD:
            say(store, text)
    table_in(tmp_path).drop_columns([RECORD])
    Tables(str(tmp_path)).write_info(format="1")
    return tmp_path


def test_what_an_earlier_version_stored_is_found(earlier):
    with MemoryStore(earlier, HASHED_WORDS) as store:
        assert set(TOLD) <= texts(store)
    assert Tables(str(earlier)).info()["format"] == "1", "reading changes nothing"


def test_an_earlier_store_is_written_to_and_says_that_it_has_become_another(earlier):
    with MemoryStore(earlier, HASHED_WORDS) as store:
        say(store, "I live in Rome.")
        where = store.user("ada").search("where do I live", 50)
        holds = {hit.memory.text: hit.memory.valid for hit in where}
        assert holds["The user lives in Rome."] and not holds["The user lives in Oslo."]
    assert Tables(str(earlier)).info()["format"] == "2", "earlier versions leave it alone now"


def test_upkeep_brings_an_earlier_store_up_to_date_and_loses_nothing(earlier):
    with MemoryStore(earlier, HASHED_WORDS) as store:
        for number in range(2 * WRITES_BEFORE_OPTIMIZE):
            say(store, f"I saw bird {number}.")
        store.writer.call(lambda: None).result(60)
        assert set(TOLD) <= texts(store)
        assert store.user("ada").count() >= len(TOLD) + 2 * WRITES_BEFORE_OPTIMIZE
    assert RECORD in table_in(earlier).schema.names
    with MemoryStore(earlier, HASHED_WORDS) as store:
        assert set(TOLD) <= texts(store)


def test_a_store_of_a_later_version_is_refused_with_the_reason(earlier):
    Tables(str(earlier)).write_info(format="99")
    with (
        pytest.raises(
            MemoryStoreError, match=r"another version .*format 99, this one reads 1 and 2"
        ),
        MemoryStore(earlier, HASHED_WORDS) as store,
    ):
        store.user("ada").search("chess")
