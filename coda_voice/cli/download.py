"""``coda-voice download NAME``: a checkpoint from the hub, with progress."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from coda_voice.moshi.capabilities import TINY, known_checkpoints
from coda_voice.moshi.download import download as fetch


def download(
    name: Annotated[
        str | None, typer.Argument(help="A known checkpoint; without one, they are listed.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="A folder of your own instead of the hub's cache.")
    ] = None,
) -> None:
    """Fetch a checkpoint by name; called again, it goes on where it stopped."""
    console = Console()
    if name is None:
        for record in known_checkpoints().values():
            size = "in the package" if record.name == TINY else f"{record.download_gb:.1f} GB"
            gate = ", licence to be accepted" if record.gated else ""
            console.print(
                f"[bold]{record.name}[/]  {record.summary} ({size}{gate})",
                soft_wrap=True,
                highlight=False,
            )
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True)) as bars:

        def advance(file: str, there: int, total: int) -> None:
            if file not in tasks:
                tasks[file] = bars.add_task(file, total=total)
            bars.update(tasks[file], completed=there)

        folder = fetch(name, to=to, progress=advance)
    console.print(f"{name} is in {folder}", soft_wrap=True, highlight=False)
    setting = name if to is None else str(folder)
    record = known_checkpoints()[name]
    use = "moshi: {checkpoint: " if record.converses else "moshi: {transcriber: "
    use = "speaking: {voice: " if record.synthesizes else use
    console.print(f"use it with: {use}{setting}}}", soft_wrap=True, highlight=False)
