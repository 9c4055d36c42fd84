"""coda-tiny as a checkpoint that takes voice prompts, and a folder of voices to choose from."""

from __future__ import annotations

import json
from pathlib import Path

import coda_voice
from tests.conftest import DATA

TINY = Path(coda_voice.__file__).parent / "tiny"


def write_voiced_checkpoint(folder: Path) -> Path:
    """Give a folder with coda-tiny's weights that says it takes voice prompts.

    It was not trained with any: a sample changes what it says and how, not whose voice it is.
    """
    folder.mkdir()
    for file in TINY.iterdir():
        if file.name not in ("coda.json", "README.md"):
            (folder / file.name).symlink_to(file)
    extras = json.loads((TINY / "coda.json").read_text())
    extras["capabilities"]["voice_prompt"] = True
    (folder / "coda.json").write_text(json.dumps(extras))
    return folder


def write_voices(folder: Path) -> Path:
    """Give a folder with the voices ``one`` and ``other``."""
    folder.mkdir()
    (folder / "one.flac").write_bytes((DATA / "hello.flac").read_bytes())
    (folder / "other.flac").write_bytes((DATA / "agent_answer.flac").read_bytes())
    return folder
