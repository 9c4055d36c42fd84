"""What accompanies a conversation on the thought clock: the seam for LLM, memory and others.

An attendant is told what happens in one conversation (a frame, a new user turn, the user's
words while they are spoken, what the agent said) and may act on it: through the
conversation's slot (``steer``, ``prime``, ``reference``, ``mute``), and by publishing events.
It is called in the event loop's thread and must return at once; what takes longer it does
in a task of its own, which ``closed`` cancels. One that raises is reported by one event and
called no more; the conversation goes on without it.

    class Greeter(Attendant):
        name = "greeter"

        def user_text(self, said: UserText) -> None:
            if said.final:
                print(self.conversation.id, said.generation, said.text)

    manager = VoiceManager(config, attendants=[lambda conversation: Greeter()])
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from coda_voice.events import AttendantFailed

if TYPE_CHECKING:
    from coda_voice.conversation import Conversation
    from coda_voice.heard import Heard
    from coda_voice.moshi.frames import Word

logger = logging.getLogger(__name__)

READY_SECONDS = 5.0
"""How long a conversation's start waits for an attendant; then it begins all the same."""


@dataclass(frozen=True, slots=True)
class UserText:
    """What the user has said in this turn so far, or, if ``final``, in the whole of it.

    A partial text holds all words since the turn began and may still change. A final one
    may be empty: the voice detector heard a voice and nobody understood a word. ``time`` is
    the conversation's frame clock in seconds, ``words`` have their own times (none where the
    user ``typed``), ``end`` is where the user's speech ended, if it has.
    """

    text: str
    final: bool
    generation: int
    time: float
    words: tuple[Word, ...] = ()
    end: float | None = None
    typed: bool = False


class Attendant:
    """Base of all attendants; every method does nothing until it is overridden."""

    name: ClassVar[str] = "attendant"
    """For events and logs."""

    conversation: Conversation
    """Set by ``begin``: its ``id``, ``user_id``, ``slot``, ``seconds``, ``generation``,
    ``publish(event)``; ``voice`` says something aloud."""

    def begin(self, conversation: Conversation) -> None:
        """The conversation has its slot; no frame has been offered yet."""
        self.conversation = conversation

    async def ready(self) -> None:
        """Wait for what the first frame should not come before (a prompt, say)."""

    def offered(self, voiced: bool) -> None:
        """The user's next frame is about to be pushed; ``voiced``: a voice is in it."""

    def heard(self, heard: Heard) -> None:
        """The engine answered a frame: the agent's sound and words, and what followed."""

    def turn_began(self, generation: int) -> None:
        """The user began to speak (or typed): a new user turn with a higher generation."""

    def interrupted(self) -> None:
        """Somebody asked for silence: what is being said or thought is not wanted any more."""

    def user_text(self, said: UserText) -> None:
        """More of the user's words are known, or (``said.final``) all of the turn."""

    def agent_said(self, text: str, generation: int) -> None:
        """A stretch of the agent's speech is over: its words, as far as they were heard."""

    async def recollect(self, said: str) -> None:
        """Wait until ``conversation.notes`` tell what matters to ``said``, which an LLM answers.

        Whoever waits does so for a fraction of a second, and then goes without.
        """

    def closed(self) -> None:
        """The conversation ends: stop at once. Called once, whatever happened before."""

    async def aclose(self) -> None:
        """Wait until what ``closed`` stopped has let go (connections, threads)."""


AttendantFactory = Callable[["Conversation"], Attendant | None]
"""Makes the attendant of a conversation that begins; None for those it leaves alone."""


class Attendants:
    """All attendants of one conversation; calls each, and goes on without those that fail."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._active: list[Attendant] = []
        self._all: list[Attendant] = []

    def add(self, attendant: Attendant) -> None:
        """Let ``attendant`` begin; from now on it is told what happens."""
        self._all.append(attendant)
        self._active.append(attendant)
        self._guarded(attendant, lambda: attendant.begin(self._conversation))

    def __iter__(self) -> Iterator[Attendant]:
        return iter(tuple(self._active))

    async def ready(self) -> None:
        """See ``Attendant.ready``; waits a few seconds at most."""
        for attendant in self:
            try:
                async with asyncio.timeout(READY_SECONDS):
                    await attendant.ready()
            except Exception as error:
                logger.exception("attendant %s did not get ready", attendant.name)
                self._report(attendant, error)

    def offered(self, voiced: bool) -> None:
        """See ``Attendant.offered``."""
        self._each(lambda attendant: attendant.offered(voiced))

    def heard(self, heard: Heard) -> None:
        """See ``Attendant.heard``."""
        self._each(lambda attendant: attendant.heard(heard))

    def turn_began(self, generation: int) -> None:
        """See ``Attendant.turn_began``."""
        self._each(lambda attendant: attendant.turn_began(generation))

    def interrupted(self) -> None:
        """See ``Attendant.interrupted``."""
        self._each(lambda attendant: attendant.interrupted())

    def user_text(self, said: UserText) -> None:
        """See ``Attendant.user_text``."""
        self._each(lambda attendant: attendant.user_text(said))

    def agent_said(self, text: str, generation: int) -> None:
        """See ``Attendant.agent_said``."""
        self._each(lambda attendant: attendant.agent_said(text, generation))

    async def recollect(self, said: str) -> None:
        """See ``Attendant.recollect``."""
        for attendant in self:
            try:
                await attendant.recollect(said)
            except Exception as error:
                logger.exception("attendant %s did not recollect", attendant.name)
                self._report(attendant, error)

    def closed(self) -> None:
        """End all, those that failed before included: they may hold something open."""
        for attendant in self._all:
            self._guarded(attendant, attendant.closed)
        self._active.clear()

    async def aclose(self) -> None:
        """See ``Attendant.aclose``."""
        for attendant in self._all:
            try:
                await attendant.aclose()
            except Exception as error:
                logger.exception("attendant %s failed to close", attendant.name)
                self._report(attendant, error)

    def _each(self, call: Callable[[Attendant], None]) -> None:
        for attendant in tuple(self._active):
            self._guarded(attendant, partial(call, attendant))

    def _guarded(self, attendant: Attendant, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            # Whatever it was: a companion of the conversation must not be able to end it.
            logger.exception("attendant %s failed and is switched off", attendant.name)
            if attendant in self._active:
                self._active.remove(attendant)
            self._report(attendant, error)

    def _report(self, attendant: Attendant, error: Exception) -> None:
        self._conversation.publish(
            AttendantFailed(
                conversation_id=self._conversation.id,
                time=self._conversation.seconds,
                generation=self._conversation.generation,
                attendant=attendant.name,
                message=f"{type(error).__name__}: {error}",
            )
        )
