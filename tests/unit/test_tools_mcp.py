"""MCP servers: real processes over stdio and HTTP, good and broken ones side by side."""

import asyncio
import sys
from pathlib import Path

import psutil
import pytest
from coda_tools import ToolRegistry, tool
from coda_tools.mcp_servers import McpServers

from coda_voice.errors import ConfigurationError
from tests.mcp_help import SERVER, STDIO, http_server

SECRETIVE = str(Path(SERVER).with_name("mcp_secretive.py"))


async def test_the_tools_of_a_stdio_server_are_called_checked_and_survive_its_death():
    @tool
    def add(first: str) -> str:
        """Add a name to the list."""
        return first

    registry = ToolRegistry([add])
    broken = {"command": "/nowhere/such-server"}
    async with McpServers({"mcpServers": {"sums": STDIO, "broken": broken}}, registry) as servers:
        assert "broken" in servers.failures and "cannot be used" in servers.failures["broken"]
        by_name = {spec.name: spec for spec in registry.specs()}
        assert by_name["sums_add"].description == "Add two numbers."
        assert by_name["sums_add"].cancellable and not by_name["sums_add"].dangerous
        assert by_name["erase"].dangerous and not by_name["erase"].cancellable

        good = await registry.call("sums_add", {"a": 3, "b": 4})
        assert (good.success, good.result) == (True, "7")
        wrong = await registry.call("sums_add", {"a": "three", "b": 4})
        assert wrong.fault == "invalid_arguments" and "a: 'three' is not" in (wrong.error or "")
        failed = await registry.call("fail", {})
        assert failed.fault == "failed" and "sensor is broken" in (failed.error or "")

        dead = await registry.call("die", {})
        assert dead.fault == "failed" and "sums" in (dead.error or "")
        again = await registry.call("sums_add", {"a": 20, "b": 22})
        assert again.result == "42"
    assert [spec.name for spec in registry.specs()] == ["add"]


async def test_calls_that_were_lost_with_a_server_do_not_take_the_next_one_down():
    told = []
    registry = ToolRegistry()
    async with McpServers({"sums": STDIO}, registry, report=lambda change: told.append(change)):
        lost = await asyncio.gather(
            *(registry.call("hang", {}) for _ in range(3)), registry.call("die", {})
        )
        assert [outcome.fault for outcome in lost] == ["failed"] * 4
        assert (await registry.call("add", {"a": 20, "b": 22})).result == "42"
        assert [change.state for change in told] == ["ready", "gone", "ready"]


async def test_an_http_server_serves_and_a_call_that_hangs_is_given_up():
    async with http_server() as url:
        registry = ToolRegistry()
        async with McpServers({"home": {"url": url, "timeout": 3.0}}, registry) as servers:
            assert servers.failures == {}
            results = await asyncio.gather(
                registry.call("hang", {}), registry.call("add", {"a": 1, "b": 2})
            )
            assert results[0].fault in ("timeout", "failed")
            assert results[1].result == "3"
            assert (await registry.call("add", {"a": 5, "b": 6})).result == "11"


async def test_an_http_server_that_is_not_there_is_named_and_the_rest_goes_on():
    registry = ToolRegistry()
    config = {"gone": {"url": "http://127.0.0.1:9/mcp", "connect_timeout": 5.0}}
    async with McpServers(config, registry) as servers:
        assert "gone" in servers.failures["gone"]
    assert list(registry.specs()) == []


async def test_a_server_that_never_tells_its_tools_is_given_up_told_of_and_ended():
    secretive = {"command": sys.executable, "args": [SECRETIVE], "connect_timeout": 5.0}
    registry, told = ToolRegistry(), []
    config = {"secretive": secretive, "sums": {**STDIO, "connect_timeout": 60.0}}
    async with asyncio.timeout(100), McpServers(config, registry, report=told.append) as servers:
        assert "cannot be listed: no answer within 5 s" in servers.failures["secretive"]
        assert {(change.server, change.state) for change in told} == {
            ("secretive", "failed"), ("sums", "ready"),
        }  # fmt: skip
        assert (await registry.call("add", {"a": 3, "b": 4})).result == "7"
        children = psutil.Process().children(recursive=True)
        assert not [child for child in children if SECRETIVE in child.cmdline()]


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"a": {"command": "x", "url": "http://y"}}, "either a command or a url"),
        ({"a": {"comand": "x"}}, "mcpServers.a"),
        ({"mcpServers": ["x"]}, "mapping"),
    ],
)
def test_a_wrong_configuration_says_what_is_wrong(config, says):
    with pytest.raises(ConfigurationError, match=says):
        McpServers(config, ToolRegistry())
