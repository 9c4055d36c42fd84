"""Eight conversations that come and go on a server of its own: what it must not keep of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx
import matplotlib
import numpy as np
import psutil
from numpy.typing import NDArray

from tests.conftest import Spoken
from tests.integration.voice_server import FRAME_BYTES, StreamClient, serving_process

matplotlib.use("Agg")
from matplotlib import pyplot as plt

AT_ONCE = 8
SILENCE = np.zeros(1_920, "<i2")
COMPLAINTS = re.compile(r"never awaited|never retrieved|destroyed but|Traceback")
"""What Python says of tasks that nobody finished."""
PAUSE = 0.065
"""From an answer to the next frame: with the answer's own time about a microphone's pace."""
WRITTEN = ("what time is it", "remember that i like chess", "what do i like", "set a timer for two")
VISITORS = {"silent": "", "speaking": "&transcripts=true", "asking": "&mode=hybrid"}
"""What those who come do, and what they wish for: all that may be left behind is made by some."""
LEAST_MOMENTS = 9
"""However slow the machine: in the first third thread pools and caches fill up."""
MAY_GROW = {"rss_mib": 32.0, "files": 3.0, "threads": 8.0, "pool_threads": 24.0, "tasks": 3.0}
"""From one quiet moment to a later one; thread pools fill up by and by."""
POOLS = ("lancedb-tokio", "lance-cpu")
"""Threads of the memory's library: as many as are asked for at once, gone after ten idle seconds.
The same server at rest had 44 and 27 within half a minute."""


@dataclass
class Moment:
    """The server's process with nobody on it."""

    minutes: float
    visits: int
    rss_mib: float
    files: int
    threads: int
    pool_threads: int
    tasks: int


@dataclass
class Soak:
    """What a run saw. ``complaints``: lines of the server's own output."""

    minutes: float
    visits: int = 0
    frames: int = 0
    moments: list[Moment] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    exit_status: int | None = None

    def growth(self) -> dict[str, float]:
        """How much more there is of each, in the last third than in the one before it.

        Of memory the most is compared. Of the others the least: pools of threads and of files fill
        up and empty again within seconds, and what is left behind is there at any moment.
        """
        third = max(1, len(self.moments) // 3)
        before, after = self.moments[-2 * third : -third], self.moments[-third:]

        def of(key: str, moments: list[Moment]) -> float:
            found = [float(getattr(moment, key)) for moment in moments]
            return max(found) if key == "rss_mib" else min(found)

        return {key: of(key, after) - of(key, before) for key in MAY_GROW}

    def check(self) -> None:
        """Fail if anything grew, or was left unfinished."""
        assert self.exit_status == 0 and not self.complaints, self.complaints
        assert len(self.moments) >= LEAST_MOMENTS and self.visits > AT_ONCE
        for key, growth in self.growth().items():
            assert growth <= MAY_GROW[key], f"{key} grows: {self.moments}"

    def write(self, path: Path) -> None:
        """Write JSON, and a plot beside it."""
        path.parent.mkdir(exist_ok=True)
        report = {**asdict(self), "growth": self.growth(), "finished": time.strftime("%Y-%m-%d")}
        path.write_text(json.dumps(report, indent=1) + "\n")
        figure, axes = plt.subplots(len(MAY_GROW), 1, figsize=(9, 7), sharex=True)
        for axis, key in zip(axes, MAY_GROW, strict=True):
            axis.plot([m.minutes for m in self.moments], [getattr(m, key) for m in self.moments])
            axis.set_ylabel(key.replace("_", " "))
            axis.set_ylim(0, 1.2 * max(getattr(m, key) for m in self.moments))
            axis.grid(alpha=0.3)
        axes[0].set_title(f"{self.visits} visits, {self.frames} frames; measured with nobody there")
        axes[-1].set_xlabel("minutes")
        figure.tight_layout()
        figure.savefig(path.with_suffix(".png"), dpi=110)
        plt.close(figure)


async def receive_visitors(minutes: float, wave_seconds: float, longest: int) -> Soak:
    """Have visitors for ``minutes``, in waves; measure between two waves, when all have left.

    ``longest``: frames of a visit.
    """
    soak = Soak(minutes)
    chance = random.Random(1)
    settings = {
        "CODA_VOICE__SERVER__RESUME_SECONDS": "1",
        "CODA_VOICE__SERVER__CONNECTS_PER_SECOND": "1000",
        "CODA_VOICE__LOGGING__LEVEL": "error",
        "CODA_VOICE__EXTERNAL_LLM__PROVIDER": "offline",
    }
    spoken = Spoken()
    said = np.concatenate([spoken.question(4), np.pad(spoken.pcm("what_do_i_like"), (0, 48_000))])
    speech = list((said[: len(said) // 1_920 * 1_920] * 32_767).astype("<i2").reshape(-1, 1_920))
    with (
        tempfile.TemporaryDirectory() as store,
        serving_process(
            "--slots", str(AT_ONCE), CODA_VOICE__INTEGRATION__MEMORY_STORE=store, **settings
        ) as (server, url),
    ):
        process = psutil.Process(server.pid)
        began = time.monotonic()
        async with httpx.AsyncClient(base_url=url.replace("ws", "http", 1), timeout=120) as http:
            while time.monotonic() - began < minutes * 60 or len(soak.moments) < LEAST_MOMENTS:
                until = time.monotonic() + wave_seconds
                await asyncio.gather(
                    *(
                        _visit_often(soak, url, until, longest, chance, speech)
                        for _ in range(AT_ONCE)
                    )
                )
                tasks = await _alone(http)
                in_pools, threads = _threads(process)
                soak.moments.append(
                    Moment(
                        (time.monotonic() - began) / 60,
                        soak.visits,
                        process.memory_info().rss / 2**20,
                        process.num_fds(),
                        threads,
                        in_pools,
                        tasks,
                    )
                )
        server.terminate()
        _, errors = await asyncio.to_thread(server.communicate, timeout=60)
        soak.exit_status = server.returncode
        soak.complaints = [line for line in errors.splitlines() if COMPLAINTS.search(line)]
    return soak


async def _visit_often(
    soak: Soak,
    url: str,
    until: float,
    longest: int,
    chance: random.Random,
    speech: list[NDArray[np.int16]],
) -> None:
    """Come, talk and leave until the time is over: by a close, by a message, or without a word."""
    while time.monotonic() < until:
        kind = chance.choice(sorted(VISITORS))
        query = f"wait=true&events=true{VISITORS[kind]}"
        async with StreamClient(f"{url}/v1/stream?{query}") as client:
            await client.ready()
            for number in range(chance.randrange(1, longest)):
                if kind == "asking" and number % 50 == 10:
                    await client.tell("text", text=chance.choice(WRITTEN))
                sound = speech[number % len(speech)] if kind != "silent" else SILENCE
                assert len(await client.frame(sound.tobytes())) == FRAME_BYTES
                soak.frames += 1
                await asyncio.sleep(PAUSE)
            leave = chance.choice(("close", "goodbye", "vanish"))
            if leave == "goodbye":
                await client.tell("close")
                assert await client.closed() == 1000
            elif leave == "vanish":
                client.socket.transport.abort()
        soak.visits += 1


def _threads(process: psutil.Process) -> tuple[int, int]:
    """How many of its threads are in ``POOLS``, and the others."""
    names = []
    for thread in Path(f"/proc/{process.pid}/task").iterdir():
        with contextlib.suppress(OSError):  # over meanwhile
            names.append((thread / "comm").read_text())
    in_pools = sum(name.startswith(POOLS) for name in names)
    return in_pools, len(names) - in_pools


async def _alone(http: httpx.AsyncClient) -> int:
    """Wait until the server has forgotten everybody; give its tasks."""
    async with asyncio.timeout(60):
        while True:
            figures = (await http.get("/metrics")).text
            if "coda_sessions 0.0" in figures and "coda_connections 0.0" in figures:
                found = re.search(r"^coda_tasks ([0-9.]+)$", figures, re.MULTILINE)
                assert found is not None
                return round(float(found[1]))
            await asyncio.sleep(0.1)
