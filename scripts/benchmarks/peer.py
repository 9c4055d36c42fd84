"""Kyutai's own server, ``python -m moshi.server``, with the same weights on this machine.

It is started as it is, but for two things a machine without CUDA needs: its warm-up calls
``torch.cuda.synchronize`` unconditionally (made to do nothing here), and a codec of another
size is found only through ``mimi_config_name`` with a ``file://`` address.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import numpy as np
import sphn

from coda_voice.moshi.capabilities import TINY_FOLDER
from coda_voice.moshi.frames import FRAME_SAMPLES, FRAME_SECONDS, Pcm

_WRAPPER = """
import runpy, sys, torch
if not torch.cuda.is_available():
    torch.cuda.synchronize = lambda *a, **k: None
torch.set_num_threads(1)
sys.argv = sys.argv[1:]
runpy.run_module("moshi.server", run_name="__main__")
"""


def run_peer(frames: list[Pcm], seconds: float) -> dict[str, object]:
    """Talk to it in real time for ``seconds``; then try a second client beside the first."""
    with tempfile.TemporaryDirectory() as scratch, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        config = json.loads((TINY_FOLDER / "config.json").read_text())
        config["mimi_config_name"] = f"file://{TINY_FOLDER / 'mimi.json'}"
        path = Path(scratch) / "config.json"
        path.write_text(json.dumps(config))
        command = [
            *(sys.executable, "-c", _WRAPPER, "moshi.server"),
            *("--device", "cpu", "--static", "none", "--port", str(port), "--host", "127.0.0.1"),
            *("--config", str(path), "--moshi-weight", str(TINY_FOLDER / "moshi.safetensors")),
            *("--mimi-weight", str(TINY_FOLDER / "mimi.safetensors")),
            *("--tokenizer", str(TINY_FOLDER / "tokenizer.model")),
        ]
        log = Path(scratch) / "log"
        with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out) as server:
            try:
                return asyncio.run(_talk(port, frames, seconds, server, log))
            finally:
                server.terminate()


async def _talk(
    port: int, frames: list[Pcm], seconds: float, server: subprocess.Popen[bytes], log: Path
) -> dict[str, object]:
    url = f"ws://127.0.0.1:{port}/api/chat"
    async with aiohttp.ClientSession() as http:
        socket_ = await _connect(http, url, server, log)
        total = int(seconds / FRAME_SECONDS)
        writer, reader = sphn.OpusStreamWriter(24_000), sphn.OpusStreamReader(24_000)
        begin = time.perf_counter()
        heard: list[float] = []
        sent: list[float] = []
        ways: list[float] = []
        samples = 0

        async def receive() -> None:
            nonlocal samples
            async for message in socket_:
                if message.type is aiohttp.WSMsgType.BINARY and message.data[:1] == b"\x01":
                    pcm = reader.append_bytes(message.data[1:])
                    samples += 0 if pcm is None else len(pcm)
                    heard.append(time.perf_counter() - begin)
                    if 0 < samples <= len(sent) * FRAME_SAMPLES:
                        ways.append(time.perf_counter() - sent[-(-samples // FRAME_SAMPLES) - 1])

        listening = asyncio.create_task(receive())
        for number in range(total):
            await asyncio.sleep(max(0.0, begin + number * FRAME_SECONDS - time.perf_counter()))
            sent.append(time.perf_counter())
            opus = writer.append_pcm(frames[number % len(frames)])
            if opus:
                await socket_.send_bytes(b"\x01" + opus)
        second = await _second_client(http, url)
        await asyncio.sleep(1.0)
        await socket_.close()
        listening.cancel()
    return {
        "conversations": 1,
        "seconds": seconds,
        "frames_sent": total,
        "frames_heard": samples // FRAME_SAMPLES,
        "frames_missing": total - samples // FRAME_SAMPLES,
        "real_time_factor": (heard[-1] / (total * FRAME_SECONDS)) if heard else None,
        "there_and_back_p50_ms": 1e3 * float(np.quantile(ways, 0.5)) if ways else None,
        "there_and_back_p99_ms": 1e3 * float(np.quantile(ways, 0.99)) if ways else None,
        "largest_gap_ms": 1e3 * float(np.max(np.diff(heard))) if len(heard) > 1 else None,
        "second_client": second,
    }


async def _connect(
    http: aiohttp.ClientSession, url: str, server: subprocess.Popen[bytes], log: Path
) -> aiohttp.ClientWebSocketResponse:
    deadline = time.perf_counter() + 180
    while time.perf_counter() < deadline:
        if server.poll() is not None:
            tail = log.read_text()[-2000:]  # noqa: ASYNC240 - nothing else runs then
            raise RuntimeError(f"moshi.server ended at its start:\n{tail}")
        try:
            socket_ = await http.ws_connect(url)
        except aiohttp.ClientError:
            await asyncio.sleep(0.5)
            continue
        await asyncio.wait_for(socket_.receive(), 60)  # its handshake, a zero byte
        return socket_
    raise RuntimeError("moshi.server did not start within three minutes")


async def _second_client(http: aiohttp.ClientSession, url: str) -> str:
    """What a second client sees while the first one talks."""
    try:
        socket_ = await asyncio.wait_for(http.ws_connect(url), 3)
        await asyncio.wait_for(socket_.receive(), 3)
    except TimeoutError:
        return "no answer within 3 s (it waits behind the first)"
    except aiohttp.ClientError as error:
        return f"refused: {error}"
    return "served"
