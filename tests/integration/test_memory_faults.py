"""The memory store when things go wrong: killed, disk full, read-only, damaged, two writers."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from coda_memory import MemoryStore, MemoryStoreError
from coda_memory import store as store_module
from coda_memory.embedding import (
    HASHED_WORDS,
    HashedWords,
    _onnx_file,
    _package_folder,
    cache_folder,
    load_model,
)
from coda_memory.personality import Personality, load_character
from coda_memory.upkeep import WRITES_BEFORE_OPTIMIZE, Upkeep
from lancedb.table import LanceTable

from coda_voice.errors import ModelLoadingError

WRITES = """
import sys
from coda_memory import MemoryStore
from coda_memory.embedding import HASHED_WORDS

store = MemoryStore(sys.argv[1], HASHED_WORDS)
user = store.user("ada")
print("ready", flush=True)
for number in range(int(sys.argv[3])):
    user.remember(f"I like thing{sys.argv[2]}x{number}.")
    print(number, flush=True)
    if number % 10 == 9:
        user.forget_matching(f"thing{sys.argv[2]}x{number - 5}.")
        print(f"-{number - 5}", flush=True)
store.close()
print("done", flush=True)
"""


def writer(folder: Path, name: str, writes: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITES, str(folder), name, str(writes)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def lines_until_end(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    said = [line.strip() for line in process.stdout if line.endswith("\n")]
    process.wait()
    process.stdout.close()
    assert process.stderr is not None
    process.stderr.close()
    return said


def killed_writers(folder: Path, kills: int, seed: int) -> tuple[set[str], set[str]]:
    """Two processes at a time write and are killed; what they acknowledged, and forgot."""
    dice = random.Random(seed)
    kept: set[str] = set()
    forgotten: set[str] = set()
    for pair in range(0, kills, 2):
        names = [f"r{pair + k}" for k in range(2)]
        processes = [writer(folder, name, 10_000) for name in names]
        for process in processes:
            assert process.stdout is not None and process.stderr is not None
            first = process.stdout.readline()
            assert first == "ready\n", process.stderr.read()
            assert process.stdout.readline() == "0\n", "the first is always acknowledged"
        timers = [
            threading.Timer(dice.uniform(0.05, 1.5), os.kill, (process.pid, signal.SIGKILL))
            for process in processes
        ]
        for timer in timers:
            timer.start()
        for name, process in zip(names, processes, strict=True):
            said = ["0", *lines_until_end(process)]
            assert process.returncode == -signal.SIGKILL
            gone = {line[1:] for line in said if line.startswith("-")}
            kept |= {f"thing{name}x{n}" for n in said if not n.startswith("-") and n not in gone}
            forgotten |= {f"thing{name}x{n}" for n in gone}
            # One being forgotten when the end came may be there or not.
            last = max((int(n) for n in said if not n.startswith("-")), default=0)
            if last % 10 == 9:
                kept.discard(f"thing{name}x{last - 5}")
    return kept, forgotten


def check_after_kills(folder: Path, kept: set[str], forgotten: set[str]) -> None:
    with MemoryStore(folder, HASHED_WORDS) as store:
        user = store.user("ada")
        memories = user.list()
        turns = {m.text[7:-1]: m for m in memories if m.kind == "turn"}
        facts = {m.source_id for m in memories if m.kind == "preference"}
        assert kept <= turns.keys(), "an acknowledged memory was lost"
        assert not forgotten & turns.keys(), "a forgotten memory came back"
        assert {turn.id for turn in turns.values()} == facts, "a memory is half there"
        assert len(memories) == 2 * len(turns)
        for word in random.Random(1).sample(sorted(kept), min(10, len(kept))):
            assert word in user.search(word, 1)[0].memory.text
        user.remember("It goes on.")
        user.forget_matching("thing")
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert not [p for p in files for b in [p.read_bytes()] if b"thingr" in b]


@pytest.mark.timeout(240)
def test_killed_while_writing_nothing_acknowledged_is_lost(tmp_path):
    kept, forgotten = killed_writers(tmp_path, kills=4, seed=7)
    assert len(kept) >= 4
    check_after_kills(tmp_path, kept, forgotten)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_killed_a_hundred_times(tmp_path):
    kept, forgotten = killed_writers(tmp_path, kills=100, seed=11)
    check_after_kills(tmp_path, kept, forgotten)


def test_two_processes_write_and_see_each_other(tmp_path):
    processes = [writer(tmp_path, name, 30) for name in ("a", "b")]
    ends = [lines_until_end(process)[-1] for process in processes]
    assert ends == ["done", "done"]
    with MemoryStore(tmp_path, HASHED_WORDS) as store:
        texts = {m.text for m in store.user("ada").list(kinds=["turn"])}
        assert texts == {
            f"I like thing{name}x{n}." for name in "ab" for n in range(30) if n % 10 != 4
        }


def test_a_reader_sees_what_another_process_wrote_and_forgot(tmp_path):
    with MemoryStore(tmp_path, HASHED_WORDS) as first:
        first.user("ada").remember("I like chess.")
        with MemoryStore(tmp_path, HASHED_WORDS) as second:
            ada = second.user("ada")
            assert "chess" in ada.search("chess")[0].memory.text
            first.user("ada").remember("I like rowing.")
            assert "rowing" in ada.search("rowing")[0].memory.text
            first.user("ada").forget_matching("chess")
            assert not any("chess" in hit.memory.text for hit in ada.search("chess"))
            first.user("ada").forget_everything()
            assert ada.search("rowing") == []


IN_A_CHILD = """
import sys
{before}
from coda_memory import MemoryStore
from coda_memory.embedding import HASHED_WORDS
from coda_voice.errors import VoiceProcessingError

store = MemoryStore(sys.argv[1], HASHED_WORDS)
user = store.user("ada")
print(len(user.search("chess")))
{spoil}
try:
    for number in range(40):
        user.remember("I like tea, number %d, " % number + "and much more about it " * 60)
except VoiceProcessingError as error:
    print(error.error_code, error.message)
print(len(user.search("chess")))
"""


def in_a_child(folder: Path, before: str = "", spoil: str = "") -> list[str]:
    code = IN_A_CHILD.format(before=before, spoil=spoil)
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_no_room_on_the_disk_is_told_and_searching_goes_on(tmp_path):
    """A limit on the size of files stands for the full disk: writes really fail."""
    with MemoryStore(tmp_path, HASHED_WORDS) as store:
        store.user("ada").remember("I like chess.")
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)"
    spoil = "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))"
    found, error, found_after = in_a_child(tmp_path, limit, spoil)
    assert error.startswith("memory_disk_full ")
    assert "disk is full. Free some space" in error
    assert int(found_after) >= int(found) == 2
    with MemoryStore(tmp_path, HASHED_WORDS) as store:
        assert "chess" in store.user("ada").search("chess")[0].memory.text


@pytest.fixture
def open_folder():
    """A folder whose parents anybody may pass: pytest's own are closed to other users."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_read_only_folder_is_searched_and_refuses_writes(open_folder):
    with MemoryStore(open_folder, HASHED_WORDS) as store:
        store.user("ada").remember("I like chess.")
    for path in [open_folder, *open_folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    # Root may write anywhere: the child becomes somebody who may not.
    become = "import os\nfrom coda_memory import MemoryStore\nif os.getuid() == 0: os.setuid(65534)"
    try:
        found, error, found_after = in_a_child(open_folder, spoil=become)
    finally:
        for path in [open_folder, *open_folder.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert error.startswith("memory_cannot_write ")
    assert "permissions" in error
    assert found == found_after == "2"


@pytest.mark.parametrize("damage", [b"", b"not a table at all", None])
def test_a_damaged_file_is_told_and_the_others_go_on(tmp_path, damage):
    with MemoryStore(tmp_path, HASHED_WORDS) as store:
        store.user("ada").remember("I like chess.")
        store.user("ben").remember("I like rowing.")
        table = store.tables.name_of(store.user("ada")._owner)
    for path in (tmp_path / f"{table}.lance" / "data").glob("*"):
        path.unlink() if damage is None else path.write_bytes(damage)
    with MemoryStore(tmp_path, HASHED_WORDS) as store:
        with pytest.raises(MemoryStoreError, match="damaged or missing") as caught:
            store.user("ada").list()
        assert caught.value.error_code == "memory_corrupt"
        assert "rowing" in store.user("ben").search("rowing")[0].memory.text
        store.user("ben").remember("I like tea.")
        assert store.user("ada").forget_everything() >= 0
        store.user("ada").remember("I like go.")
        assert "go" in store.user("ada").search("go")[0].memory.text


def test_a_file_in_place_of_the_folder_is_told(tmp_path):
    (tmp_path / "memory").write_text("hello")
    with pytest.raises(MemoryStoreError):
        MemoryStore(tmp_path / "memory", HASHED_WORDS)


def test_a_forgetting_cut_short_is_finished_at_the_next_opening(tmp_path):
    """As if killed between the deletion and the removal of old files."""
    with MemoryStore(tmp_path, HASHED_WORDS) as store:
        user = store.user("ada")
        user.remember("I like zebrafinches.")
        user.remember("I like rowing.")
        name = store.tables.users()[0]
        table = store.tables.open(name)
        assert table is not None
        store.tables.write_info(**{"purge " + name: "1"})
        table.delete("text LIKE '%zebra%'")
        # What a writer leaves that is killed in the middle of a file.
        (tmp_path / f"{name}.lance" / "data" / ".tmpAbCdEf").write_bytes(b"zebrafinches, half")
    held = [p for p in tmp_path.rglob("*") if p.is_file() and b"zebrafinch" in p.read_bytes()]
    assert held
    with MemoryStore(tmp_path, HASHED_WORDS) as store:
        store.user("ada").remember(f"At {datetime.now(UTC)}.")
        assert store.user("ada").count() == 3
    held = [p for p in tmp_path.rglob("*") if p.is_file() and b"zebrafinch" in p.read_bytes()]
    assert held == []


def test_forgetting_a_user_cut_short_is_finished_at_the_next_opening(tmp_path):
    """As if killed after the promise, before anything was removed."""
    coda = load_character("coda")
    with MemoryStore(tmp_path, HASHED_WORDS) as store:
        store.user("quokka-7").remember("I like zebrafinches.")
        Personality(coda, "quokka-7", store.states).feedback("Shorter, please.")
        store.tables.write_info(**{"purge " + store.tables.users()[0]: "everything"})
    with MemoryStore(tmp_path, HASHED_WORDS) as store:
        store.user("ada").remember("I like rowing.")
        assert list(store.users()) == ["ada"]
    held = [p for p in tmp_path.rglob("*") if p.is_file() and b"quokka-7" in p.read_bytes()]
    assert held == []


class Panic(BaseException):
    """As a panic in Rust arrives: no ``Exception``."""


class Odd(Exception):
    """As onnxruntime's errors arrive: of no kind that anybody knows."""


class Nervous(HashedWords):
    """Fails at some words."""

    def embed(self, texts):
        for text in texts:
            if "panic" in text:
                raise Panic("index out of bounds")
            if "odd" in text:
                raise Odd("INVALID_PROTOBUF")
        return super().embed(texts)


def test_no_error_in_embedding_ends_the_thread_that_embeds(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "load_model", lambda name: Nervous())
    with MemoryStore(tmp_path, HASHED_WORDS) as store:
        ada = store.user("ada")
        ada.remember("The sky is blue.")
        for word, reason in (("panic", "index out of bounds"), ("odd", "INVALID_PROTOBUF")):
            with pytest.raises(MemoryStoreError, match=reason):
                ada.remember(f"A {word} word.")
            with pytest.raises(MemoryStoreError, match=reason):
                ada.search(f"a {word} word")
            ada.remember(f"I like {len(reason)} things.")
        assert ada.count() == 5


def test_no_error_in_writing_ends_the_thread_that_writes(tmp_path, monkeypatch):
    with MemoryStore(tmp_path, HASHED_WORDS) as store:
        ada = store.user("ada")
        ada.remember("The sky is blue.")
        for error in (Panic, Odd):

            def broken(*_, error=error, **__):
                raise error("a bug in LanceDB")

            with monkeypatch.context() as patched:
                patched.setattr(LanceTable, "add", broken)
                with pytest.raises(MemoryStoreError, match="a bug in LanceDB"):
                    ada.remember("The grass is green.")
            with monkeypatch.context() as patched:
                patched.setattr(Upkeep, "run", broken)
                for number in range(WRITES_BEFORE_OPTIMIZE):
                    ada.remember(f"Note {number} about the garden.")
        ada.remember("I like chess.")
        assert ada.count() == 1 + 2 * WRITES_BEFORE_OPTIMIZE + 2


def test_a_caller_that_goes_away_ends_no_thread(tmp_path):
    with MemoryStore(tmp_path, HASHED_WORDS) as store:
        ada, go_on = store.user("ada"), threading.Event()
        store.writer.call(go_on.wait)
        left = ada.append(ada.turn("I like chess."))
        other = ada.append(ada.turn("I like rowing."))
        assert left.cancel()
        go_on.set()
        other.result(60)
        assert ada.count() == 4, "what was said is kept all the same"


def test_a_damaged_form_of_the_embedding_model_is_made_again(tmp_path, monkeypatch):
    first = load_model()
    made = [_onnx_file(_package_folder(), quick) for quick in (False, True)]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache_folder().mkdir()
    sizes = {Path(shutil.copy(file, cache_folder())): file.stat().st_size for file in made}
    assert len(sizes) == 2, "one for what is stored, one for queries"
    for shares in ((0.5, 0.0), (0.0, 0.5)):
        for (file, whole), left in zip(sizes.items(), shares, strict=True):
            with file.open("r+b") as damaged:
                damaged.truncate(round(left * whole))
        again = load_model()
        assert {file: file.stat().st_size for file in sizes} == sizes
        assert np.allclose(again.embed(["I like chess."]), first.embed(["I like chess."]))
        assert np.allclose(again.embed_query("chess?"), first.embed_query("chess?"))


def test_a_cache_that_cannot_be_written_says_where_to_put_it(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with MemoryStore(tmp_path / "store") as store:
        ada = store.user("ada")
        with pytest.raises(ModelLoadingError, match=r"cache.*set XDG_CACHE_HOME to a folder"):
            ada.append(ada.turn("I like chess.")).result(60)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
        ada.append(ada.turn("I like chess.")).result(60)
        assert "chess" in ada.search("what do I like")[0].memory.text
