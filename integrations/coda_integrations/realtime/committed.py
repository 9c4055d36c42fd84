"""Which of the user's words belong to which item, where the client commits.

The voice detector knows nothing of commits: a turn may have pauses in it, and what is
committed may not have been heard yet. So words are kept by when they were said, and an item
gets its own once all sound before its commit has been heard and understood.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from openai.types.realtime import RealtimeConversationItemUserMessage

from coda_voice.attendants import UserText
from coda_voice.events import SpeechEnded, SpeechStarted
from coda_voice.heard import Heard
from coda_voice.moshi.frames import FRAME_SECONDS

Understood = tuple[RealtimeConversationItemUserMessage, UserText]
"""An item, and all words of it."""
SURE_SECONDS = 0.4
"""So much later the voice detector has told of a speech that began before a commit."""
MAX_STRETCHES = 256
"""Of speech that nobody has committed; the oldest go."""
MAX_ITEMS = 64
"""That wait for their words; the oldest go without."""


class CommittedWords:
    """Takes sound, commits and words as they come; ``heard`` gives the items that are complete.

    All times are seconds on the conversation's frame clock.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._until = 0.0
        """Where what was appended so far ends."""
        self._speaking_since: float | None = None
        self._starts: deque[float] = deque(maxlen=MAX_STRETCHES)
        """When somebody began to speak, of what no item has been given its words yet."""
        self._stretches: dict[int, UserText] = {}
        """The words of each stretch of speech, by generation."""
        self._given = -1
        """The last generation whose words were given; what still comes of it is too late."""
        self._waiting: deque[tuple[RealtimeConversationItemUserMessage | None, float]] = deque(
            maxlen=MAX_ITEMS
        )
        """Items in order, each with the end of its sound; None for sound that was cleared."""

    def appended(self, seconds: float) -> None:
        """Sound has come: it is heard at once, or after what is waiting."""
        self._until = max(self._until, self._now) + seconds

    def committed(self, item: RealtimeConversationItemUserMessage) -> str | None:
        """All sound since the last commit is an item; gives what is understood of it by now."""
        begin = self._waiting[-1][1] if self._waiting else 0.0
        self._waiting.append((item, self._until))
        known = [s for s in self._stretches.values() if begin <= _start(s) < self._until]
        return _text(known) or None

    def cleared(self) -> None:
        """What has not been heard never will be; what was said since the last commit is void."""
        self._until = min(self._until, self._now)
        for _ in range(len(self._waiting)):
            item, end = self._waiting.popleft()
            self._waiting.append((item, min(end, self._until)))
        self._waiting.append((None, self._until))

    def understood(self, said: UserText) -> None:
        """Take in the final words of a stretch of speech; they may come again with more."""
        if said.generation <= self._given:
            return
        self._stretches[said.generation] = said
        if len(self._stretches) > MAX_STRETCHES:
            del self._stretches[min(self._stretches)]

    def heard(self, heard: Heard) -> list[Understood]:
        """Take the next frame, whose words are known already; give what is complete with it."""
        self._now = heard.frame.time + FRAME_SECONDS
        for event in heard.events:
            if isinstance(event, SpeechStarted) and event.speaker == "user":
                self._speaking_since = event.time
                self._starts.append(event.time)
            elif isinstance(event, SpeechEnded) and event.speaker == "user":
                self._speaking_since = None
        complete: list[Understood] = []
        while self._waiting and self._is_over(self._waiting[0][1]):
            item, end = self._waiting.popleft()
            said = self._take(end) or self._nothing(end)
            while self._starts and self._starts[0] < end:
                self._starts.popleft()
            if item is not None and said is not None:
                complete.append((item, said))
        return complete

    def _is_over(self, end: float) -> bool:
        since = self._speaking_since
        return self._now >= end + SURE_SECONDS and (since is None or since >= end)

    def _take(self, end: float) -> UserText | None:
        """Give all words of the stretches that began before ``end``, as one text."""
        taken = [said for said in self._stretches.values() if _start(said) < end]
        if not taken:
            return None
        for said in taken:
            del self._stretches[said.generation]
        self._given = max(said.generation for said in taken)
        words = tuple(word for said in taken for word in said.words)
        return replace(taken[-1], text=_text(taken), words=words)

    def _nothing(self, end: float) -> UserText | None:
        """Give no words, where nobody has spoken; None where who spoke is not written down."""
        spoke = bool(self._starts) and self._starts[0] < end
        return None if spoke else UserText("", True, self._given, self._now, end=end)


def _text(stretches: Iterable[UserText]) -> str:
    return " ".join(said.text for said in stretches if said.text)


def _start(said: UserText) -> float:
    if said.words:
        return said.words[0].start
    return said.time if said.end is None else said.end
