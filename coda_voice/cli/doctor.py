"""``coda-voice doctor``: what this machine can run, and why.

``examine()`` gathers the facts into a ``Report`` (also what ``--json`` prints); the rest
draws it as tables. Nothing is guessed: what cannot be seen is said to be unseen.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Annotated
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.table import Table

from coda_voice.hardware import (
    GB,
    Gpu,
    LlmSuggestion,
    Machine,
    choose_device,
    choose_dtype,
    conversations_in_time,
    conversations_that_fit,
    detect_gpu_level,
    step_floor_seconds,
    suggest_llm,
)
from coda_voice.moshi.capabilities import TINY, Capabilities, known_checkpoints
from coda_voice.moshi.download import find_local

PACKAGES = (
    "coda-voice", "moshi", "torch", "numpy", "huggingface-hub", "sentencepiece",
    "onnxruntime", "soxr", "soundfile", "sounddevice", "bitsandbytes", "mlx",
)  # fmt: skip
OPTIONAL = {"bitsandbytes": "int8 on a GPU", "mlx": "Apple silicon"}
FRAME_SECONDS = 0.08
OLLAMA_PORT = 11434
OLLAMA_TIMEOUT = 1.0


@dataclass(frozen=True, slots=True)
class CheckpointReport:
    """Whether a checkpoint runs here, with how many conversations, and why."""

    name: str
    runs: bool
    conversations: int | None
    """With full context, by memory and its speed; None where neither limits them."""
    floor_ms: float | None
    """No step can be faster than this with that many, by the memory's bandwidth."""
    here: bool
    """Whether it is already on the disk."""
    download_gb: float
    gated: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """What ``coda-voice doctor`` found."""

    machine: Machine
    device: str
    dtype: str
    gpu_level: int
    llm: LlmSuggestion
    llm_beside_moshi: LlmSuggestion
    """What still fits once Moshi 7B with one conversation is loaded."""
    checkpoints: list[CheckpointReport]
    packages: dict[str, str | None]
    torch_note: str
    audio_inputs: list[str]
    audio_outputs: list[str]
    audio_note: str
    ollama: str
    ollama_models: list[str]


def examine(machine: Machine | None = None) -> Report:
    """Look at ``machine`` (this one, unless another is given) and at what is installed."""
    machine = machine or Machine.look()
    device = choose_device("auto", machine)
    inputs, outputs, audio_note = audio_devices()
    ollama, models = ask_ollama(os.environ.get("OLLAMA_HOST", "127.0.0.1"))
    moshi = known_checkpoints()["kyutai/moshika-pytorch-bf16"]
    taken = int((moshi.weights_gb + moshi.kv_gb) * GB)
    versions = {name: _version(name) for name in PACKAGES}
    return Report(
        machine=machine,
        device=device,
        dtype=choose_dtype("auto", device, machine),
        gpu_level=(level := detect_gpu_level(machine)),
        llm=suggest_llm(level),
        # Level 6 is "with Moshi beside it" already: with Moshi's share set aside it is level 5.
        llm_beside_moshi=suggest_llm(min(5, detect_gpu_level(machine, reserved=taken))),
        checkpoints=[judge(record, machine) for record in known_checkpoints().values()],
        packages=versions,
        torch_note=_torch_note(versions["torch"], machine),
        audio_inputs=inputs,
        audio_outputs=outputs,
        audio_note=audio_note,
        ollama=ollama,
        ollama_models=models,
    )


def judge(record: Capabilities, machine: Machine) -> CheckpointReport:
    """Say whether ``record`` runs on ``machine``, with how many conversations, and why."""
    gpu: Gpu | None = max(machine.gpus, key=lambda g: g.total, default=None)
    runs, conversations, floor = False, None, None
    if record.backend == "mlx":
        runs = machine.apple_silicon and machine.ram_total >= record.min_vram_gb * GB
        conversations = 1 if runs else 0
        reason = "one conversation, on MLX" if runs else "needs Apple silicon"
        if runs and not machine.mlx:
            reason += " once it is installed: pip install 'coda-voice[mlx]'"
        if machine.apple_silicon and not runs:
            reason = f"needs {record.min_vram_gb:.0f} GB of memory"
    elif record.min_vram_gb == 0:
        runs = True
        reason = "small enough for a CPU; speed, not memory, bounds the conversations"
    elif gpu is None:
        conversations = 0
        reason = f"needs a GPU with about {record.min_vram_gb:.0f} GB"
    else:
        by_memory = conversations_that_fit(record, gpu.total)
        by_speed = conversations_in_time(record, gpu, FRAME_SECONDS)
        conversations = by_memory if by_speed is None else min(by_memory, by_speed)
        runs = conversations > 0
        size = f"{record.weights_gb:.1f} GB of weights and {record.kv_gb:.2f} GB a conversation"
        reason = f"{size} in {gpu.total / GB:.0f} GB of {gpu.name}"
        seconds = step_floor_seconds(record, conversations, gpu)
        floor = None if seconds is None else seconds * 1000
        if conversations < by_memory:
            reason += f"; {by_memory} would fit, but not be read in 80 ms"
        if runs and conversations_that_fit(record, gpu.free) == 0:
            reason += f"; only {gpu.free / GB:.1f} GB are free now"
    here = find_local(record.name) is not None
    if runs and not here and record.download_gb * GB > machine.disk_free:
        reason += f"; the disk has only {machine.disk_free / GB:.0f} GB free for the download"
    if not record.converses:
        does = "reads aloud" if record.synthesizes else "transcribes"
        reason += f"; it {does} and does not talk"
    return CheckpointReport(
        name=record.name,
        runs=runs,
        conversations=conversations,
        floor_ms=floor,
        here=here,
        download_gb=0.0 if record.name == TINY else record.download_gb,
        gated=record.gated,
        reason=reason,
    )


def audio_devices() -> tuple[list[str], list[str], str]:
    """List microphones and speakers; with a word on why there are none, if there are none."""
    try:
        import sounddevice
    except OSError as error:  # PortAudio is not installed
        return [], [], f"no audio devices can be listed ({error})"
    try:
        devices = list(sounddevice.query_devices())
    except sounddevice.PortAudioError as error:
        return [], [], f"no audio devices can be listed ({error})"
    inputs = [str(d["name"]) for d in devices if d["max_input_channels"] > 0]
    outputs = [str(d["name"]) for d in devices if d["max_output_channels"] > 0]
    return inputs, outputs, "" if inputs or outputs else "no audio devices on this machine"


def ask_ollama(host: str) -> tuple[str, list[str]]:
    """Ask an Ollama server for its models; in words what came of it, and their names."""
    url = host if "://" in host else f"http://{host}"
    if urlsplit(url).port is None and url.startswith("http://"):
        url = f"{url.rstrip('/')}:{OLLAMA_PORT}"
    try:
        with urllib.request.urlopen(f"{url}/api/tags", timeout=OLLAMA_TIMEOUT) as answer:
            models = [str(m["name"]) for m in json.load(answer)["models"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = getattr(error, "reason", None) or error
        return f"not reachable at {url} ({reason})", []
    return f"reachable at {url}", models


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _torch_note(version: str | None, machine: Machine) -> str:
    if version is None:
        return "torch is missing: nothing can run; install coda-voice with its dependencies"
    if machine.gpus and version.endswith("+cpu"):
        return "this torch is a CPU build: the GPU cannot be used until it is replaced"
    return ""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the facts as JSON.")] = False,
) -> None:
    """Show what this machine can run, and why."""
    report = examine()
    if as_json:
        typer.echo(json.dumps(asdict(report), indent=2))
        return
    show(report, Console())


def show(report: Report, console: Console) -> None:
    """Draw the report."""
    sections: tuple[tuple[str, Callable[[Report], Table]], ...] = (
        ("machine", _machine_table),
        ("checkpoints", _checkpoint_table),
        ("an LLM beside it", _llm_table),
        ("installed", _package_table),
    )
    for title, draw in sections:
        console.print(f"[bold]{title}[/]")
        console.print(draw(report))
        console.print()


def _facts(rows: list[tuple[str, str]]) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    return table


def _machine_table(report: Report) -> Table:
    machine = report.machine
    rows = [
        ("system", machine.system),
        ("processor", f"{machine.processor}, {machine.cores} cores for this process"),
        ("memory", f"{machine.ram_total / GB:.0f} GB, {machine.ram_free / GB:.0f} GB free"),
        ("disk", f"{machine.disk_free / GB:.0f} GB free for checkpoints"),
    ]
    for gpu in machine.gpus:
        speed = "" if gpu.bandwidth is None else f", {gpu.bandwidth / GB:.0f} GB/s"
        rows.append(
            (
                f"cuda:{gpu.index}",
                f"{gpu.name}, {gpu.total / GB:.0f} GB, {gpu.free / GB:.0f} GB free{speed}, "
                f"driver {gpu.driver}",
            )
        )
    if not machine.gpus:
        rows.append(("GPU", machine.gpu_note or "none"))
    rows.append(("device: auto", f"{report.device}, numbers in {report.dtype}"))
    if report.torch_note:
        rows.append(("torch", report.torch_note))
    rows.append(("microphones", ", ".join(report.audio_inputs) or report.audio_note or "none"))
    rows.append(("speakers", ", ".join(report.audio_outputs) or report.audio_note or "none"))
    return _facts(rows)


def _checkpoint_table(report: Report) -> Table:
    table = Table("", box=None, padding=(0, 1))
    # A name is for copying: the other columns give way, and one of nothing but "–" has no room.
    table.add_column("checkpoint", no_wrap=True)
    counted = any(found.conversations for found in report.checkpoints)
    if counted:
        table.add_column("conversations")
    table.add_column("on disk")
    table.add_column("why")
    for found in report.checkpoints:
        mark = "[green]yes[/]" if found.runs else "[dim]no[/]"
        count = "–" if found.conversations in (None, 0) else str(found.conversations)
        if found.floor_ms is not None:
            count += f" (≥ {found.floor_ms:.0f} ms)"
        size = "here" if found.here else f"{found.download_gb:.1f} GB to fetch"
        if found.gated and not found.here:
            size += ", licence"
        table.add_row(mark, found.name, *([count] if counted else []), size, found.reason)
    return table


def _llm_table(report: Report) -> Table:
    def words(suggestion: LlmSuggestion) -> str:
        if suggestion.model is None:
            return f"{suggestion.label}: an OpenAI-compatible service elsewhere"
        return f"{suggestion.model} (needs {suggestion.vram_gb:.0f} GB)"

    models = ", ".join(report.ollama_models) or "no models"
    reachable = report.ollama.startswith("reachable")
    return _facts(
        [
            ("GPU level", f"{report.gpu_level} of 6: {report.llm.label}"),
            ("LLM alone", words(report.llm)),
            ("beside Moshi 7B", words(report.llm_beside_moshi)),
            ("Ollama", report.ollama + (f": {models}" if reachable else "")),
        ]
    )


def _package_table(report: Report) -> Table:
    rows = []
    for name, version in report.packages.items():
        missing = f"not installed (for {OPTIONAL[name]})" if name in OPTIONAL else "missing"
        rows.append((name, version or missing))
    return _facts(rows)
