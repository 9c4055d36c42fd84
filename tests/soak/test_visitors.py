"""Conversations that come and go for as long as CODA_SOAK_MINUTES says (120): nothing may grow."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from pathlib import Path

import psutil
import pytest

from tests.integration.voice_server import StreamClient, voice_server

MINUTES = float(os.environ.get("CODA_SOAK_MINUTES", "120"))
AT_ONCE = 8
OUT = Path(__file__).parents[2] / "benchmarks" / "soak_visitors.json"


@pytest.mark.soak
@pytest.mark.timeout(int(MINUTES * 60 + 900))
async def test_eight_conversations_coming_and_going():
    chance = random.Random(1)
    process = psutil.Process()
    until = time.monotonic() + MINUTES * 60
    visits = frames = 0
    measured: list[dict[str, float]] = []

    async def visitor(url: str) -> None:
        nonlocal visits, frames
        while time.monotonic() < until:
            async with StreamClient(f"{url}/v1/stream?wait=true&events=true") as client:
                await client.ready()
                for _ in range(chance.randrange(25, 400)):
                    await client.frame()
                    frames += 1
                    await asyncio.sleep(0.06)
                visits += 1
                if chance.random() < 0.5:
                    await client.tell("close")
                    await client.closed()
                else:
                    client.socket.transport.abort()

    with voice_server(moshi__slots=AT_ONCE + 4, server__resume_seconds=5.0) as server:
        visiting = [asyncio.create_task(visitor(server.ws)) for _ in range(AT_ONCE)]
        while not all(task.done() for task in visiting):
            await asyncio.wait(visiting, timeout=30)
            measured.append(
                {
                    "minutes": MINUTES - (until - time.monotonic()) / 60,
                    "rss_mb": process.memory_info().rss / 2**20,
                    "files": process.num_fds(),
                    "threads": process.num_threads(),
                    "tasks": len(asyncio.all_tasks()),
                    "visits": visits,
                }
            )
        await asyncio.gather(*visiting)
        assert len(server.front.sessions.all()) <= AT_ONCE
    OUT.write_text(json.dumps({"frames": frames, "measured": measured}, indent=2) + "\n")
    quarter = len(measured) // 4
    early, late = measured[quarter : 2 * quarter], measured[-quarter:]
    for key, growth in (("rss_mb", 50.0), ("files", 6.0), ("threads", 3.0), ("tasks", 6.0)):
        before = max(m[key] for m in early)
        assert max(m[key] for m in late) <= before + growth, f"{key} grows: {measured}"
