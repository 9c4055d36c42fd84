"""Tell how long the user waited for an answer: from the end of speech to its first word."""

from __future__ import annotations

from coda_voice.conversation import Conversation
from coda_voice.events import AnswerLatency
from coda_voice.scripted_voice import ScriptedVoice, Spoken


class AnswerTimer:
    """Publishes AnswerLatency, once for the filler and once for the answer of each turn."""

    def __init__(self, conversation: Conversation, voice: ScriptedVoice) -> None:
        self.user_end: float | None = None
        """Where the user's speech ended, on the frame clock; None while it goes on."""
        self._conversation = conversation
        self._voice = voice
        self._timed_generation = 0

    def look(self, generation: int) -> None:
        """Look whether a first word of the turn ``generation`` has been said; once a frame."""
        for spoken in self._voice.current():
            if self.user_end is None or spoken.generation != generation:
                continue
            if spoken.origin == "filler" and not spoken.timed and self._tell(spoken, 0):
                spoken.timed = True
            first = spoken.answer_from
            timed = self._timed_generation == spoken.generation
            if first is not None and not timed and self._tell(spoken, first):
                self._timed_generation = spoken.generation

    def _tell(self, spoken: Spoken, word: int) -> bool:
        began, end = self._voice.word_time(spoken, word), self.user_end
        if began is None or end is None:
            return False
        self._conversation.publish(
            AnswerLatency(
                conversation_id=self._conversation.id,
                time=began,
                generation=spoken.generation,
                seconds=max(0.0, began - end),
                kind="answer" if word == spoken.answer_from else "filler",
                offline=spoken.offline,
            )
        )
        return True
