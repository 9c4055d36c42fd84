"""Protocols as pure translation: messages to commands, outputs to messages; no sockets here."""

from __future__ import annotations

from typing import Protocol

from coda_voice.server.commands import Command
from coda_voice.server.outputs import Output

Message = str | bytes


class Codec(Protocol):
    """One connection's translator. Both ways may keep state; neither waits."""

    def receive(self, message: Message) -> list[Command]:
        """Say what a client's message means. Raises ProtocolError, and nothing else."""

    def send(self, output: Output) -> list[Message]:
        """Put an output into messages; none if the protocol has no words for it."""
