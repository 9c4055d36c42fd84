"""What others ask of the engine's thread, to be done between two frames."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from coda_voice.errors import ConversationError
from coda_voice.moshi.mailbox import Mailbox

T = TypeVar("T")
Command = Callable[[], None]

_MAX_COMMANDS = 1_024


class Commands:
    """A bounded queue of commands: anybody posts, one thread runs them in order.

    ``wake`` is called after each post, so that the thread looks again.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._waiting: Mailbox[Command] = Mailbox(_MAX_COMMANDS)
        self._wake = wake
        self._closed = False

    def post(self, command: Command) -> None:
        """Have a command run. Raises ConversationError when too many wait."""
        if not self._waiting.put(command):
            raise ConversationError(
                "the engine has more commands waiting than it can hold; send fewer"
            )
        self._wake()
        if self._closed:
            self.run_all()  # nobody else will, and somebody may wait for the answer

    def ask(self, answer: Callable[[], T]) -> Future[T]:
        """Have a question answered between two frames."""
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(answer())
            except (ConversationError, RuntimeError, KeyError) as error:
                future.set_exception(error)  # a slot that is gone, a snapshot of another model

        self.post(run)
        return future

    def run_all(self) -> None:
        """Run what waits. Only the engine's thread calls this."""
        while (command := self._waiting.get()) is not None:
            command()

    def close(self) -> None:
        """The thread ends: what is posted from now on finds no slot, and is told so at once."""
        self._closed = True
        self.run_all()

    def __len__(self) -> int:
        return len(self._waiting)
