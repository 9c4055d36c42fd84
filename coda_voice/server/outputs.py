"""What a session has for its client, whatever the protocol; and the bounded queue it waits in."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from coda_voice.events import Event
from coda_voice.heard import Heard
from coda_voice.moshi.frames import Pcm

AUDIO_FRAMES = 25
"""Frames that may wait for a slow reader: two seconds; older sound is worthless."""
MESSAGES = 256
SLOW_SECONDS = 10.0
"""A reader that has been losing audio for so long is told to go."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Every slot is taken; the client is ``position``-th in line."""

    position: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The conversation takes audio."""

    conversation_id: str
    resume_token: str
    resumed: bool
    resume_seconds: float
    sample_rate: int
    frames: int
    mode: str
    checkpoint: str
    muted: bool = False
    recorded: bool = False
    personality: str | None = None
    missed: bool = False
    """To one who came back: there were more messages than are kept, and some are gone."""
    under_way: int = 0
    """Frames of the agent that are still to come for what was sent before this moment."""


@dataclass(frozen=True, slots=True)
class AgentAudio:
    """80 ms of the agent: float32, mono, at the session's rate. ``heard`` is where it is from."""

    pcm: Pcm
    heard: Heard


@dataclass(frozen=True, slots=True)
class Happened:
    """An event of this conversation."""

    event: Event


@dataclass(frozen=True, slots=True)
class Dropped:
    """Audio was lost: the reader was too slow, or more was sent than could be heard."""

    where: Literal["output", "input"]
    frames: int


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Something the client asked for was done: ``mode``, ``personality`` or ``mute``."""

    what: Literal["mode", "personality", "mute"]
    value: object


@dataclass(frozen=True, slots=True)
class Pong:
    """Answer to a ping, in order with the audio."""

    id: object


@dataclass(frozen=True, slots=True)
class Failed:
    """Something went wrong; after a ``fatal`` failure the connection is closed."""

    code: str
    message: str
    fatal: bool = False
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Draining:
    """The server is shutting down; the conversation may go on for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Ended:
    """The conversation is over; nothing follows."""

    reason: str
    frames: int


Output = (
    Waiting | Ready | AgentAudio | Happened | Dropped | Confirmed | Pong | Failed | Draining | Ended
)


Lost = Callable[[Literal["output", "input"], int], None]
"""Is told of frames at the moment when they are lost; a reader of nothing is told nothing."""


def slow_reader() -> Failed:
    """Say why a reader that has been losing audio for SLOW_SECONDS must go."""
    message = f"You have been reading slower than real time for {SLOW_SECONDS:.0f} s."
    return Failed("slow_reader", message, fatal=True)


class Told:
    """The last events of a conversation: a socket that dies takes some along that were sent."""

    def __init__(self, events: int = MESSAGES) -> None:
        self._events: deque[Happened] = deque(maxlen=events)
        self._forgotten = 0
        """The id of the newest event that is not here any more."""

    def add(self, happened: Happened) -> None:
        """Keep an event; their ids rise."""
        if len(self._events) == self._events.maxlen:
            self._forgotten = self._events[0].event.id
        self._events.append(happened)

    def after(self, event_id: int) -> tuple[list[Happened], bool]:
        """Give the events after that of an id, and whether some of them are gone."""
        later = [happened for happened in self._events if happened.event.id > event_id]
        return later, self._forgotten > event_id


@dataclass(slots=True)
class Outbox:
    """Outputs in order, for one reader. Drops the oldest audio first, then the oldest message.

    ``behind_since`` is the time (by ``clock``) since when the reader has been losing audio
    without ever having caught up; None while it keeps up. ``lost`` counts what is dropped.
    """

    audio_frames: int = AUDIO_FRAMES
    messages: int = MESSAGES
    clock: Callable[[], float] = time.monotonic
    lost: Lost = lambda where, frames: None
    dropped_audio: int = 0
    dropped_messages: int = 0
    behind_since: float | None = None
    _items: deque[Output] = field(init=False)
    _audio: int = 0
    _untold: int = 0
    _replayed: int = 0
    _there: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._items = deque(maxlen=self.audio_frames + self.messages)

    def put(self, output: Output) -> None:
        """Add an output; never waits."""
        if isinstance(output, AgentAudio):
            if self._audio == self.audio_frames:
                self._drop(AgentAudio)
                self.dropped_audio += 1
                self._untold += 1
                self.lost("output", 1)
                if self.behind_since is None:
                    self.behind_since = self.clock()
            else:
                self._audio += 1
        elif len(self._items) - self._audio >= self.messages:
            self._drop(None)
            self.dropped_messages += 1
        self._items.append(output)
        self._there.set()

    def _drop(self, kind: type[AgentAudio] | None) -> None:
        for index, item in enumerate(self._items):
            if isinstance(item, AgentAudio) == (kind is AgentAudio):
                del self._items[index]
                return

    async def get(self) -> Output:
        """Take the oldest output; wait for one if there is none."""
        while not self._items:
            self.behind_since = None
            self._there.clear()
            await self._there.wait()
        if self._untold:
            dropped, self._untold = Dropped("output", self._untold), 0
            return dropped
        item = self._items.popleft()
        self._audio -= isinstance(item, AgentAudio)
        return item

    def put_back(self, output: Output) -> None:
        """Put first what was taken and could not be sent; sound is not: its moment has passed."""
        if isinstance(output, Happened) and output.event.id <= self._replayed:
            return
        if not isinstance(output, AgentAudio) and len(self._items) - self._audio < self.messages:
            self._items.appendleft(output)
            self._there.set()

    def replay(self, events: list[Happened], after: int) -> bool:
        """Put these events in the place of those that wait; whether there is room for all.

        They are all those after the one of the id ``after`` that the reader knows. What a former
        reader gives back later, of them or of those before, is here or known already.
        """
        kept = [item for item in self._items if not isinstance(item, Happened)]
        room = max(0, self.messages - sum(not isinstance(item, AgentAudio) for item in kept))
        self._items.clear()
        self._items.extend(events[len(events) - min(room, len(events)) :])
        self._items.extend(kept)
        self._replayed = events[-1].event.id if events else after
        self._there.set()
        return len(events) <= room

    def begin_anew(self) -> None:
        """Have another reader: the sound is not for it, nor how much the former one has lost.

        It is told how many frames there were before it came, and counts from there.
        """
        self.drop_audio()
        self._untold, self.behind_since = 0, None

    def drop_audio(self) -> int:
        """Throw away the audio that waits: its moment has passed. Gives how many frames."""
        kept = [item for item in self._items if not isinstance(item, AgentAudio)]
        lost = len(self._items) - len(kept)
        self._items.clear()
        self._items.extend(kept)
        self._audio = 0
        return lost

    @property
    def audio(self) -> int:
        """Frames of the agent that wait."""
        return self._audio

    def __len__(self) -> int:
        return len(self._items)
