"""What the documentation shows works: every command of README and docs is run.

A block marked ```` ```sh ```` is run line by line in a fresh folder that looks like a clone. One
marked ``sh gpu``, ``sh microphone``, ``sh network`` or ``sh hours`` needs what a test may not
count on: of its commands only the verb and the options are checked against ``--help``.
"""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from coda_voice.cli.main import command_line
from tests.e2e.conftest import Done, environment

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
NEEDS = {"gpu", "microphone", "network", "hours"}
_BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    marks: frozenset[str]
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(language: str) -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in _BLOCK.finditer(text):
            if match[1] == language:
                line = text.count("\n", 0, match.start()) + 1
                marks = frozenset(match[2].split())
                found.append(Block(page, line, language, marks, match[3]))
    return found


def commands(block: Block) -> list[list[str]]:
    lines = block.text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def help_of(verb: str) -> str:
    """What ``coda-voice VERB --help`` prints."""
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(command_line(verb), [verb, "--help"])
    assert shown.exit_code == 0, shown.output
    return shown.output


SHELL = blocks("sh")
DEMO = "coda-voice demo"
RUN = sorted((block for block in SHELL if not block.marks), key=lambda block: DEMO in block.text)
"""Those with the demo last: another worker may be running it for all."""
SEEN = pytest.StashKey[dict[str, int]]()
"""Commands that were run, with their exit status: shown on two pages, run once."""
ONLY_HELP = [block for block in SHELL if block.marks]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder that looks like a clone, in which commands may leave files."""
    for name in ("tests", "scripts", "configs", "coda_voice"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


@pytest.mark.parametrize("block", RUN, ids=str)
def test_commands_run_as_shown(block: Block, clone: Path, request: pytest.FixtureRequest):
    known = request.config.stash.setdefault(SEEN, {})
    if DEMO in block.text:
        demo: Done = request.getfixturevalue("demo")
        known[DEMO] = demo.returncode
    fresh = [line for line in block.text.splitlines() if line.strip() and line not in known]
    assert not any(known.values())
    script = ["set -e", *fresh]
    places = f"{Path(sys.executable).parent}:{environment()['PATH']}"
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=clone,
        env=environment(PATH=places),
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    known.update(dict.fromkeys(fresh, done.returncode))


@pytest.mark.parametrize("block", ONLY_HELP, ids=str)
def test_what_cannot_be_run_here_exists_at_least(block: Block):
    assert block.marks <= NEEDS, f"{block}: mark it with one of {sorted(NEEDS)}"
    for words in commands(block):
        match words:
            case ["coda-voice", verb, *rest]:
                for option in (word for word in rest if word.startswith("--")):
                    assert re.search(rf"{option}\b", help_of(verb)), f"{block}: {option}"
            case ["make", target]:
                made = subprocess.run(
                    ["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False
                )
                assert made.returncode == 0, made.stderr
            case ["python", script, *_]:
                assert (ROOT / script).is_file(), f"{block}: {script}"
            case _:
                pytest.fail(f"{block}: no way to check {shlex.join(words)}")


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_programs_are_programs(block: Block):
    compile(block.text, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_repository_lead_somewhere(page: Path):
    for target in _LINK.findall(page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        if page.name != "README.md":
            assert str(page.relative_to(ROOT / "docs")) in index


def test_the_reference_names_every_verb_and_option():
    reference = (ROOT / "docs" / "reference" / "cli.md").read_text()
    for verb in ("demo", "run", "talk"):
        assert f"## {verb}" in reference
        options = set(re.findall(r"--[a-z][a-z-]+", help_of(verb))) - {"--help", "--output"}
        missing = {option for option in options if option not in reference}
        assert not missing, f"{verb}: {missing}"


def test_the_readmes_picture_is_small():
    picture = ROOT / "docs" / "images" / "timeline.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size < 200_000
