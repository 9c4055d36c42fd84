"""A conversation whose disk becomes full, then read-only, and well again; a process of its own.

    python -m tests.integration.memory_fault_talk FOLDER

FOLDER holds a memory store. Prints a line of JSON a step: what became of the turn, and how many
frames came back of how many.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import resource
import sys
from pathlib import Path

from coda_voice.events import ConversationFailed, Event, MemoryInjected, MemoryStored
from coda_voice.manager import VoiceManager

FRAMES = 6
LONG = "and I could say so much more about it " * 100
_CAPABILITIES_V3 = 0x20080522
_MAY_WRITE_ANYWHERE = 0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


def be_an_ordinary_owner() -> None:
    """Give up root's right to write where permissions forbid it; threads inherit that."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_V3, 0)
    sets = (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    sets[0] &= ~_MAY_WRITE_ANYWHERE
    if libc.capset(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def permit(folder: Path, writing: bool) -> None:
    for path in [folder, *folder.rglob("*")]:
        path.chmod((0o755 if path.is_dir() else 0o644) & (0o777 if writing else 0o555))


class Talk:
    """One conversation of ada's."""

    def __init__(self, manager: VoiceManager, name: str) -> None:
        self.manager, self.name = manager, name
        self.events: list[Event] = []
        manager.events.listen(self.events.append)

    async def step(self, name: str, said: str, *wanted: type[Event]) -> None:
        """Say something, wait for what becomes of it while frames go on, print it."""
        before = len(self.events)
        self.manager.conversation(self.name).type_text(said)
        frames = 0
        async with asyncio.timeout(120):
            found = None
            while found is None:
                frames += await self.listen()
                found = next(
                    (
                        event
                        for event in self.events[before:]
                        if isinstance(event, wanted)
                        and (not isinstance(event, MemoryInjected) or event.said == said)
                    ),
                    None,
                )
        told = getattr(found, "code", None) or getattr(found, "injected", None)
        print(json.dumps({"step": name, "event": found.type, "told": told, "frames": frames}))

    async def listen(self) -> int:
        async def quiet():
            for _ in range(FRAMES):
                yield bytes(2 * 1920)

        heard = self.manager.process_voice_stream(self.name, quiet(), finish_answer=False)
        return sum([1 async for _ in heard]) - 1 - FRAMES


async def main(folder: Path) -> None:
    config = {
        "moshi": {"seed": 1, "slots": 1, "threads": 1},
        "integration": {"memory_store": str(folder)},
    }
    async with VoiceManager(config) as manager:
        talk = Talk(manager, await manager.start_conversation(user_id="ada"))
        stored, failed = (MemoryStored, ConversationFailed), (ConversationFailed, MemoryStored)
        await talk.step("well", "I like chess.", *stored)
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, hard))
        await talk.step("full", f"I like tea, {LONG}", *failed)
        await talk.step("full, recalled", "do I like chess", MemoryInjected)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        await talk.step("room again", "I like rowing.", *stored)
        permit(folder, writing=False)
        await talk.step("read-only", "I like wine.", *failed)
        permit(folder, writing=True)
        await talk.step("writable again", "I like beer.", *stored)


if __name__ == "__main__":
    if os.getuid() == 0:
        be_an_ordinary_owner()
    asyncio.run(main(Path(sys.argv[1])))
