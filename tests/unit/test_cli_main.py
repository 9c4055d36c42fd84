"""The ``coda-voice`` command: quick help, plain errors, the ``config`` verbs."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from coda_voice.cli.main import VERBS, command_line, main
from coda_voice.config import VoiceConfig

CONFIGS = Path(__file__).parents[2] / "configs"


def command(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "coda_voice.cli.main", *words],
        env={"COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_is_quick_because_it_imports_none_of_the_verbs():
    program = (
        "import sys\n"
        "from coda_voice.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    code = end.code\n"
        "heavy = {'torch', 'moshi', 'numpy', 'huggingface_hub', 'pydantic', 'scipy'}\n"
        "print('IMPORTED', sorted(heavy & set(sys.modules)), code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "IMPORTED [] 0" in done.stdout
    for verb in ("doctor", "download", "config"):
        assert verb in done.stdout


@pytest.mark.parametrize("verb", [v for v, known in VERBS.items() if find_spec(known.module)])
def test_every_verb_explains_itself(verb: str):
    result = CliRunner().invoke(command_line(verb), [verb, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage: " in result.output
    assert "Stand where" not in result.output, "the listed stand-in answered instead of the verb"


def test_version(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out.strip() == f"coda-voice {version('coda-voice')}"


def test_an_unknown_verb_is_refused(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        main(["docter"])
    assert end.value.code == 2
    assert "docter" in capsys.readouterr().err


def test_an_error_is_one_clear_line_and_exit_2(tmp_path: Path):
    file = tmp_path / "my.yaml"
    file.write_text("moshi:\n  devcie: cuda\n")
    done = command("config", "check", str(file))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        f"coda-voice: {file}:2: unknown setting 'moshi.devcie'; did you mean 'moshi.device'?\n"
    )


def test_debug_shows_the_traceback(tmp_path: Path):
    done = command("config", "check", str(tmp_path / "missing.yaml"), "--debug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ConfigurationError" in done.stderr


@pytest.mark.parametrize("name", ["moshi_only", "hybrid", "adaptive"])
def test_the_shipped_configurations_check(name: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        main(["config", "check", str(CONFIGS / f"{name}.yaml")])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert f"fine (mode {name})" in out
    assert "no effect in this build" not in out


def test_show_prints_what_can_be_read_back(tmp_path: Path):
    file = tmp_path / "my.yaml"
    file.write_text("voice: {moshi: {model_path: my/folder, vram_allocation: 8GB}}\n")
    done = command("config", "show", str(file), CODA_VOICE__MOSHI__SEED="7")
    assert done.returncode == 0, done.stderr
    shown = yaml.safe_load(done.stdout)
    assert shown["moshi"]["checkpoint"] == "my/folder"
    assert shown["moshi"]["vram_allocation"] == "8GB"
    assert shown["moshi"]["seed"] == 7
    assert VoiceConfig.from_dict(shown).moshi.seed == 7


def test_show_says_where_each_setting_was_made(tmp_path: Path):
    file = tmp_path / "my.yaml"
    file.write_text("mode: moshi_only\ntotal_vram: 32GB\n")
    done = command("config", "show", "--origins", str(file), CODA_VOICE__MOSHI__SEED="7")
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert f"{file}:2" in rows["total_vram"].replace("…", "")
    assert "32GB" in rows["total_vram"]
    assert "CODA_VOICE__MOSHI__SEED" in rows["moshi.seed"]
    assert rows["moshi.device"].split() == ["moshi.device", "auto", "default"]
