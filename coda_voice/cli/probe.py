"""``coda-voice probe URL``: what a customer would ask a voice server first, measured."""

from __future__ import annotations

import asyncio
import json
import time
from importlib import resources
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from coda_voice.audio import files
from coda_voice.audio.features import level_dbfs
from coda_voice.cli.probe_links import ProtocolName, link_to
from coda_voice.cli.probing import Probe, Question, Report, more_conversations
from coda_voice.moshi.frames import SAMPLE_RATE
from coda_voice.turns import AGENT_LEVEL_DBFS

_STEP = SAMPLE_RATE // 100


def probe(
    address: Annotated[str, typer.Argument(metavar="URL", help="ws://HOST:PORT or wss://HOST.")],
    protocol: Annotated[
        ProtocolName, typer.Option("--protocol", help="How to talk to it.")
    ] = "v1-stream",
    token: Annotated[
        str | None,
        typer.Option("--token", envvar="CODA_VOICE_TOKEN", help="A key or token, if it wants one."),
    ] = None,
    more: Annotated[
        int,
        typer.Option("--more", min=0, max=256, help="Try so many further conversations at most."),
    ] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask a voice server a spoken question, interrupt its answer, and print how that went.

    The server hears a recording of about a second, and one that says "stop". Last, further
    conversations are opened until it refuses, and closed again: use --more 0 where that
    would disturb somebody.
    """
    report = asyncio.run(measure(address, protocol, token, more))
    if as_json:
        typer.echo(json.dumps({"url": address, "protocol": protocol, **report.as_dict()}))
        return
    Console(highlight=False).print(_table(report))


async def measure(
    address: str, protocol: ProtocolName, token: str | None = None, more: int = 32
) -> Report:
    """Run the probe. Raises MoshiConnectionError, SlotsFullError, ConfigurationError."""
    link = link_to(protocol, address, token)
    began = time.perf_counter()
    await link.open()
    handshake = time.perf_counter() - began
    probing = Probe(link)
    try:
        talked = await probing.talk(recording("your_name.flac"), recording("stop.flac"))
        room: tuple[int | None, bool] = (None, False)
        if more:
            room = await more_conversations(lambda: link_to(protocol, address, token), more)
    finally:
        await link.close()
    return probing.report(handshake, talked, room)


def recording(name: str) -> Question:
    """Give one of the package's recordings, and where its voice ends."""
    data = resources.files("coda_voice.cli").joinpath("demo_audio", name).read_bytes()
    pcm = files.decode(data, SAMPLE_RATE).at(SAMPLE_RATE)
    loud = [
        begin
        for begin in range(0, len(pcm), _STEP)
        if level_dbfs(pcm[begin : begin + _STEP]) > AGENT_LEVEL_DBFS
    ]
    return Question(pcm, (loud[-1] + _STEP) / SAMPLE_RATE if loud else 0.0)


def _table(report: Report) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in (
        ("handshake", _ms(report.handshake_ms)),
        ("frame to frame, median", _ms(report.latency_p50_ms)),
        ("frame to frame, 95 %", _ms(report.latency_p95_ms)),
        ("frame to frame, worst", _ms(report.latency_max_ms)),
        ("jitter", _ms(report.jitter_ms)),
        ("late frames", f"{report.late_frames} of {report.frames_received}"),
        ("question's end to first sound", _ms(report.answer_ms)),
        ("interruption to silence", _ms(report.barge_in_ms)),
        ("agent heard", f"{report.agent_seconds:.1f} s"),
        ("more conversations taken", _room(report)),
    ):
        table.add_row(name, value)
    return table


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} ms"


def _room(report: Report) -> str:
    if report.more_conversations is None:
        return "not tried"
    return f"{report.more_conversations}{'' if report.capacity_reached else ' or more'}"
