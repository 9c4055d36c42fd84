"""Paced conversations over real sockets: the server in a process of its own, the clients here."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import websockets

from coda_voice.moshi.frames import FRAME_SECONDS, Pcm

ROOT = Path(__file__).parents[2]
_BUCKET = re.compile(r'coda_server_added_seconds_bucket\{le="([^"]+)"\} ([0-9.e+]+)')


@dataclass
class Client:
    """One conversation: when each frame was sent, and when its answer came."""

    sent: list[float] = field(default_factory=list)
    heard: list[float] = field(default_factory=list)

    async def talk(self, url: str, frames: list[bytes], total: int, begin: float) -> None:
        """Send ``total`` frames by the clock; wait for as many answers."""
        async with websockets.connect(url, max_queue=None, compression=None) as socket:
            await socket.recv()

            async def listen() -> None:
                while len(self.heard) < total:
                    if isinstance(await socket.recv(), bytes):
                        self.heard.append(time.perf_counter())

            listening = asyncio.create_task(listen())
            for number in range(total):
                due = begin + number * FRAME_SECONDS
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                self.sent.append(time.perf_counter())
                await socket.send(frames[number % len(frames)])
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(listening, 10)
            await socket.send('{"type": "close"}')


@contextlib.contextmanager
def serving(slots: int, threads: int | None) -> Iterator[str]:
    """Run ``coda-voice serve``; gives host and port."""
    command = [sys.executable, "-m", "coda_voice.cli.main", "serve", "--port", "0"]
    environment = {**os.environ, "CODA_VOICE__MOSHI__THREADS": str(threads or "")}
    with subprocess.Popen(
        [*command, "--slots", str(slots), "--device", "cpu"],
        stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split("http://")[1].split()[0]
        finally:
            process.terminate()


def run_server(
    conversations: int, seconds: float, pcm: list[Pcm], threads: int | None = None
) -> dict[str, object]:
    """Hold ``conversations`` at once, then have one more refused beside them."""
    frames = [(np.clip(frame, -1, 1) * 32767).astype("<i2").tobytes() for frame in pcm]
    with serving(conversations, threads) as address:
        return asyncio.run(_measure(address, conversations, seconds, frames))


async def _measure(
    address: str, conversations: int, seconds: float, frames: list[bytes]
) -> dict[str, object]:
    url, total = f"ws://{address}/v1/stream", int(seconds / FRAME_SECONDS)
    chance = random.Random(0)
    clients = [Client() for _ in range(conversations)]
    begin = time.perf_counter() + 2.0
    talking = [
        asyncio.create_task(
            client.talk(url, frames, total, begin + chance.uniform(0, FRAME_SECONDS))
        )
        for client in clients
    ]
    await asyncio.sleep(2.0 + seconds / 2)
    refusal = await _one_more(url)
    await asyncio.gather(*talking)
    async with httpx.AsyncClient(base_url=f"http://{address}") as http:
        added = _quantile((await http.get("/metrics")).text, 0.99)
    ways = np.array(
        [
            heard - sent
            for client in clients
            for sent, heard in zip(client.sent, client.heard, strict=False)
        ]
    )
    spans = [
        (client.heard[-1] - client.sent[0]) / (total * FRAME_SECONDS)
        for client in clients
        if client.heard
    ]
    return {
        "conversations": conversations,
        "seconds": seconds,
        "load": os.getloadavg()[0],
        "frames_missing": sum(total - len(client.heard) for client in clients),
        "slowest_session_span_over_its_audio": max(spans),
        "there_and_back_p50_ms": 1e3 * float(np.quantile(ways, 0.5)),
        "there_and_back_p99_ms": 1e3 * float(np.quantile(ways, 0.99)),
        "server_added_p99_ms_at_most": None if added is None else added * 1e3,
        **refusal,
    }


async def _one_more(url: str) -> dict[str, object]:
    asked = time.perf_counter()
    async with websockets.connect(url) as socket:
        told = json.loads(await socket.recv())
    return {"one_more": told.get("code"), "refused_after_ms": 1e3 * (time.perf_counter() - asked)}


def _quantile(metrics: str, share: float) -> float | None:
    """Give the bucket's upper bound below which ``share`` of the frames lie."""
    buckets = [(float(bound), float(count)) for bound, count in _BUCKET.findall(metrics)]
    if not buckets or not buckets[-1][1]:
        return None
    return next(bound for bound, count in buckets if count >= share * buckets[-1][1])
