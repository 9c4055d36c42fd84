"""Memories on object storage: a server that speaks S3, and several processes that write to it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator

import pyarrow as pa
import pytest
from coda_memory import MemoryStore
from coda_memory.embedding import HASHED_WORDS
from coda_memory.personality import Personality, PersonalityStates, load_character
from moto.server import ThreadedMotoServer
from pyarrow.fs import FileSelector, FileType, S3FileSystem

WRITES = """
import sys
from coda_memory import MemoryStore
from coda_memory.embedding import HASHED_WORDS

with MemoryStore("s3://house/both", HASHED_WORDS) as store:
    user = store.user("ada")
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(3):
        user.remember(f"I like thing{sys.argv[1]}x{number}.")
        print(number, flush=True)
"""


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """Address of an S3 server with the bucket ``house``; the environment says how to reach it."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("AWS_ENDPOINT", url)
        patched.setenv("AWS_ALLOW_HTTP", "true")
        patched.setenv("AWS_REGION", "us-east-1")
        patched.setenv("AWS_ACCESS_KEY_ID", "ada")
        patched.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        urllib.request.urlopen(urllib.request.Request(f"{url}/house", method="PUT")).close()
        yield url
    server.stop()


def objects_with(url: str, folder: str, word: bytes) -> tuple[int, list[str]]:
    """How many objects there are, and which of them hold ``word``."""
    bucket = S3FileSystem(
        access_key="ada", secret_key="secret", region="us-east-1", endpoint_override=url,
        scheme="http", allow_bucket_creation=False,
    )  # fmt: skip
    files = [
        found.path
        for found in bucket.get_file_info(FileSelector(folder, recursive=True))
        if found.type == FileType.File
    ]
    held = []
    for path in files:
        with bucket.open_input_file(path) as file:
            held += [path] if word in file.read() else []
    return len(files), held


def test_memories_are_kept_superseded_and_forgotten_on_object_storage(s3):
    with MemoryStore("s3://house/memory", HASHED_WORDS) as store:
        ada = store.user("ada")
        ada.remember("I live in Zanzibar.")
        ada.remember("I moved to Berlin.")
        assert [m.text for m in ada.facts()] == ["The user lives in Berlin."]
        assert store.user("ben").search("Zanzibar") == []
    assert objects_with(s3, "house/memory", b"Zanzibar")[1]
    with MemoryStore("s3://house/memory", HASHED_WORDS) as store:
        ada = store.user("ada")
        assert "Berlin" in ada.search("where do I live")[0].memory.text
        assert ada.forget_matching("zanzibar") == 2
        assert ada.count() == 2 and list(store.users()) == ["ada"]
    found, held = objects_with(s3, "house/memory", b"Zanzibar")
    assert found > 3 and held == []


def test_a_character_s_changes_are_kept_and_forgotten_on_object_storage(s3):
    coda = load_character("coda")
    store = "s3://house/characters"
    Personality(coda, "ada", PersonalityStates.beside(store)).feedback("Shorter, please.")
    again = Personality(coda, "ada", PersonalityStates.beside(store))
    assert again.traits["verbosity"] < coda.default("verbosity")
    assert "Shorter, please." in again.explain()[0]
    assert Personality(coda, "ben", PersonalityStates.beside(store)).explain() == []
    assert objects_with(s3, "house/characters", b"Shorter")[1]
    with MemoryStore(store, HASHED_WORDS) as memories:
        assert memories.user("ada").forget_matching("shorter") == 0
        assert objects_with(s3, "house/characters", b"Shorter")[1] == []
        assert Personality(coda, "ada", memories.states).traits == again.traits
        memories.user("ada").forget_everything()
        assert Personality(coda, "ada", memories.states).explain() == []


def test_processes_that_begin_at_once_lose_nothing_they_acknowledged(s3):
    """Each makes the user's table, if it is the first; one forgets while the other writes."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITES, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env=dict(os.environ),
        )
        for name in "ab"
    ]  # fmt: skip
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    ends: list[tuple[str, str]] = []
    threads = [
        threading.Thread(target=lambda p=process: ends.append(p.communicate("go\n")))
        for process in processes
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [out.split() for out, _ in ends] == [["0", "1", "2"]] * 2, ends
    with MemoryStore("s3://house/both", HASHED_WORDS) as store:
        kept = {m.text for m in store.user("ada").list(kinds=["turn"])}
    assert kept == {f"I like thing{name}x{number}." for name in "ab" for number in range(3)}


def test_what_another_server_does_while_a_table_is_rewritten_is_kept(s3):
    """A rewriting, halted after it has read, while another server adds and deletes."""
    with (
        MemoryStore("s3://house/slow", HASHED_WORDS) as one,
        MemoryStore("s3://house/slow", HASHED_WORDS) as two,
    ):
        one.user("ada").remember("I like chess.")
        one.user("ada").remember("I like wine.")
        (name,) = one.tables.users()

        def choose(rows: pa.Table) -> pa.Table:
            two.user("ada").remember("I like rowing.")
            table = two.tables.open(name)
            assert table is not None
            table.delete("text LIKE '%wine%'")
            return rows

        one.tables.rewrite(name, choose)
        for store in (one, two):
            kept = {m.text for m in store.user("ada").list(kinds=["turn"])}
            assert kept == {"I like chess.", "I like rowing."}
        assert "rowing" in two.user("ada").search("rowing")[0].memory.text
