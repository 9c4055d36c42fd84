"""A flood of connections, as a process of its own: `python -m tests.integration.flood`.

Opens WebSockets from one address at a fixed rate, whatever becomes of those before, and
prints one line of JSON: how fast that went, and how the server answered.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import socket
import time
from collections import Counter

ANSWER_SECONDS = 60.0
"""For so long an answer is waited for."""
HEAD = (
    "GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n"
)


async def connect(source: str, port: int, head: bytes, answers: Counter[str]) -> None:
    """Open one connection, ask, read the head of the answer, and go without a word."""
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setblocking(False)
        answer = b""
        try:
            sock.bind((source, 0))
            async with asyncio.timeout(ANSWER_SECONDS):
                await loop.sock_connect(sock, ("127.0.0.1", port))
                await loop.sock_sendall(sock, head)
                while b"\r\n\r\n" not in answer and (data := await loop.sock_recv(sock, 4_096)):
                    answer += data
        except TimeoutError:
            answers["no answer"] += 1
            return
        except OSError:
            answers["closed"] += 1
            return
    status = answer[9:12].decode("ascii", "replace") or "closed"
    answers[status] += 1
    waits = re.search(rb"(?i)^retry-after: (\d+)", answer, re.MULTILINE)
    if status == "429" and (waits is None or int(waits[1]) < 1):
        answers["429 without Retry-After"] += 1


async def flood(source: str, port: int, token: str, count: int, rate: float) -> dict[str, object]:
    """Open ``count`` connections, ``rate`` a second; give what came of them."""
    head = HEAD.format(port=port, token=token).encode("ascii")
    answers: Counter[str] = Counter()
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            group.create_task(connect(source, port, head, answers))
        seconds = time.monotonic() - began
    return {"count": count, "seconds": seconds, "rate": count / seconds, "answers": answers}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--count", type=int, default=3_000)
    parser.add_argument("--rate", type=float, default=1_000.0)
    given = parser.parse_args()
    result = flood(given.source, given.port, given.token, given.count, given.rate)
    print(json.dumps(asyncio.run(result)))


if __name__ == "__main__":
    main()
