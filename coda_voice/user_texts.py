"""The user's words by turn, as attendants and events get them: partial while he speaks, then final.

Where the words come from does not matter: of a transcriber's frames, of typing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from coda_voice.attendants import UserText
from coda_voice.events import Event, SpeechEnded, Transcript, TranscriptWord, WordSpoken
from coda_voice.moshi.frames import FRAME_SECONDS, FrameOut
from coda_voice.moshi.transcript import UserTranscript, Utterance


class UserTexts:
    """Makes ``UserText`` of one conversation's frames."""

    def __init__(self) -> None:
        self.transcript = UserTranscript()
        self._end: float | None = None
        self._last: tuple[str, bool] = ("", False)
        self._typed: int | None = None

    def begin_turn(self, generation: int, not_before: float = 0.0) -> None:
        """Begin a turn: what was said before, or begun before ``not_before``, is the last one's."""
        self.transcript.begin_turn(generation, not_before)
        self._end = None
        self._last = ("", False)
        self._typed = None

    def cut(self, now: float) -> UserText | None:
        """End a turn that is still being spoken, at ``now``; None if there is no word of it."""
        utterance = self.transcript.utterance
        if utterance.final or not utterance.words:
            return None
        words = utterance.words
        text = " ".join(word.text for word in words)
        return UserText(text, True, utterance.generation, now, words, end=now)

    def typed(self, generation: int, now: float) -> None:
        """Begin a turn that is typed: what was spoken before ``now`` is none of it."""
        self.begin_turn(generation, not_before=now)
        self._typed = generation

    def of_its_own(self, said: UserText, next_turn: Callable[[], int]) -> UserText | None:
        """Give what is spoken on after a turn was typed a turn of its own, ``next_turn``.

        None where there is not a word of it.
        """
        if said.generation != self._typed:
            return said
        if not said.text.strip():
            return None
        self._typed = None
        generation = next_turn()
        self.transcript.go_on_as(generation)
        return replace(said, generation=generation)

    def frame(self, frame: FrameOut, events: Iterable[Event]) -> list[UserText]:
        """Take the next frame, and what followed from it; give what is new of the user's words."""
        utterance = self.transcript.push(frame)
        said = [] if utterance is None else self._text(utterance, frame)
        for event in events:
            if isinstance(event, SpeechEnded) and event.speaker == "user":
                self._end = event.time
                ended = self.transcript.end_turn() or self.transcript.utterance
                said += self._text(ended, frame)
        return said

    def _text(self, utterance: Utterance, frame: FrameOut) -> list[UserText]:
        words = utterance.words
        # A word that is still being written would only mislead; it comes with the next frames.
        text = utterance.text if utterance.final else " ".join(word.text for word in words)
        if (text, utterance.final) == self._last:
            return []
        self._last = (text, utterance.final)
        now = frame.time + FRAME_SECONDS
        return [UserText(text, utterance.final, utterance.generation, now, words, end=self._end)]


def events_of(conversation_id: str, said: UserText) -> list[Event]:
    """Give the events that tell of it: the transcript, and of a final one its words."""
    told: list[Event] = [
        Transcript(
            conversation_id=conversation_id,
            time=said.time,
            generation=said.generation,
            text=said.text,
            final=said.final,
            words=tuple(TranscriptWord(text=w.text, start=w.start, end=w.end) for w in said.words),
            typed=said.typed,
        )
    ]
    if said.final:
        told += [
            WordSpoken(
                conversation_id=conversation_id,
                time=word.start,
                generation=said.generation,
                speaker="user",
                text=word.text,
                start=word.start,
                end=word.end,
                sentence_end=word.sentence_end,
            )
            for word in said.words
        ]
    return told
