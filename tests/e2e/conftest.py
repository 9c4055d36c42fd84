"""The installed command, and one run of the demo that all its tests look at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from filelock import FileLock

COMMAND = Path(sys.executable).parent / "coda-voice"


@dataclass(frozen=True)
class Done:
    """A command that has ended: where it ran, and what it said."""

    folder: Path
    returncode: int
    stdout: str
    stderr: str


def environment(**more: str) -> dict[str, str]:
    """The environment without settings of whoever runs the tests, torch on one thread."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CODA_VOICE__")}
    return {**kept, "COLUMNS": "200", "NO_COLOR": "1", "OMP_NUM_THREADS": "1", **more}


def coda_voice(*words: str, folder: Path, **more: str) -> Done:
    """Run the installed command in ``folder``."""
    done = subprocess.run(
        [str(COMMAND), *words],
        cwd=folder,
        env=environment(**more),
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    return Done(folder, done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Done:
    """`coda-voice demo`, as in the README, in an empty folder; once for all workers."""
    if worker_id == "master":  # there are no others
        return coda_voice("demo", folder=tmp_path_factory.mktemp("demo"))
    common = tmp_path_factory.getbasetemp().parent
    kept, folder = common / "demo.json", common / "demo"
    with FileLock(f"{kept}.lock"):
        if not kept.exists():
            folder.mkdir()
            done = asdict(coda_voice("demo", folder=folder))
            kept.write_text(json.dumps({**done, "folder": str(folder)}))
    found = json.loads(kept.read_text())
    return Done(**{**found, "folder": folder})
