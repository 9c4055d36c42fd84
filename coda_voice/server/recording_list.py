"""Which recordings there are in a folder, newest first, for whom: few of very many.

A recording belongs to one user for as long as it is there. Whose it is is read once and kept in
mind, so that a page of somebody's costs the names in the folder and what it shows, and not the
descriptions of all others. What is shown has been read at that moment.

Its description can be changed by hand. So the first event of the recording is asked as well, and
what was read before: where they name different users it is shown to none of them, only to those
who may see everybody's, and the log names it.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from coda_voice.server.recording import NAME, About

logger = logging.getLogger(__name__)

FIRST_EVENTS, FIRST_BYTES = 8, 8_192
"""Of a recording, among which its conversation begins."""
OWNERS_REMEMBERED = 100_000
"""Of the newest recordings, some 200 bytes each; older ones are read whenever they are passed."""


class RecordingList:
    """The recordings in ``folder``, which need not be there yet. For any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._owners: Mapping[str, str] = {}
        """Never changed, only replaced: threads that list at the same time disturb nobody."""
        self._disputed: set[str] = set()
        """Recordings whose dispute has been told."""

    def find(self, name: str, of: Callable[[str], bool]) -> Path | None:
        """Give the folder of a recording, if there is one of that name and it is wanted."""
        if not NAME.fullmatch(name):
            return None
        try:
            about = About.read(self._folder / name)
        except (OSError, ValueError):
            return None
        return self._folder / name if all(map(of, self._named(name, about))) else None

    def newest(
        self,
        *,
        before: str | None = None,
        of: Callable[[str], bool] = lambda user_id: True,
        most: int | None = None,
    ) -> list[About]:
        """List recordings, newest first; what is damaged is left out.

        ``before``: only those whose names come before that one, which need not be there any more;
        ``of``: whose are wanted; ``most``: how many of them.
        """
        names = self._names()
        found: list[About] = []
        seen: dict[str, str] = {}
        for name in self._perhaps(names, before, of):
            if len(found) == most:
                break
            try:
                about = About.read(self._folder / name)
            except (OSError, ValueError):  # or it is not written yet
                continue
            if name not in self._owners:  # a later change makes nobody else its owner
                seen[name] = sys.intern(about.user_id)
            # The events of what is not wanted anyway need not be read.
            if of(about.user_id) and all(map(of, self._named(name, about))):
                found.append(replace(about, name=name))  # by which it is asked for
        self._remember(names, seen)
        return found

    def _named(self, name: str, about: About) -> set[str]:
        """Give whom a recording says it is of: one user, or it is nobody's; that is told once."""
        known = {self._owners.get(name), _recorded_of(self._folder / name)}
        named = {about.user_id, *(user_id for user_id in known if user_id is not None)}
        if len(named) > 1 and name not in self._disputed:
            self._disputed.add(name)
            logger.warning("recording_owner_disputed", extra={"fields": {"recording": name}})
        return named

    def _names(self) -> set[str]:
        if not self._folder.is_dir():
            return set()
        with os.scandir(self._folder) as entries:
            return {entry.name for entry in entries}

    def _perhaps(
        self, names: Iterable[str], before: str | None, of: Callable[[str], bool]
    ) -> list[str]:
        """Give those that are not known to be unwanted, newest first: a name begins with when."""
        owners = self._owners
        return sorted(
            (
                name
                for name in names
                if (before is None or name < before)
                and (of(owners[name]) if name in owners else NAME.fullmatch(name))
            ),
            reverse=True,
        )

    def _remember(self, names: set[str], seen: Mapping[str, str]) -> None:
        """Keep whose they are in mind, and nothing of those that are gone."""
        if self._owners.keys() <= names and seen.items() <= self._owners.items():
            return
        owners = {**self._owners, **seen}
        there = sorted((name for name in owners if name in names), reverse=True)
        self._owners = {name: owners[name] for name in there[:OWNERS_REMEMBERED]}


def _recorded_of(folder: Path) -> str | None:
    """Give whose conversation the events of a recording tell of; None where they do not say."""
    try:
        with (folder / "events.jsonl").open("rb") as events:
            lines = events.read(FIRST_BYTES).splitlines()[:FIRST_EVENTS]
        for event in map(json.loads, lines):
            if event["type"] == "conversation_started":
                user_id = event["user_id"]
                return user_id if isinstance(user_id, str) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # it was cut off at once, or its disk was full
    return None
