"""MCP servers whose tools change, and such as die, dawdle or talk too much: real processes."""

import asyncio
import contextlib
import sys
from pathlib import Path

import psutil
from coda_tools import ToolRegistry
from coda_tools.mcp_again import AskAgain
from coda_tools.mcp_servers import McpServers

from tests.mcp_help import SERVER, STDIO, Told, free_port, http_server, offered

CHANGING = str(Path(SERVER).with_name("mcp_changing.py"))
DIFFICULT = str(Path(SERVER).with_name("mcp_difficult.py"))
OLD_FASHIONED = str(Path(SERVER).with_name("mcp_old_fashioned.py"))


async def test_a_server_that_comes_back_has_the_tools_that_it_has_then(tmp_path):
    names = tmp_path / "names"
    names.write_text("tea coffee")
    registry, told = ToolRegistry(), Told()
    changing = {**STDIO, "args": [CHANGING, str(names)]}
    async with McpServers({"kitchen": changing}, registry, report=told.append) as servers:
        assert offered(registry) == {"die", "change", "tea", "coffee"}
        names.write_text("tea soup")
        await registry.call("die", {})
        await told.until(3)
        assert offered(registry) == {"die", "change", "tea", "soup"}
        assert (await registry.call("soup", {})).result == "soup"
        assert (await registry.call("coffee", {})).fault == "unknown_tool"
        assert [(change.state, "soup" in change.tools) for change in told] == [
            ("ready", False), ("gone", False), ("ready", True),
        ]  # fmt: skip
        assert servers.failures == {}
    assert offered(registry) == set()


async def test_a_server_that_says_so_is_asked_for_its_tools_again(tmp_path):
    names = tmp_path / "names"
    names.write_text("tea coffee")
    registry, told = ToolRegistry(), Told()
    changing = {**STDIO, "args": [CHANGING, str(names)]}
    async with McpServers({"kitchen": changing}, registry, report=told.append):
        await registry.call("change", {"gone": "coffee", "new": "soup"})
        await told.until(2)
        assert offered(registry) == {"die", "change", "tea", "soup"}
        assert (await registry.call("soup", {})).result == "soup"
        assert [change.state for change in told] == ["ready", "ready"]
        assert set(told[-1].tools) == offered(registry)


async def test_an_http_server_that_was_restarted_has_the_tools_that_it_has_then(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("coda_tools.mcp_connection.LISTEN_AGAIN_SECONDS", 0.2)
    names, port = tmp_path / "names", free_port()
    registry, told = ToolRegistry(), Told()
    async with contextlib.AsyncExitStack() as servers:
        names.write_text("tea coffee")
        async with http_server(CHANGING, str(names), port=port) as url:
            kitchen = {"kitchen": {"url": url, "timeout": 10.0}}
            await servers.enter_async_context(McpServers(kitchen, registry, report=told.append))
            assert offered(registry) == {"die", "change", "tea", "coffee"}
        names.write_text("tea soup")
        async with http_server(CHANGING, str(names), port=port):
            await registry.call("tea", {})  # whether or not it was listened to already
            await told.until_ready_with("soup")
            assert offered(registry) == {"die", "change", "tea", "soup"}
            assert (await registry.call("soup", {})).result == "soup"
            await servers.aclose()


async def test_a_server_of_an_older_protocol_says_so_unasked():
    registry, told = ToolRegistry(), Told()
    old = {**STDIO, "args": [OLD_FASHIONED]}
    async with McpServers({"old": old}, registry, report=told.append) as servers:
        assert servers.failures == {}
        assert offered(registry) == {"first"}
        assert (await registry.call("first", {})).result == "called first"
        await told.until(2)
        assert offered(registry) == {"second"}
        assert (await registry.call("second", {})).result == "called second"


def difficult(nature, *spoilt, **settings):
    return {"command": sys.executable, "args": [DIFFICULT, nature, *spoilt], **settings}


def process_of(script):
    children = psutil.Process().children(recursive=True)
    return next(child for child in children if script in child.cmdline())


async def test_a_long_call_that_starts_a_server_is_not_ended_by_listing_its_tools(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("coda_tools.mcp_again.RARELY_SECONDS", 6.0)  # when the call is over
    registry, told = ToolRegistry(), Told()
    spoilt = tmp_path / "spoilt"
    slow = difficult("slow", str(spoilt), timeout=20.0, connect_timeout=2.0)
    async with McpServers({"slow": slow}, registry, report=told.append):
        spoilt.touch()  # so that it is the call that starts it, and is there before the listing
        assert (await registry.call("die", {})).fault == "failed"
        await told.until(3)
        assert [change.state for change in told] == ["ready", "gone", "gone"]
        worked = await registry.call("work", {})
        assert (worked.result, worked.error) == ("worked", None)
        await told.until(4)
        assert told[-1].state == "ready"


async def test_a_server_that_dies_while_nobody_calls_it_is_started_again(tmp_path):
    names = tmp_path / "names"
    names.write_text("tea")
    registry, told = ToolRegistry(), Told()
    changing = {**STDIO, "args": [CHANGING, str(names)]}
    async with McpServers({"kitchen": changing}, registry, report=told.append) as servers:
        names.write_text("soup")
        process_of(CHANGING).kill()
        await told.until_ready_with("soup")
        assert [change.state for change in told] == ["ready", "gone", "ready"]
        assert (servers.failures, offered(registry)) == ({}, {"die", "change", "soup"})


async def test_a_server_that_says_so_whenever_it_is_asked_holds_nobody_up():
    registry = ToolRegistry()
    async with asyncio.timeout(60), McpServers({"it": difficult("restless")}, registry):
        assert (await registry.call("work", {})).result == "worked"


async def test_a_list_of_tools_that_is_none_is_a_failure_of_that_server():
    registry, told = ToolRegistry(), Told()
    config = {"hopeless": difficult("hopeless"), "garbled": difficult("garbled")}
    async with McpServers(config, registry, report=told.append) as servers:
        assert "cannot be listed" in servers.failures["hopeless"]
        await told.until(2)
        assert (await registry.call("work", {})).result == "worked"
        await told.until(4)
        assert [each.state for each in told if each.server == "garbled"] == [
            "ready", "gone", "ready",
        ]  # fmt: skip
        assert set(servers.failures) == {"hopeless"}


async def test_faults_of_tools_are_kept_apart_from_those_of_servers():
    registry = ToolRegistry()
    config = {"home": difficult("crooked"), "home.bend": {"command": "/nowhere/such-server"}}
    async with McpServers(config, registry) as servers:
        assert set(servers.failures) == {"home.bend"}
        assert "cannot be used" in servers.failures["home.bend"]
        assert "schema" in servers.tool_failures["home"]["bend"]


async def test_a_server_is_asked_once_for_all_reasons_and_later_each_time(monkeypatch):
    monkeypatch.setattr("coda_tools.mcp_again.SETTLE_SECONDS", 0.02)
    monkeypatch.setattr("coda_tools.mcp_again.RARELY_SECONDS", 60.0)
    asked: asyncio.Queue[str] = asyncio.Queue()
    again = AskAgain(asked.put_nowait)
    loop = asyncio.get_running_loop()
    assert again.once_more("kitchen")
    assert not again.once_more("kitchen"), "that was once more"
    began = loop.time()
    for _ in range(4):
        for _ in range(3):
            again.soon("kitchen")
        async with asyncio.timeout(30):
            assert await asked.get() == "kitchen"
        again.begun("kitchen")
    assert loop.time() - began >= 0.02 * (1 + 2 + 4 + 8) * 0.9
    assert asked.empty()
    again.at_once("kitchen")
    again.close()
    await asyncio.sleep(0.01)
    assert asked.empty()
