"""Paced conversations over real sockets: the server in a process of its own, the clients here.

What the server says of itself (`/metrics`, `/stats`) is set beside what the clients saw: the
mean way there and back, less the mean way through the server by its own clock, is what
neither accounts for (the kernel, the clients' own event loop).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import websockets

from coda_voice.moshi.frames import FRAME_SECONDS, Pcm
from scripts.benchmarks.histograms import Histogram, read

ROOT = Path(__file__).parents[2]
ADDED_BAR = 0.02
"""Seconds that 99 of 100 frames may take beyond the models' work."""
REFUSED_BAR = 0.1
REFUSALS = 5
REFUSAL_PAUSE = 0.2
SETTLING_SECONDS = 1.0
"""After the first frames; what happens before is left out of the server's figures."""


@dataclass
class Client:
    """One conversation: when each frame was sent, and when its answer came."""

    sent: list[float] = field(default_factory=list)
    heard: list[float] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    """What the server complained of, or lost."""

    async def talk(
        self,
        url: str,
        frames: list[bytes],
        total: int,
        begin: float,
        may_close: asyncio.Event,
    ) -> None:
        """Send ``total`` frames by the clock; wait for as many answers, then for ``may_close``."""
        async with websockets.connect(url, max_queue=None, compression=None) as socket:
            await socket.recv()

            async def listen() -> None:
                with contextlib.suppress(websockets.ConnectionClosed):
                    while len(self.heard) < total:
                        message = await socket.recv()
                        if isinstance(message, bytes):
                            self.heard.append(time.perf_counter())
                        else:
                            self._note(message)

            listening = asyncio.create_task(listen())
            with contextlib.suppress(websockets.ConnectionClosed):
                for number in range(total):
                    due = begin + number * FRAME_SECONDS
                    await asyncio.sleep(max(0.0, due - time.perf_counter()))
                    self.sent.append(time.perf_counter())
                    await socket.send(frames[number % len(frames)])
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(listening, 10)
            await may_close.wait()
            with contextlib.suppress(websockets.ConnectionClosed):
                await socket.send('{"type": "close"}')

    def _note(self, message: str) -> None:
        fields = json.loads(message)
        if fields["type"] == "error" or fields.get("status") == "dropped":
            self.told.append(message)

    def ways(self, since: float = 0.0, until: float = float("inf")) -> list[float]:
        """Seconds there and back, of the frames sent in that time (``time.perf_counter``)."""
        pairs = zip(self.sent, self.heard, strict=False)
        return [heard - sent for sent, heard in pairs if since <= sent < until]

    @property
    def pace(self) -> float | None:
        """First to last answer, over the sound between them: beyond 1, it fell behind."""
        if len(self.heard) < 2:
            return None
        return (self.heard[-1] - self.heard[0]) / ((len(self.heard) - 1) * FRAME_SECONDS)


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
            line = process.stdout.readline()
            if "http://" not in line:
                raise RuntimeError(f"coda-voice serve did not start: {line!r}")
            yield line.split("http://")[1].split()[0]
        finally:
            process.terminate()


def run_server(
    conversations: int, seconds: float, pcm: list[Pcm], threads: int | None = None
) -> dict[str, object]:
    """Hold ``conversations`` at once, with further ones refused beside them meanwhile."""
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
    may_close = asyncio.Event()
    talking = [
        asyncio.create_task(
            client.talk(url, frames, total, begin + chance.uniform(0, FRAME_SECONDS), may_close)
        )
        for client in clients
    ]
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=30) as http:
        await asyncio.sleep(begin + SETTLING_SECONDS - time.perf_counter())
        early = (await http.get("/metrics")).text
        await asyncio.sleep(max(0.0, begin + seconds / 2 - time.perf_counter()))
        asked = time.perf_counter()
        refusals = [await _one_more(url) for _ in range(REFUSALS)]
        answered = time.perf_counter()
        while not all(len(c.heard) == total or task.done() for c, task in _pairs(clients, talking)):
            if time.perf_counter() > begin + seconds + 10:
                break
            await asyncio.sleep(0.1)
        sessions = (await http.get("/stats")).json()["sessions"]
        late = (await http.get("/metrics")).text
    may_close.set()
    await asyncio.gather(*talking)
    before = [w for c in clients for w in c.ways(2 * asked - answered, asked)]
    meanwhile = [w for c in clients for w in c.ways(asked, answered)]
    row: dict[str, object] = {
        "conversations": conversations,
        "seconds": seconds,
        "load": os.getloadavg()[0],
        "frames_missing": sum(total - len(client.heard) for client in clients),
        "complaints": sum(len(client.told) for client in clients),
        "real_time_factor_worst": max((s["real_time_factor"] or 0 for s in sessions), default=None),
        "pace_worst": max((c.pace for c in clients if c.pace is not None), default=None),
        **_ways([way for client in clients for way in client.ways()]),
        **_server_side(early, late),
        "refused_with": sorted({code for code, _ in refusals}),
        "refused_after_ms_worst": 1e3 * max(seconds for _, seconds in refusals),
        "others_p99_ms_before_refusals": _ms(before, 0.99),
        "others_p99_ms_during_refusals": _ms(meanwhile, 0.99),
    }
    row["there_and_back_mean_less_server_ms"] = _unaccounted(clients, early, late)
    return row


def bars(row: Mapping[str, object]) -> dict[str, bool]:
    """Hold a row against what was promised of it; what was not measured was not kept."""

    def at_most(name: str, most: float) -> bool:
        value = row[name]
        return isinstance(value, (int, float)) and value <= most

    before = row["others_p99_ms_before_refusals"]
    unnoticed = (before if isinstance(before, float) else 0.0) + 1e3 * ADDED_BAR
    return {
        "real-time factor < 1": at_most("real_time_factor_worst", 0.9999),
        "no frame missing": at_most("frames_missing", 0) and at_most("complaints", 0),
        "server adds at most 20 ms (p99)": at_most("server_added_share_over_20_ms", 0.01),
        "one more refused in 100 ms": row["refused_with"] == ["slots_full"]
        and at_most("refused_after_ms_worst", 1e3 * REFUSED_BAR),
        "others notice nothing of it": at_most("others_p99_ms_during_refusals", unnoticed),
    }


def _pairs(
    clients: Sequence[Client], tasks: Sequence[asyncio.Task[None]]
) -> list[tuple[Client, asyncio.Task[None]]]:
    return list(zip(clients, tasks, strict=True))


def _ms(seconds: Sequence[float], share: float) -> float | None:
    return 1e3 * float(np.quantile(seconds, share)) if seconds else None


def _ways(ways: Sequence[float]) -> dict[str, object]:
    return {
        "there_and_back_p50_ms": _ms(ways, 0.5),
        "there_and_back_p99_ms": _ms(ways, 0.99),
        "answers_later_than_a_frame": float(np.mean(np.array(ways) > FRAME_SECONDS)),
    }


def _between(early: str, late: str, name: str, **labels: str) -> Histogram:
    return read(late, name, **labels) - read(early, name, **labels)


def _server_side(early: str, late: str) -> dict[str, object]:
    """What the server measured between two readings: arrival to sent, and the parts of that."""
    added = _between(early, late, "coda_server_added_seconds")
    busy = _between(early, late, "coda_frame_seconds", stage="engine_busy")
    total = _between(early, late, "coda_frame_seconds", stage="total")
    return {
        "server_frames": added.count,
        "server_total_p99_ms": total.quantile_ms(0.99),
        "server_added_p50_ms": added.quantile_ms(0.5),
        "server_added_p99_ms": added.quantile_ms(0.99),
        "server_added_share_over_20_ms": added.share_over(ADDED_BAR),
        "waited_for_the_tick_before_p99_ms": busy.quantile_ms(0.99),
    }


def _unaccounted(clients: Sequence[Client], early: str, late: str) -> float | None:
    total = _between(early, late, "coda_frame_seconds", stage="total")
    ways = [way for client in clients for way in client.ways()]
    if not ways or not total.count:
        return None
    return 1e3 * (float(np.mean(ways)) - total.sum / total.count)


async def _one_more(url: str) -> tuple[str, float]:
    """Ask for a conversation that there is no room for; the code, and seconds to hear it."""
    await asyncio.sleep(REFUSAL_PAUSE)
    asked = time.perf_counter()
    async with websockets.connect(url) as socket:
        told = json.loads(await socket.recv())
        seconds = time.perf_counter() - asked
    return str(told.get("code") or told["type"]), seconds
