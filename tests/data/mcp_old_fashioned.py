"""An MCP server of before 2026: after a call it says unasked that it has another tool."""

from mcp_by_hand import requests, say, text, tool, tools_have_changed

name = "first"
for asked, answer in requests("old-fashioned"):
    if asked["method"] == "tools/list":
        say({**answer, "result": {"tools": [tool(name)]}})
        continue
    say({**answer, "result": text(f"called {asked['params']['name']}")})
    if name == "first":
        name = "second"
        tools_have_changed()
