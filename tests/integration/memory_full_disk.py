"""Stores whose disk is full now and then, while they are written to and searched.

    python -m tests.integration.memory_full_disk FOLDER SEED

Prints a line of JSON: how many writes succeeded and failed, what else went wrong, and by how
much what is stored at last is not what was acknowledged. A limit on the size of files stands for
the full disk; it comes and goes at any moment, also in the middle of a commit.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from coda_memory import MemoryStore, upkeep
from coda_memory.embedding import HASHED_WORDS
from coda_memory.user import UserMemories

from coda_voice.errors import VoiceProcessingError

ROUNDS, WRITES = 4, 30
LONG = " and so much more" * 200


class FullNowAndThen:
    """Limits files to a few hundred or thousand bytes, and no longer, again and again."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        _, self._most = resource.getrlimit(resource.RLIMIT_FSIZE)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._over.is_set():
            self._limit(self._chance.choice([300, 500, 1_000, 2_000, 3_000, 4_000]))
            self._over.wait(self._chance.random() * 0.05)
            self._limit(self._most)
            self._over.wait(self._chance.random() * 0.08)

    def _limit(self, size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, self._most))

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


class Round:
    """One store of its own."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.chance = folder, random.Random(seed)
        self.outcomes: Counter[str] = Counter()
        self.stored: dict[str, list[str]] = {}
        self.unsure: set[str] = set()
        """What was to be forgotten, and may or may not have been."""

    def tried(self, what: str, do: Callable[[], object]) -> None:
        try:
            do()
        except VoiceProcessingError as error:
            self.outcomes[f"{what}: {error.error_code}"] += 1
        else:
            self.outcomes[what] += 1

    def remember(self, user: UserMemories, text: str) -> None:
        made = user.remember(text)
        self.stored[text] = [memory.id for memory in made]

    def forget(self, user: UserMemories) -> None:
        ids = self.stored.pop(self.chance.choice(sorted(self.stored)))
        self.unsure |= set(ids)
        user.forget(*ids)
        self.unsure -= set(ids)

    def run(self) -> tuple[int, int]:
        """Give how many memories are missing, and how many are there that should not be."""
        with MemoryStore(self.folder, HASHED_WORDS) as store:
            user, over = store.user("ada"), threading.Event()

            def search() -> None:
                while not over.wait(0.01):
                    self.tried("searched", partial(user.search, "do I like chess"))

            searching = threading.Thread(target=search)
            with FullNowAndThen(self.chance):
                searching.start()
                for number in range(WRITES):
                    if self.stored and self.chance.random() < 0.15:
                        self.tried("forgotten", partial(self.forget, user))
                        continue
                    text = f"I like thing {number}" + self.chance.choice(["", LONG])
                    self.tried("written", partial(self.remember, user, text))
                over.set()
                searching.join()
            for number in range(3):
                self.tried("at last", partial(self.remember, user, f"I row {number}"))
        with MemoryStore(self.folder, HASHED_WORDS) as store:
            there = {memory.id for memory in store.user("ada").list()}
        wanted = {row for ids in self.stored.values() for row in ids}
        return len(wanted - there), len(there - wanted - self.unsure)


def main(folder: Path, seed: int) -> None:
    upkeep.WRITES_BEFORE_OPTIMIZE, upkeep.ID_INDEX_ROWS = 5, 8
    total: Counter[str] = Counter()
    for number in range(ROUNDS):
        one = Round(folder / str(number), seed + number)
        missing, too_many = one.run()
        total.update(one.outcomes, missing=missing, too_many=too_many)
    print(json.dumps(total))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
