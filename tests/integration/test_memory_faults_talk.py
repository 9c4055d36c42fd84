"""Conversations whose memory fails under them: each goes on, without memory until it is well."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from coda_memory import MemoryStore
from coda_memory.embedding import HASHED_WORDS

from coda_voice.events import ConversationFailed, MemoryStored
from coda_voice.remembering import Remembering
from tests.integration.test_remembering import Held, begun, remembered

ROOT = Path(__file__).parents[2]


def test_a_full_disk_and_a_read_only_folder_end_no_conversation(tmp_path):
    """A limit on the size of files stands for the full disk; permissions are withdrawn for real."""
    with MemoryStore(tmp_path, HASHED_WORDS) as store:
        store.user("ben").remember("I like sailing.")
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.memory_fault_talk", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    steps = {step["step"]: step for step in map(json.loads, done.stdout.splitlines())}
    assert {name: step["event"] for name, step in steps.items()} == {
        "well": "memory_stored",
        "full": "error",
        "full, recalled": "memory",
        "room again": "memory_stored",
        "read-only": "error",
        "writable again": "memory_stored",
    }, done.stdout
    assert steps["full"]["told"] == "memory_disk_full"
    assert steps["read-only"]["told"] == "memory_cannot_write"
    assert all(step["frames"] == 0 for step in steps.values()), "no frame was lost or late"
    with MemoryStore(tmp_path, HASHED_WORDS) as store:
        kept = {m.text for m in store.user("ada").list(kinds=["turn"])}
    assert kept == {"I like chess.", "I like rowing.", "I like beer."}


async def frames_come_back(held: Held) -> None:
    """As many as go in."""

    async def quiet():
        for _ in range(10):
            yield bytes(2 * 1920)

    out = held.manager.process_voice_stream(held.id, quiet(), finish_answer=False)
    assert len([chunk async for chunk in out]) == 11


async def test_damaged_memories_are_told_once_and_others_talk_with_theirs(engine, tmp_path):
    with MemoryStore(tmp_path, HASHED_WORDS) as store:
        store.user("ada").remember("I like chess.")
        ben = store.user("ben")
        ben.remember("I like rowing.")
        (of_ben,) = [n for n in store.tables.users() if n == store.tables.name_of(ben._owner)]
    for path in tmp_path.glob("u*.lance/data/*"):
        if of_ben not in str(path):
            path.write_bytes(b"not a table at all")
    with MemoryStore(tmp_path, HASHED_WORDS) as store:
        held = await begun(engine, Remembering(remembered(store), recall_seconds=30))
        failed = await held.until(ConversationFailed)
        assert failed.code == "memory_corrupt" and "Import the last export" in failed.message
        held.conversation.type_text("do I like chess")
        await frames_come_back(held)
        assert len(held.of(ConversationFailed)) == 1
        await held.manager.shutdown()
        other = await begun(engine, Remembering(remembered(store, "ben")))
        assert other.conversation.slot.prompt.text == "the user likes rowing"
        await other.manager.shutdown()


HOLDS = """
import sys
from filelock import FileLock

with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
"""


async def test_while_another_process_writes_the_talk_goes_on_and_the_turn_waits(engine, tmp_path):
    with MemoryStore(tmp_path, HASHED_WORDS) as store:
        store.user("ada").remember("I like rowing.")
        held = await begun(engine, Remembering(remembered(store), recall_seconds=30))
        other = await asyncio.create_subprocess_exec(
            sys.executable, "-c", HOLDS, str(tmp_path / ".lock"),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert other.stdin is not None and other.stdout is not None
        assert await other.stdout.readline() == b"held\n"
        held.conversation.type_text("I like chess.")
        await frames_come_back(held)
        assert held.of(MemoryStored) == [] and held.of(ConversationFailed) == []
        assert "rowing" in store.user("ada").search("rowing")[0].memory.text
        other.stdin.write(b"enough\n")
        await other.stdin.drain()
        stored = await held.until(MemoryStored)
        await other.wait()
        assert stored.facts == ("The user likes chess.",)
        await held.manager.shutdown()
