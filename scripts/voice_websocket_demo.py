"""Talk to a server by WebSocket, as any client would: a recording in, the agent's sound out.

    coda-voice serve &
    python scripts/voice_websocket_demo.py [ws://127.0.0.1:8998] [--file IN.wav] [--out OUT.wav]

Without an address it starts a server of its own, with coda-tiny. The token of a server with a
login comes from CODA_VOICE_TOKEN.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import websockets

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from coda_voice.audio import files
from coda_voice.config import VoiceConfig
from coda_voice.errors import VoiceProcessingError
from coda_voice.server.app import create_app
from coda_voice.server.run import serve

DATA = Path(__file__).resolve().parent.parent / "tests" / "data"
FRAME_BYTES = 3_840
FRAME_SECONDS = 0.08


async def talk(url: str, pcm: bytes, seconds_after: float) -> bytes:
    """Send ``pcm`` as it is spoken, then silence; give what the agent said meanwhile."""
    token = os.environ.get("CODA_VOICE_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    heard = bytearray()
    async with websockets.connect(
        f"{url}/v1/stream?events=true", additional_headers=headers, max_size=None
    ) as socket:

        async def listen() -> None:
            async for message in socket:
                if isinstance(message, bytes):
                    heard.extend(message)
                else:
                    show(json.loads(message))

        listening = asyncio.create_task(listen())
        pcm += bytes(-len(pcm) % FRAME_BYTES)
        pcm += bytes(round(seconds_after / FRAME_SECONDS) * FRAME_BYTES)
        due = asyncio.get_running_loop().time()
        for begin in range(0, len(pcm), FRAME_BYTES):
            await socket.send(pcm[begin : begin + FRAME_BYTES])
            due += FRAME_SECONDS
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
        await asyncio.sleep(0.5)
        await socket.send('{"type": "close"}')
        await listening
    return bytes(heard)


def show(message: dict[str, object]) -> None:
    """Print a message in a line."""
    event = message.get("event")
    if isinstance(event, dict):
        fields = {
            key: value
            for key, value in event.items()
            if key not in ("type", "conversation_id", "wall", "id", "generation")
        }
        print(f"event {event['type']}: {fields}")
    elif message["type"] != "transcript":
        print(message)


async def run(url: str | None, pcm: bytes, seconds_after: float) -> bytes:
    """Talk to the server at ``url``, or to one made for it."""
    if url is not None:
        return await talk(url, pcm, seconds_after)
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    config = VoiceConfig.load(server={"port": 0}, moshi={"slots": 1}, logging={"level": "warning"})
    server = asyncio.create_task(serve(create_app(config), listening.set_result))
    await asyncio.wait({server, listening}, return_when=asyncio.FIRST_COMPLETED)
    if server.done():
        await server
    try:
        address = listening.result().replace("http://", "ws://")
        return await talk(address, pcm, seconds_after)
    finally:
        server.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await server


def main() -> int:
    """Read the arguments, talk, write what the agent said."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", nargs="?", help="ws://… or wss://…; none starts a server")
    parser.add_argument("--file", type=Path, default=DATA / "what_is_your_name.flac")
    parser.add_argument("--out", type=Path, default=Path("conversation.wav"))
    parser.add_argument("--seconds-after", type=float, default=4.0)
    given = parser.parse_args()
    try:
        samples = files.read(given.file).at(24_000)
        pcm = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
        heard = asyncio.run(run(given.url, pcm, given.seconds_after))
    except VoiceProcessingError as error:
        print(error, file=sys.stderr)
        return 2
    except (OSError, websockets.WebSocketException) as error:
        print(f"{given.url} cannot be talked to: {error}", file=sys.stderr)
        return 2
    agent = np.frombuffer(heard, "<i2").astype(np.float32) / 32768
    given.out.write_bytes(files.wav_bytes(agent, 24_000))
    print(f"{len(agent) / 24_000:.1f} s of the agent in {given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
