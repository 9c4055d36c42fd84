"""How a character has adapted to one user, and that it is kept.

One small JSON text per user (``state_files`` says where). Raises MemoryStoreError for one that
cannot be read or written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from os import PathLike
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from coda_memory.errors import MemoryStoreError
from coda_memory.owner import Owner
from coda_memory.personality.character import Character
from coda_memory.personality.feedback import Wish
from coda_memory.personality.state_files import StateFiles, StatePlace, place_of
from coda_memory.personality.traits import TRAITS
from coda_memory.record import utc_now

KEPT = 200
"""Adjustments remembered for each character and user; older ones only in their sum."""
FORGOTTEN = "(forgotten)"
"""In place of the user's words, where the trait stays as they moved it."""


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

    def without(self, *traits: str) -> Adapted:
        """Leave out what moved ``traits``."""
        return self.only(*(trait for trait in TRAITS if trait not in traits))

    def only(self, *traits: str) -> Adapted:
        """Keep what moved ``traits``, and nothing else."""
        return Adapted(
            values={t: v for t, v in self.values.items() if t in traits},
            adjustments=tuple(a for a in self.adjustments if a.trait in traits),
        )

    def joined(self, other: Adapted) -> Adapted:
        """Put what moved other traits to it."""
        made = sorted((*self.adjustments, *other.adjustments), key=lambda a: a.at)
        return Adapted(values={**self.values, **other.values}, adjustments=tuple(made))

    def without_words(self, said: Callable[[str], bool]) -> Adapted:
        """Forget the words that moved a trait, of those for which ``said`` is true."""
        return self.model_copy(
            update={
                "adjustments": tuple(
                    a.model_copy(update={"because": FORGOTTEN}) if said(a.because) else a
                    for a in self.adjustments
                )
            }
        )


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: int = 1
    user_id: str
    characters: dict[str, Adapted] = Field(default_factory=dict)


class PersonalityStates:
    """The adapted characters of all users, in one place: by default files in ``folder``."""

    def __init__(
        self, folder: str | PathLike[str] | StatePlace, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._place: StatePlace
        if isinstance(folder, str | PathLike):
            self._place = StateFiles(Path(folder))
        else:
            self._place = folder
        self._now = now

    @classmethod
    def beside(
        cls,
        store: str,
        storage_options: Mapping[str, str] | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> PersonalityStates:
        """Give the characters that belong to a memory store, a folder or a URI."""
        return cls(place_of(store, storage_options), now)

    def load(self, owner: Owner, character: Character) -> Adapted:
        """Give what the user has made of the character; nothing, at first."""
        return self._read(owner).characters.get(character.name, Adapted())

    def adapt(
        self, owner: Owner, character: Character, wishes: Sequence[Wish]
    ) -> tuple[Adapted, list[Adjustment]]:
        """Do what was wished for, within bounds, and keep it; gives what really changed."""
        with self._place.locked(owner.key):
            kept = self._read(owner)
            known = kept.characters.get(character.name, Adapted())
            adapted, made = known.after(character, wishes, self._now())
            kept.characters[character.name] = adapted
            self._write(owner, kept)
        return adapted, made

    def reset(self, owner: Owner, character: Character, trait: str | None = None) -> Adapted:
        """Take a trait (None: all of them) back to the character's own value."""
        with self._place.locked(owner.key):
            kept = self._read(owner)
            known = kept.characters.get(character.name, Adapted())
            adapted = known.without(*((trait,) if trait else TRAITS))
            kept.characters[character.name] = adapted
            self._write(owner, kept)
        return adapted

    def forget(self, key: str) -> None:
        """Remove all that is kept of a user; ``key``: of the ``Owner``."""
        self._place.remove(key)

    def forget_words(self, owner: Owner, turns: Iterable[str], holding: str = "") -> None:
        """Forget the user's words that are in one of ``turns``, or that hold ``holding``.

        What they did to a trait stays (``forget`` and ``reset`` take that back). Case and spaces
        do not matter.
        """
        within, wanted = [_plain(turn) for turn in turns], _plain(holding)

        def said(words: str) -> bool:
            plain = _plain(words)
            return bool(wanted and wanted in plain) or any(plain in turn for turn in within)

        if self._place.read(owner.key) is None:
            return
        with self._place.locked(owner.key):
            kept = self._read(owner)
            without = {n: a.without_words(said) for n, a in kept.characters.items()}
            if without != kept.characters:
                self._write(owner, kept.model_copy(update={"characters": without}))

    def _read(self, owner: Owner) -> _File:
        try:
            text = self._place.read(owner.key)
            return _File(user_id=owner.user_id) if text is None else _File.model_validate_json(text)
        except (ValidationError, UnicodeDecodeError) as error:
            raise MemoryStoreError(
                f"{self._place.name(owner.key)} is damaged: what this user made of the characters "
                "cannot be read. Delete the file to begin again.",
                "memory_corrupt",
            ) from error

    def _write(self, owner: Owner, kept: _File) -> None:
        text = json.dumps(kept.model_dump(mode="json"), ensure_ascii=True, indent=1)
        self._place.write(owner.key, text)


def _plain(text: str) -> str:
    return " ".join(text.replace("’", "'").casefold().split())
