"""``coda-voice serve``: many people talk to one machine, by WebSocket."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Annotated

import typer

from coda_voice.cli.garbage import none_while_starting
from coda_voice.cli.options import Checkpoint, Config, Device, PromptText, load_config
from coda_voice.config import VoiceConfig

Host = Annotated[str | None, typer.Option("--host", help="Where to listen.")]
Port = Annotated[int | None, typer.Option("--port", min=0, max=65535, help="0: any free port.")]
Slots = Annotated[int | None, typer.Option("--slots", min=1, help="Conversations at once.")]
Mode = Annotated[str | None, typer.Option("--mode", help="moshi_only, hybrid or adaptive.")]


def serve(
    config: Config = None,
    host: Host = None,
    port: Port = None,
    slots: Slots = None,
    mode: Mode = None,
    checkpoint: Checkpoint = None,
    device: Device = None,
    prompt: PromptText = None,
) -> None:
    """Serve conversations by WebSocket, and a page to talk to, until Ctrl-C."""
    with ExitStack() as starting:
        starting.enter_context(none_while_starting())
        _serve(
            load_config(
                config,
                {
                    "server__host": host,
                    "server__port": port,
                    "moshi__slots": slots,
                    "mode": mode,
                    "moshi__checkpoint": checkpoint,
                    "moshi__device": device,
                    "moshi__prompt": prompt,
                },
                {"moshi__slots": None, "logging__level": "info"},
            ),
            starting.close,
        )


def _serve(settings: VoiceConfig, started: Callable[[], None]) -> None:
    import asyncio

    from coda_voice.server.app import create_app
    from coda_voice.server.run import serve as run_server

    app = create_app(settings)
    telling: set[asyncio.Task[None]] = set()

    async def tell_of_the_llm() -> None:
        if trouble := await app.state.front.manager.llm_trouble():
            typer.echo(f"No LLM answers: {trouble}", err=True)

    def listening(address: str) -> None:
        started()
        typer.echo(f"Talk to it at {address} (Ctrl-C to stop).")
        telling.add(asyncio.create_task(tell_of_the_llm()))

    try:
        asyncio.run(run_server(app, listening))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
