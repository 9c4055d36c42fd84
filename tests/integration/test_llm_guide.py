"""The programs of docs/how-to/tools.md and the example script run as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/how-to/tools.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


def run(*arguments):
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("number", "prints"),
    [
        (0, ["'name': 'find_book'", '"shelf": "B12"', "title: Field required"]),
        (1, ["'home': \"The MCP server 'home'", "\n7\n"]),
        (2, ["seven\n"]),
    ],
    ids=["function", "mcp", "reasoner"],
)
def test_programs_of_the_guide_run(number, prints):
    output = run("-c", PROGRAMS[number])
    assert all(text in output for text in prints), output


def test_the_example_answers_with_tools_and_says_who_answered():
    output = run(
        "scripts/voice_tools_example.py",
        "hello there",
        "what is three plus four",
        "set a timer for ten minutes",
        "who was napoleon",
    )
    assert "[moshi: social; rule: greeting]" in output
    assert "seven (offline)" in output and "[calculate: done" in output
    assert "A timer for ten minutes is running. (offline)" in output
    assert "only answer that with a language model" in output
