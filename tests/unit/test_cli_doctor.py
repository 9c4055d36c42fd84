"""What ``coda-voice doctor`` says of this machine, and of machines of other sizes."""

from __future__ import annotations

import importlib.metadata
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO

import psutil
import pytest
from rich.console import Console
from typer.testing import CliRunner

from coda_voice.cli.doctor import ask_ollama, examine, show
from coda_voice.cli.main import command_line
from coda_voice.hardware import GB, Gpu, Machine

H200 = Gpu(0, "NVIDIA H200", 141 * GB, 140 * GB, "570.1", (9, 0), 4_800 * GB)
L4 = Gpu(0, "NVIDIA L4", 24 * GB, 23 * GB, "570.1", (8, 9), 300 * GB)
MOSHI = "kyutai/moshika-pytorch-bf16"


def machine(*gpus: Gpu, **changes: object) -> Machine:
    bare = Machine("Linux 6", "x86", 8, 64 * GB, 60 * GB, 500 * GB, gpus, gpu_note="no driver")
    return replace(bare, **changes)


@pytest.fixture(autouse=True)
def no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")


def test_json_of_this_machine_is_measured():
    result = CliRunner().invoke(command_line("doctor"), ["doctor", "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["machine"]["ram_total"] == psutil.virtual_memory().total
    assert report["packages"]["torch"] == importlib.metadata.version("torch")
    tiny = report["checkpoints"][0]
    assert (tiny["name"], tiny["runs"], tiny["here"]) == ("coda-tiny", True, True)
    assert report["ollama"].startswith("not reachable at http://127.0.0.1:9")
    if not report["machine"]["gpus"]:
        assert report["device"] == "cpu"
        assert report["gpu_level"] == 0
        assert not any(c["runs"] for c in report["checkpoints"] if "moshik" in c["name"])


def test_the_table_of_this_machine_shows_what_runs():
    result = CliRunner().invoke(command_line("doctor"), ["doctor"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    for word in ("coda-tiny", MOSHI, "GPU level", "Ollama", "torch", "microphones", "why"):
        assert word in result.stdout


@pytest.mark.parametrize("width", [80, 120])
def test_every_checkpoint_can_be_told_from_the_others_on_a_terminal(width: int):
    out = StringIO()
    report = examine(machine())
    show(report, Console(file=out, width=width))
    shown = out.getvalue().split()
    assert [c.name for c in report.checkpoints if c.name not in shown] == []
    assert "…" not in out.getvalue()
    heads = next(line.split() for line in out.getvalue().splitlines() if " why " in f"{line} ")
    assert heads == ["checkpoint", "on", "disk", "why"], (
        "none of them has a number of conversations"
    )


def test_a_big_gpu_carries_many_conversations_and_the_largest_llm():
    report = examine(machine(H200))
    moshi = next(c for c in report.checkpoints if c.name == MOSHI)
    assert (moshi.runs, moshi.conversations) == (True, 71)
    assert moshi.floor_ms == pytest.approx(26.5, abs=0.5)
    assert (report.device, report.dtype) == ("cuda:0", "bf16")
    assert (report.gpu_level, report.llm.label) == (6, "hybrid")
    assert report.llm_beside_moshi.label == "72B Q6"
    gated = next(c for c in report.checkpoints if "personaplex" in c.name)
    assert gated.gated


def test_a_small_gpu_is_bound_by_the_speed_of_its_memory():
    slow = replace(L4, total=48 * GB)
    moshi = next(c for c in examine(machine(slow)).checkpoints if c.name == MOSHI)
    assert moshi.conversations == 5
    assert "17 would fit, but not be read in 80 ms" in moshi.reason
    assert moshi.floor_ms <= 80


def test_a_gpu_in_use_by_others_is_said_to_be():
    busy = replace(L4, free=2 * GB)
    moshi = next(c for c in examine(machine(busy)).checkpoints if c.name == MOSHI)
    assert "only 2.0 GB are free now" in moshi.reason


def test_apple_silicon_runs_what_is_made_for_it():
    by_name = {c.name: c for c in examine(machine(apple_silicon=True)).checkpoints}
    assert by_name["kyutai/moshika-mlx-q4"].runs
    assert "pip install 'coda-voice[mlx]'" in by_name["kyutai/moshika-mlx-q4"].reason
    ready = examine(machine(apple_silicon=True, mlx=True)).checkpoints
    assert next(c for c in ready if c.name.endswith("mlx-q4")).reason.startswith(
        "one conversation, on MLX"
    )
    assert not by_name[MOSHI].runs
    small = examine(machine(apple_silicon=True, ram_total=8 * GB))
    assert not next(c for c in small.checkpoints if c.name.endswith("mlx-q8")).runs


def test_a_full_disk_is_said_to_be():
    moshi = next(c for c in examine(machine(H200, disk_free=GB)).checkpoints if c.name == MOSHI)
    assert "the disk has only 1 GB free for the download" in moshi.reason


def test_the_drawing_names_the_gpu():
    out = StringIO()
    show(examine(machine(H200)), Console(file=out, width=200))
    assert "NVIDIA H200, 141 GB, 140 GB free, 4800 GB/s, driver 570.1" in out.getvalue()
    assert "71 (≥ 27 ms)" in out.getvalue()


class Ollama(BaseHTTPRequestHandler):
    answers = json.dumps({"models": [{"name": "qwen3:8b"}]}).encode()

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/api/tags" else 404)
        self.send_header("Content-Length", str(len(self.answers)))
        self.end_headers()
        self.wfile.write(self.answers)


@pytest.fixture
def ollama() -> Iterator[tuple[str, type[Ollama]]]:
    handler = type("Bound", (Ollama,), {})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"127.0.0.1:{server.server_port}", handler
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_ollama_that_answers(ollama):
    host, handler = ollama
    assert ask_ollama(host) == (f"reachable at http://{host}", ["qwen3:8b"])
    handler.answers = b"<html>not ollama</html>"
    words, models = ask_ollama(host)
    assert words.startswith("not reachable")
    assert models == []
