"""An MCP server whose tools are those named in a file, and change when it is told.

Over stdio, or (with a port behind the file) over streamable HTTP.
"""

import os
import sys
from pathlib import Path

from mcp.server import MCPServer
from mcp.server.mcpserver import Context

server = MCPServer("changing", log_level="ERROR")
names = Path(sys.argv[1])


def offer(name: str) -> None:
    """Offer a tool that says its name."""
    server.add_tool(lambda: name, name=name, description=f"Say {name}.")


@server.tool()
def die() -> str:
    """Take the whole server down."""
    os._exit(3)


@server.tool()
async def change(gone: str, new: str, context: Context) -> str:
    """Offer another tool in place of one."""
    server.remove_tool(gone)
    offer(new)
    await context.notify_tools_changed()
    return "changed"


if __name__ == "__main__":
    for each in names.read_text().split():
        offer(each)
    if len(sys.argv) > 2:
        server.run("streamable-http", port=int(sys.argv[2]))
    else:
        server.run("stdio")
