"""What the verbs that open an engine have in common: their options, and how they end."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from coda_voice.errors import VoiceProcessingError

if TYPE_CHECKING:
    from coda_voice.config import VoiceConfig

AS_THE_MODEL_HEARS: dict[str, object] = {
    "audio__sample_rate": 24_000,
    "audio__channels": 1,
    "audio__bit_depth": 16,
}
"""Settings for audio that goes in and comes out as the model's own frames."""
SEED = 1
"""For verbs whose result should be the same each time; ``--seed`` and settings change it."""
INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells expect it."""

Config = Annotated[Path | None, typer.Option("--config", help="A YAML file of settings.")]
Checkpoint = Annotated[
    str | None, typer.Option("--checkpoint", help="A known checkpoint or a folder.")
]
Device = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mlx.")]
PromptText = Annotated[
    str | None, typer.Option("--prompt", help="What the agent is told before it listens.")
]
Seed = Annotated[
    int | None, typer.Option("--seed", min=0, help="The same seed gives the same conversation.")
]


def load_config(
    path: Path | None,
    given: Mapping[str, object],
    defaults: Mapping[str, object] | None = None,
) -> VoiceConfig:
    """Read the settings: the file, the environment, then what was ``given`` (not None).

    Keys are settings such as ``moshi__seed``. ``defaults`` fill in what nobody has set;
    always among them: one slot, and a log that speaks up only when something is wrong.
    Raises ConfigurationError.
    """
    from coda_voice.config import VoiceConfig

    paths = [] if path is None else [path]
    wanted = {key: value for key, value in given.items() if value is not None}
    config = VoiceConfig.load(*paths, env=os.environ, **wanted)
    usual = {"moshi__slots": 1, "logging__level": "warning", **(defaults or {})}
    unset = {k: v for k, v in usual.items() if config.origin_of(k.replace("__", ".")) == "default"}
    return VoiceConfig.load(*paths, env=os.environ, **wanted, **unset)


def thinking(llm: str | None, endpoint: str | None) -> dict[str, object]:
    """Give the settings for ``--llm`` (``ollama/qwen3:8b``, ``offline``) and ``--endpoint``."""
    provider, _, model = (llm or "").partition("/")
    return {
        "external_llm__provider": provider or None,
        "external_llm__model": model or None,
        "external_llm__endpoint": endpoint,
    }


@contextmanager
def ending_in_peace(console: Console, word: str = "Stopped.") -> Iterator[None]:
    """End with ``word`` and exit status 130 on Ctrl-C, whenever it comes."""
    try:
        yield
    except KeyboardInterrupt:
        console.print(word)
        raise typer.Exit(INTERRUPTED) from None


def writable_folder(folder: Path) -> Path:
    """Make the folder if need be; better to fail before the work than after it.

    Raises VoiceProcessingError where nothing can be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VoiceProcessingError(
            f"{folder} cannot be made: {error.strerror}. Name another folder.", "cannot_write"
        ) from error
    if not os.access(folder, os.W_OK):
        raise VoiceProcessingError(
            f"{folder} cannot be written to. Name another folder.", "cannot_write"
        )
    return folder


def write_text(path: Path, text: str) -> None:
    """Write a text file. Raises VoiceProcessingError."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise VoiceProcessingError(
            f"{path} cannot be written: {error.strerror}.", "cannot_write"
        ) from error
