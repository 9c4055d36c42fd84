"""``coda-voice tui``: the page in a terminal, as a client of a server here or elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import numpy as np
import typer

from coda_voice.audio.pcm import decode_samples, encode_samples
from coda_voice.cli.soundcard import Duplex, choose_rate, open_sound
from coda_voice.moshi.frames import FRAME_SAMPLES, FRAME_SECONDS, Pcm

Sound = Annotated[str | None, typer.Option(help="Its name, part of it, or its number.")]


def tui(
    address: Annotated[
        str, typer.Argument(metavar="[URL]", help="ws://HOST:PORT or wss://HOST.")
    ] = "ws://127.0.0.1:8998",
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
) -> None:
    """Talk with a server in the terminal: both transcripts, routing, tools, latencies."""
    wishes = {"mode": mode, "prompt": prompt}
    query = {name: wish for name, wish in wishes.items() if wish is not None}
    asyncio.run(_run(address, token, query, None if silent else (microphone, speakers)))


async def _run(
    address: str,
    token: str | None,
    query: dict[str, str],
    sound: tuple[str | None, str | None] | None,
) -> None:
    # Only here: textual and websockets take their time to load.
    from coda_voice.cli.tui_app import Conversation, VoiceApp
    from coda_voice.remote import RemoteConversation

    if sound is None:
        remote = RemoteConversation(address, token, {"events": "true", "wait": "true", **query})
        async with remote:
            await VoiceApp(Conversation(remote, silence(), _nobody_listens)).run_async()
        return
    ears, mouth = (_device(name) for name in sound)
    duplex = Duplex(choose_rate(ears, mouth))
    wish = {"events": "true", "wait": "true", "sample_rate": str(duplex.rate), **query}
    async with RemoteConversation(address, token, wish) as remote:
        with open_sound(duplex, ears, mouth):
            talk = Conversation(remote, _blocks(duplex), lambda pcm: duplex.play(_bytes(pcm)))
            await VoiceApp(talk).run_async()
        duplex.close()


def _device(name: str | None) -> str | int | None:
    return int(name) if name is not None and name.isdecimal() else name


async def _blocks(duplex: Duplex) -> AsyncIterator[Pcm]:
    async for block in duplex.microphone():
        yield decode_samples(block, "int16")


def _bytes(pcm: Pcm) -> bytes:
    return encode_samples(pcm, "int16")


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
