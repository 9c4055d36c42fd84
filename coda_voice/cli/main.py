"""The ``coda-voice`` command: its verbs, and errors as one clear line.

Only the verb that was asked for is imported; the others are known by name and summary,
so that ``--help`` answers at once. A verb whose module is not there is not offered.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from coda_voice.errors import VoiceProcessingError

EXIT_ERROR = 2


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb of the command: where its function (or group of verbs) is, and what it does."""

    module: str
    attribute: str
    summary: str


VERBS = {
    "demo": Verb(
        "coda_voice.cli.demo", "demo", "Hold a scripted spoken conversation; leaves a WAV."
    ),
    "talk": Verb("coda_voice.cli.talk", "talk", "Talk with it: microphone and speakers."),
    "serve": Verb("coda_voice.cli.serve", "serve", "Serve conversations by WebSocket, and a page."),
    "run": Verb("coda_voice.cli.run", "run", "Answer a recording: IN.wav to OUT.wav."),
    "tui": Verb("coda_voice.cli.tui", "tui", "Talk with a server in the terminal."),
    "doctor": Verb("coda_voice.cli.doctor", "doctor", "Show what this machine can run, and why."),
    "download": Verb("coda_voice.cli.download", "download", "Fetch a checkpoint by name."),
    "probe": Verb(
        "coda_voice.cli.probe", "probe", "Measure a voice server: latency, barge-in, room."
    ),
    "memory": Verb("coda_voice.cli.memory", "app", "Show, add to, and forget what it remembers."),
    "personality": Verb(
        "coda_voice.cli.personality", "app", "Show who it can be, and how it adapted to a user."
    ),
    "config": Verb("coda_voice.cli.config", "app", "Show or check a configuration."),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command. Exits with 0, with 2 for anything that was asked wrongly or failed."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    verb = next((word for word in words if not word.startswith("-")), None)
    try:
        command_line(verb)(words, prog_name="coda-voice")
    except VoiceProcessingError as error:
        if debug:
            raise
        _print_error(error)
        sys.exit(EXIT_ERROR)


def command_line(verb: str | None) -> typer.Typer:
    """Put the command line together, with ``verb`` in full and the others in name only."""
    app = typer.Typer(
        name="coda-voice",
        help="A full-duplex voice: Moshi speaks and listens, an LLM thinks.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    for name, known in VERBS.items():
        if importlib.util.find_spec(known.module) is None:
            continue
        if name != verb:
            app.command(name, help=known.summary)(_stand_in)
            continue
        found = getattr(importlib.import_module(known.module), known.attribute)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name, help=known.summary)
        else:
            app.command(name)(found)
    return app


def _stand_in() -> None:
    """Stand where a verb is listed, but was not asked for."""


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"coda-voice {importlib.metadata.version('coda-voice')}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the whole traceback of an error.")
    ] = False,
) -> None:
    pass


def _print_error(error: VoiceProcessingError) -> None:
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True).print(Text(f"coda-voice: {error.message}", style="red"), soft_wrap=True)


if __name__ == "__main__":
    main()
