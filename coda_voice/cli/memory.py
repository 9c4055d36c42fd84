"""``coda-voice memory``: look into what the voice remembers, add to it, make it forget."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from coda_voice.errors import ValidationError

if TYPE_CHECKING:
    from coda_memory.record import Memory
    from coda_memory.store import MemoryStore

app = typer.Typer(no_args_is_help=True)

Store = Annotated[
    str | None,
    typer.Option("--store", envvar="CODA_MEMORY", help="Folder or URI of the memories."),
]
User = Annotated[str, typer.Option("--user", help="Whose memories.")]
Model = Annotated[
    str | None, typer.Option("--model", help="Embedding model; by default the store's own.")
]
EVERYBODY = "me"
"""The user when none is named: one person at one machine."""


@app.command()
def add(
    text: Annotated[str, typer.Argument(help="What the user said.")],
    store: Store = None,
    user: User = EVERYBODY,
    model: Model = None,
    conversation: Annotated[str, typer.Option(help="The conversation it was said in.")] = "",
) -> None:
    """Remember a turn of the user, and the facts in it."""
    with opened(store, model) as memories:
        for memory in memories.user(user).remember(text, conversation_id=conversation):
            typer.echo(f"{memory.id}  {memory.kind:<10}  {memory.text}")


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="What to look for.")],
    store: Store = None,
    user: User = EVERYBODY,
    model: Model = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=1000)] = 15,
    think: Annotated[
        bool, typer.Option("--think", help="Show what the thinking filter would choose.")
    ] = False,
) -> None:
    """Find memories by meaning and by words."""
    from coda_memory.thinking_filter import ThinkingFilter

    with opened(store, model, there=True) as memories:
        hits = memories.user(user).search(query, limit)
        table = Table("score", "relevance", "when", "memory", box=None)
        if not think:
            for hit in hits:
                style = None if hit.memory.valid else "dim"
                table.add_row(
                    f"{hit.score:.3f}", f"{hit.relevance:.2f}", _when(hit.memory),
                    Text(hit.memory.text), style=style,
                )  # fmt: skip
        else:
            table.add_column("verdict")
            for verdict in ThinkingFilter().judge(query, hits):
                table.add_row(
                    f"{verdict.score:.3f}", f"{verdict.relevance:.2f}", _when(verdict.hit.memory),
                    Text(verdict.hit.memory.text), verdict.reason or "kept",
                    style=None if verdict.kept else "dim",
                )  # fmt: skip
        Console().print(table if hits else "Nothing found.")


@app.command("list")
def list_memories(
    store: Store = None,
    user: User = EVERYBODY,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="The newest.")] = 50,
    current: Annotated[
        bool, typer.Option("--current", help="Leave out what newer facts superseded.")
    ] = False,
) -> None:
    """List memories, oldest first."""
    with opened(store, None, there=True) as memories:
        found = memories.user(user).list(limit, history=not current)
        table = Table("id", "when", "kind", "memory", box=None)
        for memory in found:
            style = None if memory.valid else "dim"
            table.add_row(memory.id, _when(memory), memory.kind, Text(memory.text), style=style)
        Console().print(table if found else Text(f"Nothing is known of {user}."))


@app.command()
def forget(
    ids: Annotated[list[str] | None, typer.Argument(help="Ids, as list shows them.")] = None,
    store: Store = None,
    user: User = EVERYBODY,
    matching: Annotated[
        str | None, typer.Option("--matching", help="Everything that holds these words.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="This user altogether.")] = False,
) -> None:
    """Forget for good: afterwards the text is in no file of the store."""
    if (bool(ids) + (matching is not None) + everything) != 1:
        raise ValidationError("say what to forget: ids, or --matching TEXT, or --all.")
    with opened(store, None, there=True) as memories:
        whose = memories.user(user)
        if everything:
            gone = whose.forget_everything()
        elif matching is not None:
            gone = whose.forget_matching(matching)
        else:
            gone = whose.forget(*(ids or ()))
        unknown = len(set(ids)) - gone if ids else 0
        rest = f" {unknown} of the ids are of no memory of {user}." if unknown else ""
        typer.echo(f"{gone} forgotten.{rest}")


@app.command("export")
def export_memories(
    file: Annotated[Path | None, typer.Argument(help="A .jsonl file; by default stdout.")] = None,
    store: Store = None,
    user: Annotated[str | None, typer.Option("--user", help="Only this user's.")] = None,
) -> None:
    """Write memories as JSON Lines."""
    from coda_memory.transfer import export_lines

    from coda_voice.cli.options import write_text

    with opened(store, None, there=True) as memories:
        lines = list(export_lines(memories, user))
    if file is None:
        for line in lines:
            typer.echo(line)
        return
    write_text(file, "".join(f"{line}\n" for line in lines))
    typer.echo(f"{len(lines)} memories in {file}")


@app.command("import")
def import_memories(
    file: Annotated[Path, typer.Argument(help="A .jsonl file; - is stdin.")],
    store: Store = None,
    user: Annotated[str | None, typer.Option("--user", help="Whose they become.")] = None,
    model: Model = None,
) -> None:
    """Read memories from JSON Lines; what is there already is left as it is."""
    from coda_memory.transfer import import_lines

    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValidationError(f"{file} cannot be read as text: {error}.") from error
    lines = text.split("\n")  # splitlines() would also cut within a text, at U+2028 or U+0085
    with opened(store, model) as memories:
        typer.echo(f"{import_lines(memories, lines, user)} imported.")


@app.command()
def stats(store: Store = None) -> None:
    """Show whose memories there are, how many, and how much room they take."""
    with opened(store, None, there=True) as memories:
        table = Table("user", "memories", box=None)
        for user in sorted(memories.users()):
            table.add_row(Text(user), str(memories.user(user).count()))
        console = Console()
        console.print(table)
        size = memories.size_on_disk()
        room = "" if size is None else f", {size / 1e6:.1f} MB"
        where = Text(f"{memories.tables.uri}: {memories.embedder.name}{room}")
        console.print(where, soft_wrap=True)


@app.command()
def reembed(
    model: Annotated[str, typer.Option("--model", help="The new embedding model.")],
    store: Store = None,
) -> None:
    """Change the embedding model: every memory is embedded anew."""
    from coda_memory.reembed import reembed as change
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("embedding", total=None)
        done = change(
            _where(store), model, lambda done, total: bar.update(task, completed=done, total=total)
        )
    typer.echo(f"{done} memories embedded with {model}.")


@contextmanager
def opened(store: str | None, model: str | None, *, there: bool = False) -> Iterator[MemoryStore]:
    """Open the store with the model it was made with, unless another is asked for.

    ``there``: one that is named must exist. Raises ValidationError.
    """
    from coda_memory.embedding import DEFAULT_MODEL
    from coda_memory.store import MemoryStore
    from coda_memory.tables import held_model

    where = _where(store)
    if there and store is not None and "://" not in where and not Path(where).is_dir():
        raise ValidationError(
            f"There is no store of memories at {where}. Name the folder of one with --store."
        )
    with MemoryStore(where, model or held_model(where) or DEFAULT_MODEL) as memories:
        yield memories


def _where(store: str | None) -> str:
    from coda_memory.places import default_store

    return store or default_store()


def _when(memory: Memory) -> str:
    return f"{memory.created_at:%Y-%m-%d %H:%M}"
