"""The wheel, installed into an empty environment, works outside the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path

import pytest
import soundfile

ROOT = Path(__file__).parent.parent.parent
QUESTION = ROOT / "tests" / "data" / "what_is_your_name.flac"


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    # Nothing of the checkout may leak in by way of the environment.
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def link_bytecode(programs: Path) -> None:
    """Link what is compiled here already into a new environment: all of torch takes its time.

    Python compiles again what is of other files, so this changes nothing but how long it takes.
    """
    here = Path(sysconfig.get_path("purelib"))
    there = programs.parent / here.relative_to(sys.prefix)
    for compiled in here.rglob("*.pyc"):
        target = there / compiled.relative_to(here)
        if target.parent.parent.is_dir():
            target.parent.mkdir(exist_ok=True)
            with suppress(OSError):  # on another disk; or it is there
                target.hardlink_to(compiled)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of a new environment with our wheel in it."""
    scratch = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", scratch, cwd=ROOT)
    (wheel,) = scratch.glob("*.whl")
    uv = Path(sys.executable).parent / "uv"
    run(uv, "venv", "--python", sys.executable, scratch / "env", cwd=scratch)
    programs = scratch / "env" / "bin"
    run(
        *(uv, "pip", "install", "--python", programs / "python"),
        *("--constraint", ROOT / "constraints.txt", wheel),
        cwd=scratch,
    )
    link_bytecode(programs)
    return programs


@pytest.mark.timeout(600)
def test_a_file_is_answered_by_what_the_wheel_ships(installed: Path, tmp_path: Path) -> None:
    assert run(installed / "coda-voice", "--version", cwd=tmp_path).stdout.strip()
    run(installed / "coda-voice", "run", QUESTION, "-o", "answer.wav", cwd=tmp_path)
    asked, answer = soundfile.info(QUESTION), soundfile.info(tmp_path / "answer.wav")
    assert abs(asked.duration - answer.duration) < 1 / 8000
    names = run(
        installed / "python",
        "-c",
        "import json, coda_voice, coda_memory, coda_tools, coda_integrations;"
        "print(json.dumps(coda_voice.__file__))",
        cwd=tmp_path,
    ).stdout
    assert str(ROOT) not in json.loads(names)


def test_every_house_is_in_the_wheel_with_its_types(installed: Path) -> None:
    (site,) = (installed.parent / "lib").glob("python3*/site-packages")
    for house in ("coda_voice", "coda_memory", "coda_tools", "coda_integrations"):
        assert (site / house / "py.typed").is_file()
    assert (site / "coda_voice" / "tiny" / "moshi.safetensors").is_file()
