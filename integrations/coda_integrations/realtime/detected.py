"""Which of the user's words belong to which item, where turns are detected.

For the voice detector a stretch of speech lasts until the user is silent for long enough. An
agent that answers sooner ends the user's item in the middle of it, and a user who goes on then
begins another one. Words come when the stretch is over, for all of its items at once.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from openai.types.realtime import RealtimeConversationItemUserMessage

from coda_integrations.realtime.committed import Understood
from coda_voice.attendants import UserText

MAX_ITEMS = 64
"""Of one stretch; the oldest go without words."""


class DetectedWords:
    """Takes the items of one stretch of speech after the other, and its words."""

    def __init__(self) -> None:
        self._items: deque[tuple[RealtimeConversationItemUserMessage, float]] = deque(
            maxlen=MAX_ITEMS
        )
        """Each with the end of its sound, in seconds on the frame clock."""
        self._said: UserText | None = None

    def began(self) -> None:
        """Begin another stretch; items that have no words by now get none."""
        self._items.clear()
        self._said = None

    def committed(self, item: RealtimeConversationItemUserMessage, end: float) -> None:
        """What was said up to ``end`` is an item."""
        self._items.append((item, end))

    def understood(self, said: UserText) -> None:
        """Take in the final words of the stretch: as a rule before its last item."""
        self._said = said

    def take(self) -> list[Understood]:
        """Give each item its words, the last one all that are left; nothing until they came.

        Not before the last item of the stretch was committed.
        """
        said = self._said
        if said is None or not self._items:
            return []
        items, self._said = list(self._items), None
        self._items.clear()
        words, text = list(said.words), said.text
        understood: list[Understood] = []
        for item, end in items[:-1]:
            count = next((at for at, word in enumerate(words) if word.start >= end), len(words))
            own, words = words[:count], words[count:]
            own_text = " ".join(word.text for word in own)
            text = text.removeprefix(own_text).strip()
            understood.append((item, replace(said, text=own_text, words=tuple(own))))
        return [*understood, (items[-1][0], replace(said, text=text, words=tuple(words)))]
