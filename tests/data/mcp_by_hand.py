"""MCP over stdio by hand, of before 2026: for servers that do what an SDK's would not."""

import json
import sys


def say(message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def tools_have_changed():
    say({"method": "notifications/tools/list_changed"})


def tool(name, **properties):
    schema = {"type": "object", **({"properties": properties} if properties else {})}
    return {"name": name, "inputSchema": schema}


def requests(name):
    """Each request but the first with its answer so far; who takes it says the answer."""
    for line in sys.stdin:
        asked = json.loads(line)
        if "id" not in asked:
            continue
        answer = {"id": asked["id"]}
        if asked["method"] == "initialize":
            answer["result"] = {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {"listChanged": True}},
                "serverInfo": {"name": name, "version": "1"},
            }
            say(answer)
        elif asked["method"] in ("tools/list", "tools/call"):
            yield asked, answer
        else:
            say({**answer, "error": {"code": -32601, "message": "Method not found"}})


def text(words):
    return {"content": [{"type": "text", "text": words}]}
