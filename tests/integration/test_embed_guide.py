"""The programs of docs/how-to/embed.md run as they stand there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

ROOT = Path(__file__).parents[2]
PROGRAMS = [
    block
    for block in re.findall(
        r"```python\n(.*?)```", (ROOT / "docs/how-to/embed.md").read_text(encoding="utf-8"), re.S
    )
    if "asyncio.run" in block
]


@pytest.mark.parametrize("number", range(2), ids=["ask", "stream"])
def test_programs_of_the_guide_run(number: int, tmp_path: Path):
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAMS[number]],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    if number == 0:
        said = done.stdout.partition("the agent says:")[2].strip()
        assert said
        assert soundfile.info(tmp_path / "answer.wav").frames > 24_000 / 4
    assert "conversation_ended" in done.stderr, "the log tells what happened"
