"""MCP servers that the settings name, in whole conversations: their tools, their deaths."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
from coda_tools import tool

from coda_voice import VoiceManager
from coda_voice.composition import HouseTools
from coda_voice.config import VoiceConfig
from coda_voice.events import Event, ScriptEnded, ToolEnded, ToolServerChanged
from coda_voice.moshi.engine import Engine
from tests.integration.hybrid_talk import HybridTalk
from tests.integration.llm_server import LlmServer, calls, done, frame, text

SERVER = str(Path(__file__).parents[1] / "data" / "mcp_server.py")
READ = 1_500


def answer(request: dict[str, Any]) -> list[Any]:
    """Call the tool that the user names, and read out what it gives."""
    last = request["messages"][-1]
    if last["role"] == "tool":
        return text(f"It says {last['content']}.", prompt_eval_count=READ)
    name = last["content"].split()[-1]
    arguments = {"a": 3, "b": 4} if name.endswith("add") else {}
    return [frame(tool_calls=calls((name, arguments))), done(prompt_eval_count=READ)]


def offered(server: LlmServer) -> set[str]:
    """The tools that the LLM was told of in the last turn."""
    told = next(r["tools"] for r in reversed(server.requests) if r.get("tools"))
    return {tool["function"]["name"] for tool in told}


def serving() -> list[psutil.Process]:
    """The MCP servers that this process has running."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [child] if SERVER in child.cmdline() else []
    return found


@contextlib.asynccontextmanager
async def talking(
    engine: Engine, settings: Path, *tools: Any
) -> AsyncIterator[tuple[HybridTalk, LlmServer, list[ToolServerChanged]]]:
    """A conversation by a file of settings; and what is told of the servers from the start."""
    changes: list[ToolServerChanged] = []
    all_told = asyncio.Event()

    def note(event: Event) -> None:
        if isinstance(event, ToolServerChanged):
            changes.append(event)
            if {change.server for change in changes} == config.integration.mcp_servers.keys():
                all_told.set()

    async with LlmServer(answer) as server:
        config = VoiceConfig.load(settings, env={}, external_llm={"endpoint": server.url})
        manager = VoiceManager(config, engine=engine, tools=HouseTools(*tools))
        manager.events.listen(note)
        async with manager:
            talk = await HybridTalk.begin(manager)
            if config.integration.tools_enabled:
                async with asyncio.timeout(120):
                    await all_told.wait()
            yield talk, server, changes


async def ask(talk: HybridTalk, tool_name: str) -> str:
    """Have the LLM call a tool; gives what is said aloud then."""
    before = len(talk.of(ScriptEnded))
    talk.manager.send_text(talk.conversation.id, f"tell me everything about the tool {tool_name}")
    await talk.until(lambda: len(talk.of(ScriptEnded)) > before, 3_000)
    return talk.of(ScriptEnded)[-1].heard


def settings(tmp_path: Path, *servers: str) -> Path:
    file = tmp_path / "hybrid.yaml"
    lines = "\n".join(f"    {server}" for server in servers)
    file.write_text(
        "mode: hybrid\nmoshi: {device: cpu, seed: 5}\nhybrid: {filler_after: 60}\n"
        "external_llm: {provider: ollama, fallback_enabled: false}\n"
        f"integration:\n  mcp_servers:\n{lines}\n"
    )
    return file


# A busy machine takes its time to start a server.
SUMS = f"sums: {{command: {sys.executable}, args: [{SERVER}], timeout: 60, connect_timeout: 60}}"


async def test_a_tool_of_an_mcp_server_answers_aloud_dies_and_comes_back(
    engine: Engine, tmp_path: Path
):
    @tool
    def erase() -> str:
        """Be here before the server's tool of this name."""
        return "nothing"

    file = settings(tmp_path, SUMS, "broken: {command: /nowhere/such-server}")
    async with talking(engine, file, erase) as (talk, server, changes):
        assert await ask(talk, "add") == "It says seven."
        assert {"add", "sums_erase", "erase", "calculate"} <= offered(server)
        status = await talk.manager.get_system_status()
        assert status.tool_servers["sums"] == "ready: add, sums_erase, fail, hang, die"
        assert status.tool_servers["broken"].startswith("failed: The MCP server 'broken'")

        await ask(talk, "die")
        assert talk.of(ToolEnded)[-1].outcome == "failed"
        assert "is gone" in (talk.of(ToolEnded)[-1].error or "")
        assert await ask(talk, "erase") == "It says nothing.", "other tools go on"
        assert await ask(talk, "add") == "It says seven.", "it has been started again"
        assert len(serving()) == 1
    assert [(c.server, c.state) for c in changes if c.server == "broken"] == [("broken", "failed")]
    assert [c.state for c in changes if c.server == "sums"] == ["ready", "gone", "ready"]
    assert not serving(), "it ends with the manager"


async def test_a_server_that_does_not_answer_is_waited_for_in_vain_only_once(
    engine: Engine, tmp_path: Path
):
    mute = f"mute: {{command: {sys.executable}, args: [-c, 'import sys; sys.stdin.read()']"
    file = settings(tmp_path, f"{mute}, connect_timeout: 0.3}}")
    async with talking(engine, file) as (talk, server, changes):
        assert [(c.state, "no answer within 0.3 s" in c.reason) for c in changes] == [
            ("failed", True)
        ]
        assert await ask(talk, "get_date"), "the rest goes on"
        assert "get_date" in offered(server)
        await talk.manager.start_conversation()
        assert len(changes) == 1


async def test_a_server_that_never_tells_its_tools_does_not_stay_starting_for_ever(
    engine: Engine, tmp_path: Path
):
    script = str(Path(SERVER).with_name("mcp_secretive.py"))
    secretive = f"secretive: {{command: {sys.executable}, args: [{script}], connect_timeout: 5}}"
    async with talking(engine, settings(tmp_path, secretive)) as (talk, _server, changes):
        assert [(change.server, change.state) for change in changes] == [("secretive", "failed")]
        status = await talk.manager.get_system_status()
        assert "cannot be listed" in status.tool_servers["secretive"]
        assert await ask(talk, "get_date"), "the rest goes on"


async def test_without_tools_no_server_is_started(engine: Engine, tmp_path: Path):
    file = settings(tmp_path, SUMS)
    file.write_text(f"{file.read_text()}  tools_enabled: false\n")
    async with talking(engine, file) as (_talk, _server, changes):
        assert not serving() and not changes
