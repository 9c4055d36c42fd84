"""Tools for a talking agent: a typed Python function with a docstring is a tool.

``tool`` makes one, ``ToolRegistry`` runs them, ``coda_tools.builtin`` has those that every
conversation has, ``coda_tools.mcp_servers`` brings those of MCP servers and
``coda_tools.coda_manager`` those of a Coda tool manager.
"""

from coda_tools.function_tool import FunctionTool, tool
from coda_tools.registry import Tool, ToolRegistry
from coda_tools.remote_tool import RemoteTool

__all__ = ["FunctionTool", "RemoteTool", "Tool", "ToolRegistry", "tool"]
