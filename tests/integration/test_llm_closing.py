"""Who asked an LLM hangs up at the end: the manager, and the edges on the server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import websockets

from coda_voice import VoiceManager
from coda_voice.config import VoiceConfig
from coda_voice.moshi.engine import Engine
from coda_voice.server.app import create_app
from coda_voice.server.run import listen, make_server
from tests.integration.hybrid_talk import HybridTalk
from tests.integration.llm_server import sse


class KeptOpen:
    """An OpenAI-compatible server that says "Seven." and keeps the connection for the next turn."""

    def __init__(self) -> None:
        self.answered = 0
        self.open = 0
        self.all_gone = asyncio.Event()
        self._serving: set[asyncio.Task[None] | None] = set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.add(asyncio.current_task())
        self.open += 1
        while head := (await reader.readline()).decode():
            length = 0
            while head.strip():
                length = int(head.split(":")[1]) if head.lower().startswith("content-l") else length
                head = (await reader.readline()).decode()
            await reader.readexactly(length)
            frames = [sse({"content": "Seven."}), sse({}, "stop")]
            body = "".join(f"data: {json.dumps(f)}\n\n" for f in frames) + "data: [DONE]\n\n"
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                + f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
            )
            await writer.drain()
            self.answered += 1
        self.open -= 1
        if not self.open:
            self.all_gone.set()
        writer.close()
        await writer.wait_closed()

    async def __aenter__(self) -> KeptOpen:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        async with asyncio.timeout(30):
            await asyncio.gather(*(task for task in self._serving if task))


def settings(llm: KeptOpen) -> dict[str, Any]:
    return {
        "mode": "hybrid",
        "moshi": {"device": "cpu", "seed": 5},
        "external_llm": {"provider": "openai", "endpoint": llm.url, "fallback_enabled": False},
        "logging": {"level": "error"},
        "server": {"port": 0},
    }


async def test_a_managers_llm_is_let_go_when_it_shuts_down(engine: Engine):
    async with KeptOpen() as llm:
        async with VoiceManager(settings(llm), engine=engine) as manager:
            talk = await HybridTalk.begin(manager)
            manager.send_text(talk.conversation.id, "what is three plus four")
            await talk.until(lambda: llm.answered > 0, 3_000)
            assert llm.open, "the connection is kept for the next turn"
        async with asyncio.timeout(30):
            await llm.all_gone.wait()


QUESTION = {
    "type": "response.create",
    "response": {
        "conversation": "none",
        "output_modalities": ["text"],
        "input": [
            {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "what is three plus four?"}],
            }
        ],
    },
}


async def test_the_llm_of_the_edges_is_let_go_when_the_server_stops(engine: Engine):
    async with (
        KeptOpen() as llm,
        VoiceManager(settings(llm), engine=engine) as manager,
    ):
        app = create_app(VoiceConfig.from_dict(settings(llm)), manager=manager)
        listening = listen(app.state.front.settings)
        server = make_server(app)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        url = f"ws://127.0.0.1:{listening.getsockname()[1]}/v1/realtime?model=coda-tiny"
        async with asyncio.timeout(120), websockets.connect(url) as socket:
            await socket.send(json.dumps(QUESTION))
            while (told := json.loads(await socket.recv()))["type"] != "response.done":
                assert told["type"] != "error", told
            assert "Seven." in json.dumps(told)
        assert llm.open
        server.should_exit = True
        await serving
        listening.close()
        async with asyncio.timeout(30):
            await llm.all_gone.wait()
        assert app.state.front.manager is manager, "the application is still there: it hung up"
