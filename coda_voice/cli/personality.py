"""``coda-voice personality``: who the agent can be, and what a user has made of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from coda_voice.cli.memory import EVERYBODY, Store

if TYPE_CHECKING:
    from coda_memory.personality import Personality

app = typer.Typer(no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A character's name (see list), or a YAML file.")]
User = Annotated[str, typer.Option("--user", help="For whom.")]


@app.command("list")
def list_all() -> None:
    """Show the characters known by name."""
    from coda_memory.personality import list_characters, load_character

    table = Table("name", "role")
    table.add_column("file", overflow="fold")  # a path that is cut off is of no use
    for name, path in list_characters().items():
        table.add_row(name, load_character(path).role, str(path))
    Console().print(table)


@app.command()
def show(
    name: Name = "coda",
    user: User = EVERYBODY,
    store: Store = None,
    prompt: Annotated[
        bool, typer.Option("--prompt", help="Show what Moshi and an LLM are told, instead.")
    ] = False,
) -> None:
    """Show a character as it is for one user."""
    held = _opened(name, user, store)
    if prompt:
        typer.echo("Moshi: " + asyncio.run(held.moshi_prompt()))
        typer.echo("\nLLM:\n" + asyncio.run(held.enhance_prompt("")))
        return
    character = held.character
    typer.echo(f"{character.name}: {character.role}")
    for label, value in (
        ("style", character.style),
        ("greeting", character.greeting),
        ("backstory", character.backstory),
        ("taboos", ", ".join(character.taboos)),
        ("voice prompt", character.voice_prompt),
    ):
        if value:
            typer.echo(f"{label}: {value}")
    table = Table("trait", "now", "own", "between")
    for trait, now in held.traits.items():
        bounds = character.bounds_of(trait)
        table.add_row(
            trait,
            f"{now:.2f}",
            f"{character.default(trait):.2f}",
            f"{bounds.low:.2f} and {bounds.high:.2f}",
        )
    Console().print(table)


@app.command()
def tell(
    said: Annotated[str, typer.Argument(help="What the user says, such as: shorter, please.")],
    name: Annotated[str, typer.Option("--name", help="Which character.")] = "coda",
    user: User = EVERYBODY,
    store: Store = None,
) -> None:
    """Give feedback, as if it had been said."""
    made = _opened(name, user, store).feedback(said)
    for adjustment in made:
        typer.echo(str(adjustment))
    if not made:
        typer.echo("Nothing changed: this asks nothing of the agent's manner, or it is at a bound.")


@app.command()
def explain(name: Name = "coda", user: User = EVERYBODY, store: Store = None) -> None:
    """Tell why the traits are what they are for a user."""
    lines = _opened(name, user, store).explain()
    typer.echo("\n".join(lines) if lines else "Every trait is the character's own.")


@app.command()
def reset(
    name: Name = "coda",
    user: User = EVERYBODY,
    store: Store = None,
    trait: Annotated[str | None, typer.Option("--trait", help="Only this one.")] = None,
) -> None:
    """Take a character back to its own traits, for one user."""
    held = _opened(name, user, store)
    held.reset(trait)
    typer.echo(f"{held.character.name}: {trait or 'all traits'} as written, for {user}.")


def _opened(name: str, user: str, store: str | None) -> Personality:
    from coda_memory.personality import Personality, PersonalityStates, load_character
    from coda_memory.places import default_store

    states = PersonalityStates.beside(store or default_store())
    return Personality(load_character(name), user, states)
