"""The voices that clients may choose from, by name: files in one folder, and nothing outside it."""

from __future__ import annotations

import re
from pathlib import Path

from coda_voice.audio import files
from coda_voice.errors import ConfigurationError, ProtocolError
from coda_voice.moshi.frames import SAMPLE_RATE, Pcm

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}(\.[A-Za-z0-9]{1,5})?")
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")


class Voices:
    """Voice samples by name; a name is a file's name with or without its ending.

    Raises ConfigurationError for a folder that is none.
    """

    def __init__(self, folder: str | None) -> None:
        self._folder = None if folder is None else Path(folder).expanduser()
        if self._folder is not None and not self._folder.is_dir():
            raise ConfigurationError(
                f"server.voices {folder} is no folder; name one with audio files.",
                "bad_voices",
                path=folder,
            )

    def names(self) -> list[str]:
        """List the voices there are."""
        return sorted(self._samples())

    def _samples(self) -> dict[str, Path]:
        """Give the files by name; beside a sample there may be others, such as its licence."""
        if self._folder is None:
            return {}
        found = sorted(p for p in self._folder.iterdir() if p.is_file() and p.suffix in SUFFIXES)
        return {p.stem: p for p in found if _NAME.fullmatch(p.name)}

    def read(self, name: str) -> Pcm:
        """Give the sample of a voice, 24 kHz. Raises ProtocolError for a name that is none here.

        The name is looked up in the list of what is there, never joined to a path.
        """
        samples = self._samples()
        path = samples.get(Path(name).stem) if _NAME.fullmatch(name) else None
        if path is None:
            raise ProtocolError(
                f"There is no voice {name[:80]!r} here; there are: "
                f"{', '.join(sorted(samples)) or 'none'}.",
                "unknown_voice",
                fatal=True,
            )
        return files.read(str(path)).at(SAMPLE_RATE)
