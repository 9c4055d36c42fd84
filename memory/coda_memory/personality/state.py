"""How a character has adapted to one user, kept on disk.

One small JSON file per user, named by a hash of the user id, written whole and moved into
place: a process that dies leaves the old one. Raises MemoryStoreError for a file that cannot
be read or written.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime
from os import PathLike
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from coda_memory.errors import MemoryStoreError, store_error
from coda_memory.owner import Owner
from coda_memory.personality.character import Character
from coda_memory.personality.feedback import Wish
from coda_memory.personality.traits import TRAITS
from coda_memory.record import utc_now
from coda_voice.errors import VoiceTimeoutError

KEPT = 200
"""Adjustments remembered for each character and user; older ones only in their sum."""
LOCK_TIMEOUT = 5.0


class Adjustment(BaseModel):
    """One change of a trait: what it became, and the user's words that asked for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trait: str
    before: float = Field(ge=0, le=1)
    after: float = Field(ge=0, le=1)
    because: str = Field(max_length=500)
    at: AwareDatetime

    def __str__(self) -> str:
        return (
            f"{self.trait} {self.before:.2f} → {self.after:.2f} on {self.at:%Y-%m-%d %H:%M}, "
            f"because the user said: {self.because!r}"
        )


class Adapted(BaseModel):
    """What one user has made of one character."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    values: dict[str, float] = Field(default_factory=dict)
    adjustments: tuple[Adjustment, ...] = ()

    def value(self, character: Character, trait: str) -> float:
        """A trait as it is now, within the character's bounds as they are now."""
        own = character.default(trait)
        return character.bounds_of(trait).clamp(self.values.get(trait, own))

    def traits(self, character: Character) -> dict[str, float]:
        """All traits as they are now."""
        return {trait: self.value(character, trait) for trait in TRAITS}

    def after(
        self, character: Character, wishes: Sequence[Wish], at: datetime
    ) -> tuple[Adapted, list[Adjustment]]:
        """Do what was wished for, within bounds; gives what really changed as well."""
        values, made = dict(self.values), []
        for wish in wishes:
            before = self.value(character, wish.trait)
            after = character.bounds_of(wish.trait).clamp(before + wish.by)
            if after != before:
                values[wish.trait] = after
                made.append(
                    Adjustment(
                        trait=wish.trait,
                        before=before,
                        after=after,
                        because=wish.words[:500],
                        at=at,
                    )
                )
        return Adapted(values=values, adjustments=(*self.adjustments, *made)[-KEPT:]), made

    def without(self, trait: str | None) -> Adapted:
        """Forget what moved a trait (None: all of them)."""
        return Adapted(
            values={t: v for t, v in self.values.items() if trait not in (None, t)},
            adjustments=tuple(a for a in self.adjustments if trait not in (None, a.trait)),
        )


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: int = 1
    user_id: str
    characters: dict[str, Adapted] = Field(default_factory=dict)


class PersonalityStates:
    """The adapted characters of all users, in one folder."""

    def __init__(self, folder: str | PathLike[str], now: Callable[[], datetime] = utc_now) -> None:
        self.folder = Path(folder)
        self._now = now

    def load(self, owner: Owner, character: Character) -> Adapted:
        """Give what the user has made of the character; nothing, at first."""
        return self._read(owner).characters.get(character.name, Adapted())

    def adapt(
        self, owner: Owner, character: Character, wishes: Sequence[Wish]
    ) -> tuple[Adapted, list[Adjustment]]:
        """Do what was wished for, within bounds, and keep it; gives what really changed."""
        with self._locked(owner):
            kept = self._read(owner)
            known = kept.characters.get(character.name, Adapted())
            adapted, made = known.after(character, wishes, self._now())
            kept.characters[character.name] = adapted
            self._write(owner, kept)
        return adapted, made

    def reset(self, owner: Owner, character: Character, trait: str | None = None) -> Adapted:
        """Take a trait (None: all of them) back to the character's own value."""
        with self._locked(owner):
            kept = self._read(owner)
            adapted = kept.characters.get(character.name, Adapted()).without(trait)
            kept.characters[character.name] = adapted
            self._write(owner, kept)
        return adapted

    def forget(self, owner: Owner) -> None:
        """Remove all that is kept of a user."""
        with self._locked(owner):
            self._path(owner).unlink(missing_ok=True)
        self._path(owner).with_suffix(".lock").unlink(missing_ok=True)

    def _path(self, owner: Owner) -> Path:
        return self.folder / f"{owner.key}.json"

    def _locked(self, owner: Owner) -> _Lock:
        return _Lock(self._path(owner).with_suffix(".lock"))

    def _read(self, owner: Owner) -> _File:
        path = self._path(owner)
        try:
            return _File.model_validate_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return _File(user_id=owner.user_id)
        except OSError as error:
            raise store_error(error, str(path), "reading a personality") from error
        except (ValidationError, UnicodeDecodeError) as error:
            raise MemoryStoreError(
                f"{path} is damaged: what this user made of the characters cannot be read. "
                "Delete the file to begin again.",
                "memory_corrupt",
            ) from error

    def _write(self, owner: Owner, kept: _File) -> None:
        path = self._path(owner)
        text = json.dumps(kept.model_dump(mode="json"), ensure_ascii=True, indent=1)
        try:
            handle, name = tempfile.mkstemp(dir=self.folder, prefix=".", suffix=".tmp")
            new = Path(name)
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(text)
                new.replace(path)
            finally:
                new.unlink(missing_ok=True)
        except OSError as error:
            raise store_error(error, str(path), "keeping a personality") from error


class _Lock:
    """Two processes may adapt the same user: one after the other."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = FileLock(path, timeout=LOCK_TIMEOUT)

    def __enter__(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout:
            raise VoiceTimeoutError(
                f"another process has held {self._path} for {LOCK_TIMEOUT:g} s; try again.",
                "memory_busy",
            ) from None
        except OSError as error:
            raise store_error(error, str(self._path), "locking a personality") from error

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def default_folder() -> Path:
    """Give the folder when none is named: ~/.local/share/coda-voice/personality."""
    return Path.home() / ".local" / "share" / "coda-voice" / "personality"
