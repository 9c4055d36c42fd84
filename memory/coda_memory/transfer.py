"""Memories out of a store and into one: JSON Lines, a memory a line, without vectors.

    {"user_id": "ada", "id": "…", "text": "I like chess", "kind": "turn", "created_at": "…", …}

Importing embeds anew, so a file goes into a store of any model. What is there already (by id)
is left as it is: importing twice is importing once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator

from pydantic import ValidationError as ShapeError

from coda_memory.owner import Owner
from coda_memory.record import Memory
from coda_memory.store import MemoryStore
from coda_voice.errors import ValidationError

BATCH = 64
Progress = Callable[[int], None]


def export_lines(store: MemoryStore, user_id: str | None = None) -> Iterator[str]:
    """Give the memories of one user or of all, oldest first, as lines of JSON."""
    for user in [user_id] if user_id is not None else sorted(store.users()):
        for memory in store.user(user).list():
            line = {"user_id": user, **memory.model_dump(mode="json", exclude_none=True)}
            yield json.dumps(line, ensure_ascii=False)


def import_lines(
    store: MemoryStore,
    lines: Iterable[str],
    user_id: str | None = None,
    progress: Progress | None = None,
) -> int:
    """Store memories from lines of JSON; gives how many were new.

    user_id: whose they become; None leaves each with its own. The whole file is read before
    the first is stored. Raises ValidationError naming the first bad line.
    """
    read: dict[str, dict[str, Memory]] = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            owner, memory = _parse(line, number, user_id)
            read.setdefault(owner, {})[memory.id] = memory
    done = 0
    for owner, memories in read.items():
        user = store.user(owner)
        there = {memory.id for memory in user.list()}
        fresh = [memory for key, memory in memories.items() if key not in there]
        for start in range(0, len(fresh), BATCH):
            batch = fresh[start : start + BATCH]
            user.append(batch).result()
            done += len(batch)
            if progress is not None:
                progress(done)
    return done


def _parse(line: str, number: int, user_id: str | None) -> tuple[str, Memory]:
    try:
        fields = json.loads(line)
        if not isinstance(fields, dict):
            raise ValidationError(f"line {number} is no JSON object.")
        named = fields.pop("user_id", None)
        owner = user_id if user_id is not None else named
        if not isinstance(owner, str):
            raise ValidationError(f'line {number} has no "user_id", and no user was named.')
        try:
            Owner.of(owner)
        except ValidationError as error:
            raise ValidationError(
                f"line {number}: {error.message} Nothing was imported.", error.error_code
            ) from error
        return owner, Memory.model_validate_json(json.dumps(fields))
    except ShapeError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValidationError(
            f"line {number} is no memory: {where}: {first['msg']}. Nothing was imported."
        ) from error
    except (ValueError, RecursionError) as error:  # of numbers and depths that nobody meant, too
        why = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise ValidationError(f"line {number} is no JSON: {why}. Nothing was imported.") from error
