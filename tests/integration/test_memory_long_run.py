"""A store that is open for weeks: what LanceDB keeps of old versions is let go."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import psutil
import pytest
from coda_memory import MemoryStore, UserMemories, tables, upkeep
from coda_memory.embedding import HASHED_WORDS

FEW = 8


@pytest.fixture
def store(tmp_path, monkeypatch):
    """One that keeps itself tidy after every second write, and soon empties its caches."""
    monkeypatch.setattr(upkeep, "WRITES_BEFORE_OPTIMIZE", 2)
    monkeypatch.setattr(tables, "OUTDATED", FEW)
    with MemoryStore(tmp_path / "memory", HASHED_WORDS) as store:
        yield store


def open_files() -> int:
    return psutil.Process().num_fds()


def fill(user: UserMemories) -> None:
    """So many memories that LanceDB keeps the file of their words open."""
    user.append([turn for n in range(150) for turn in user.turn(f"I saw thing {n}.")]).result()


def is_flat(seen: list[int]) -> bool:
    """Whether the second half is no higher than the first; two more for each, were they kept."""
    half = len(seen) // 2
    return max(seen[half:]) <= max(seen[:half]) + FEW


def test_files_of_old_indices_do_not_stay_open(store):
    ada = store.user("ada")
    fill(ada)
    seen = []
    for number in range(5 * FEW):
        for half in ("first", "second"):
            ada.append(ada.turn(f"I saw the {half} thing of {number}.")).result()
        assert ada.search(f"thing of {number}")
        seen.append(open_files())
    assert is_flat(seen), seen


def test_arrow_keeps_no_memory_of_its_own():
    """Where nobody has wanted it otherwise: it is read once, as Arrow is loaded."""
    program = (
        "import coda_memory.tables, pyarrow; print(pyarrow.default_memory_pool().backend_name)"
    )
    env = {k: v for k, v in os.environ.items() if k != "ARROW_DEFAULT_MEMORY_POOL"}
    told = subprocess.check_output([sys.executable, "-c", program], env=env, text=True)
    assert told.strip() == "system"


def test_who_searches_meanwhile_notices_nothing(store):
    ada = store.user("ada")
    ada.remember("My cat is called Whiskers.")
    over = threading.Event()
    found: list[int] = []

    def look() -> None:
        while not over.is_set():
            found.append(len(ada.search("cat Whiskers", kinds=["turn"], limit=1)))

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in range(4 * FEW):
            ada.append(ada.turn(f"I saw thing {number}.")).result()
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert len(found) > FEW and set(found) == {1}
