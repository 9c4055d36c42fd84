"""``coda-voice config``: what the settings come to, and whether they are right."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table

from coda_voice.config import VoiceConfig, WithoutEffect, format_size, leaves

app = typer.Typer(no_args_is_help=True)

Files = Annotated[
    list[Path] | None,
    typer.Argument(help="YAML files; later ones win, and the environment wins over all."),
]


@app.command()
def show(
    files: Files = None,
    origins: Annotated[
        bool, typer.Option("--origins", help="Say of each setting where it was made.")
    ] = False,
) -> None:
    """Show every setting as it comes out of files, environment and defaults."""
    config = VoiceConfig.load(*files or ())
    console = Console()
    if origins:
        console.print(_origins(config))
    elif console.is_terminal:
        console.print(Syntax(config.to_yaml(), "yaml", background_color="default"))
    else:
        typer.echo(config.to_yaml(), nl=False)


@app.command()
def check(files: Files = None) -> None:
    """Check a configuration; also says which of its settings have no effect, and why."""
    config = VoiceConfig.load(*files or ())
    named = ", ".join(str(file) for file in files or ()) or "environment and defaults"
    Console().print(f"{named}: fine (mode {config.mode})", soft_wrap=True, highlight=False)
    idle = config.settings_without_effect()
    if idle:
        Console().print(_without_effect(idle))


def _origins(config: VoiceConfig) -> Table:
    table = Table("setting", "value", "from", box=None)
    for key in leaves(VoiceConfig):
        value: object = config
        for part in key.split("."):
            value = getattr(value, part)
        if isinstance(value, int) and key.rsplit(".", 1)[-1] in _SIZES:
            value = format_size(value)
        origin = config.origin_of(key)
        style = "dim" if origin == "default" else None
        table.add_row(key, "" if value is None else str(value), origin, style=style)
    return table


_SIZES = ("vram_allocation", "total_vram", "reserved_system")


def _without_effect(idle: list[WithoutEffect]) -> Table:
    table = Table("no effect in this build", "because", box=None)
    for setting, reason in idle:
        table.add_row(setting, reason, style="yellow")
    return table
