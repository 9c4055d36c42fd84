"""``coda-voice tui``: the page in a terminal, as a client of a server here or elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import httpx
import numpy as np
import typer

from coda_voice.audio.pcm import decode_samples, encode_samples
from coda_voice.cli.local_server import local_server
from coda_voice.cli.soundcard import Duplex, choose_rate, open_sound
from coda_voice.moshi.frames import FRAME_SAMPLES, FRAME_SECONDS, Pcm

HERE = "ws://127.0.0.1:8998"
PERSONALITIES_PATH = "/v1/personalities"
HTTP_SECONDS = 5.0
Sound = Annotated[str | None, typer.Option(help="Its name, part of it, or its number.")]


def tui(
    address: Annotated[
        str | None, typer.Argument(metavar="[URL]", help="ws://HOST:PORT or wss://HOST.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option("--token", envvar="CODA_VOICE_TOKEN", help="A key or token, if it wants one."),
    ] = None,
    mode: Annotated[str | None, typer.Option(help="moshi_only, hybrid or adaptive.")] = None,
    prompt: Annotated[str | None, typer.Option(help="What it is told first.")] = None,
    microphone: Sound = None,
    speakers: Sound = None,
    silent: Annotated[
        bool, typer.Option("--silent", help="Without sound: write, and read what it says.")
    ] = False,
    local: Annotated[
        bool, typer.Option("--local", help="Without a server: start one here, and end it after.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="The YAML of the --local server.")
    ] = None,
) -> None:
    """Talk with a server in the terminal: both transcripts, routing, tools, latencies."""
    if config is not None and not local:
        raise typer.BadParameter("it is for the server that --local starts", param_hint="--config")
    if address is not None and local:
        raise typer.BadParameter(
            "it is for a server that runs; leave it or --local", param_hint="URL"
        )
    wishes = {"mode": mode, "prompt": prompt}
    query = {name: wish for name, wish in wishes.items() if wish is not None}
    sound = None if silent else (microphone, speakers)
    asyncio.run(_run(None if local else address or HERE, config, token, query, sound))


async def _run(
    address: str | None,
    config: Path | None,
    token: str | None,
    query: dict[str, str],
    sound: tuple[str | None, str | None] | None,
) -> None:
    # Only here: textual and websockets take their time to load.
    from rich.console import Console

    from coda_voice.cli.tui_app import Conversation, VoiceApp
    from coda_voice.remote import RemoteConversation

    wish = {"events": "true", "wait": "true", "transcripts": "true", **query}
    async with AsyncExitStack() as open_until_the_end:
        enter = open_until_the_end.enter_async_context
        with Console(stderr=True).status("connecting…") as status:
            ears, mouth = (_device(name) for name in sound or (None, None))
            duplex = Duplex(choose_rate(ears, mouth)) if sound is not None else None
            if address is None:
                status.update("starting a server of this machine…")
                address = await enter(local_server(config))
            if duplex is not None:
                wish["sample_rate"] = str(duplex.rate)
            names = await personalities(address, token)  # before: nothing said is to be missed
            remote = RemoteConversation(
                address, token, wish, lambda place: status.update(_in_line(place))
            )
            await enter(remote)
        microphone = silence()
        play: Callable[[Pcm], None] = _nobody_listens
        if duplex is not None:
            open_until_the_end.callback(duplex.close)
            open_until_the_end.enter_context(open_sound(duplex, ears, mouth))
            microphone, play = _blocks(duplex), _into(duplex)
        await VoiceApp(Conversation(remote, microphone, play, names)).run_async()


def _in_line(place: int) -> str:
    ahead = place - 1
    return f"every slot is taken; {f'{ahead} ahead of you' if ahead else 'you are next'}…"


async def personalities(address: str, token: str | None) -> list[str]:
    """List who the server's agent can be; nobody where it does not tell."""
    from coda_voice.remote import websocket_url

    url = httpx.URL(websocket_url(address, "/")).copy_with(path=PERSONALITIES_PATH, query=None)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(timeout=HTTP_SECONDS, headers=headers) as client:
        try:
            answer = await client.get(
                url.copy_with(scheme="https" if url.scheme == "wss" else "http")
            )
            names = answer.raise_for_status().json()
        except (httpx.HTTPError, ValueError):  # an older server, or a token that may only talk
            return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _device(name: str | None) -> str | int | None:
    return int(name) if name is not None and name.isdecimal() else name


async def _blocks(duplex: Duplex) -> AsyncIterator[Pcm]:
    async for block in duplex.microphone():
        yield decode_samples(block, "int16")


def _into(duplex: Duplex) -> Callable[[Pcm], None]:
    return lambda pcm: duplex.play(encode_samples(pcm, "int16"))


def _nobody_listens(pcm: Pcm) -> None:
    """Let the agent's sound go: there are no speakers."""


async def silence() -> AsyncIterator[Pcm]:
    """Give silence as fast as it is heard: the conversation's clock is its audio."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    frame = np.zeros(FRAME_SAMPLES, dtype=np.float32)
    while True:
        yield frame
        due = max(due + FRAME_SECONDS, loop.time() - 1.0)
        await asyncio.sleep(max(0.0, due - loop.time()))
