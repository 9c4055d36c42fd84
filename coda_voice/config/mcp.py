"""Settings of an MCP server whose tools the LLM may call: a command to run, or an address."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class McpServer(BaseModel):
    """One server: ``command`` is spoken to over stdio, ``url`` over HTTP; times in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    command: str | None = None
    args: list[str] = Field(default_factory=list)
    env: dict[str, str] | None = None
    """Variables beside the few that every server gets (PATH, HOME, …)."""
    cwd: str | None = None
    url: str | None = None
    headers: dict[str, str] | None = None
    timeout: float = Field(default=10.0, gt=0)
    """Of a call."""
    connect_timeout: float = Field(default=20.0, gt=0)
    dangerous: bool = False
    """Ask the user aloud before each call, whatever the server says of its tools."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.command is None) == (self.url is None):
            raise ValueError("must be a server with either a command or a url")
        return self
