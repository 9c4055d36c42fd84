"""Has said what was written elsewhere: answers, announcements, greetings; in Moshi's voice, or
in that of a synthesizer.

The attendant of every conversation that owns its ``Speaker``: it tells the speaker when the
user is heard, makes events of what becomes of scripts, and lets announcements wait until
nobody speaks. What was heard of a script, and only that, is handed to those who asked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from coda_voice.attendants import Attendant
from coda_voice.conversation import Conversation
from coda_voice.errors import VoiceProcessingError
from coda_voice.events import ScriptEnded, ScriptStarted, VoiceFellBack
from coda_voice.heard import Heard
from coda_voice.hybrid.speakable import speakable
from coda_voice.moshi.capabilities import Capabilities
from coda_voice.moshi.frames import FRAME_SECONDS, Word
from coda_voice.moshi.script import Manners, Script, ScriptState
from coda_voice.moshi.speaking import Speaker
from coda_voice.moshi.spelling import Speller
from coda_voice.moshi.synthesizer import Synthesizer
from coda_voice.moshi.voice_over import VoiceOver
from coda_voice.protocols import Announcement, Scheduling

Origin = Literal["answer", "filler", "announcement", "greeting", "say"]

MAX_WAITING = 16
"""Announcements that wait for a pause; the oldest goes first when there are more."""
ANNOUNCEMENT_STALE = 750
"""Frames: what was announced is worth saying for a minute."""


@dataclass(eq=False)
class Spoken:
    """A script with what it is for; ``heard`` once it is over."""

    origin: Origin
    script: Script
    text: str
    generation: int
    offline: bool = False
    started: bool = False
    timed: bool = False
    """Whether it has been told when its first word was said."""
    answer_from: int | None = None
    """Number of the word with which the answer itself begins; None while it is only a filler."""
    on_end: Callable[[Spoken], None] | None = None
    announcement: Announcement | None = None
    heard: list[str] = field(default_factory=list)
    unsaid: int = 0
    """Words of it that could not be heard, once it is over."""

    @property
    def over(self) -> bool:
        """Whether nothing of it will be said any more."""
        return self.script.over


class ScriptedVoice(Attendant):
    """The scripts of one conversation; ``synthesizer``: who reads them in Moshi's place."""

    name: ClassVar[str] = "voice"

    def __init__(
        self, capabilities: Capabilities, speller: Speller, synthesizer: Synthesizer | None = None
    ) -> None:
        self._can = capabilities
        self._speller = speller
        self._synthesizer = synthesizer
        self._open: deque[Spoken] = deque(maxlen=8)
        self._recent: deque[Spoken] = deque(maxlen=8)
        """The latest scripts, those that are over included."""
        self._waiting: deque[Announcement] = deque(maxlen=MAX_WAITING)
        self._urgent: deque[Announcement] = deque(maxlen=MAX_WAITING)
        self.noted: Callable[[Announcement], None] | None = None
        """Told of the announcements that are not said aloud."""
        self.ended: Callable[[Spoken], None] | None = None
        """Told of every script that is over, with what was heard of it."""
        self.busy: Callable[[], bool] = lambda: False
        """Whether somebody is about to speak: then announcements wait."""
        self.asked: Callable[[], bool] = lambda: False
        """Whether a reply is expected at any moment: then even urgent ones wait."""
        self.dropped_announcements = 0
        self.speaker: Speaker

    def begin(self, conversation: Conversation) -> None:
        """Steer the slot from its first frame, so that steps and frames count alike."""
        super().begin(conversation)
        can, slot, spell = self._can, conversation.slot, self._speller
        manners = Manners(
            quiet_before=4,
            patience=3,
            tail_pads=can.tail_pad_frames,
            lead_every_word=can.lead_every_word,
        )
        tokens = (can.pad_token, can.epad_token)
        if self._synthesizer is None:
            self.speaker = Speaker(spell.pieces, *tokens, manners, slot.mute, spell.words)
        else:
            self.speaker = reader = VoiceOver(
                self._synthesizer,
                spell.pieces,
                *tokens,
                manners,
                slot.mute,
                spell.words,
                forced_speech=can.speaking,
            )
            slot.voice_over(reader.sound)
        slot.steer(self.speaker.choose)

    # ---- saying -----------------------------------------------------------------------

    def say(
        self,
        text: str,
        *,
        origin: Origin = "say",
        generation: int | None = None,
        complete: bool = True,
        offline: bool = False,
        stale_after: int | None = None,
        on_end: Callable[[Spoken], None] | None = None,
    ) -> Spoken:
        """Begin a script in the next pause; a script that waits or is spoken is replaced.

        With ``complete=False`` more follows by ``append``, and ``finish`` ends it. A
        checkpoint that speaks no forced words refuses, which the ScriptEnded event tells.
        """
        if generation is None:
            generation = self.conversation.generation
        if origin in ("announcement", "greeting", "say"):  # others were made so when written
            text = speakable(text) or text
        refused = not (self._can.speaking or self._synthesizer is not None)
        if refused:
            script = Script(generation, state=ScriptState.CANCELLED)
        else:
            script = self.speaker.say(
                text,
                generation=generation,
                complete=complete,
                stale_after=stale_after,
                answers=origin in ("answer", "filler"),
            )
        spoken = Spoken(origin, script, text, generation, offline, on_end=on_end)
        if refused:
            self._tell_end(
                spoken, "refused", f"{self._can.name} does not speak words forced into it"
            )
            return spoken
        self._open.append(spoken)
        self._recent.append(spoken)
        return spoken

    def append(self, spoken: Spoken, text: str) -> bool:
        """Add a sentence; False if the script is over."""
        if not self.speaker.append(spoken.script, text):
            return False
        spoken.text = f"{spoken.text} {text}".strip()
        return True

    def finish(self, spoken: Spoken) -> None:
        """Say that nothing will be appended any more."""
        self.speaker.finish(spoken.script)

    def announce(self, announcement: Announcement) -> None:
        """Say what came by itself: at once, in the next pause of both, or not aloud."""
        if announcement.scheduling == "silent":
            if self.noted is not None:
                self.noted(announcement)
        elif announcement.scheduling == "interrupt":
            # Moshi's own talk is interrupted, an answer is not: it would be lost. One that is
            # still thought about waits for the announcement (``announcing``).
            if self.idle and not self.asked():
                self._say_announcement(announcement)
            else:
                self.dropped_announcements += len(self._urgent) == self._urgent.maxlen
                self._urgent.append(announcement)
        else:
            self.dropped_announcements += len(self._waiting) == self._waiting.maxlen
            self._waiting.append(announcement)

    def say_when(self, text: str, scheduling: Scheduling) -> None:
        """Say ``text`` like an announcement."""
        self.announce(Announcement(text, scheduling))

    def hush(self) -> None:
        """Fall silent at once: scripts end, announcements that wait are kept."""
        self.speaker.hush()

    def interrupted(self) -> None:
        """Fall silent."""
        self.hush()

    @property
    def speaking(self) -> bool:
        """Whether a script is being said at this moment."""
        return self.speaker.speaking

    def current(self) -> tuple[Spoken, ...]:
        """Give the scripts that wait or are being said."""
        return tuple(self._open)

    @property
    def announcing(self) -> bool:
        """Whether an announcement is being said: it is heard to its end, answers wait for it."""
        return any(
            spoken.announcement is not None and spoken.script.state is ScriptState.SPEAKING
            for spoken in self._open
        )

    @property
    def idle(self) -> bool:
        """Whether no script waits or is being said, and what was heard of all is known."""
        return not self._open

    def says(self, word: Word) -> bool:
        """Whether a word of the agent's is a script's, and not Moshi's own."""
        step = round(word.start / FRAME_SECONDS)
        return any(
            forced.step == step
            for spoken in self._recent
            for forced in (*spoken.script.said, *spoken.script.silent)
        )

    # ---- frames -----------------------------------------------------------------------

    def offered(self, voiced: bool) -> None:
        """Let the speaker know whether it is interrupted."""
        self.speaker.heard(voiced)

    def heard(self, heard: Heard) -> None:
        """Tell what became of scripts; begin an announcement where nobody speaks.

        Raises VoiceProcessingError where the engine has had to drop the speaker.
        """
        if (fault := self.conversation.slot.policy_error) is not None:
            raise VoiceProcessingError(f"The speaker failed and says nothing any more: {fault}")
        frame = heard.frame
        sound = frame.muted or frame.other_voice or heard.loud
        self.speaker.sounded(frame.frame, sound)
        self.look()
        quiet = not (heard.user_speaking or heard.agent_speaking or self.busy())
        if self._urgent and self.idle and not self.asked():
            self._say_announcement(self._urgent.popleft())
        elif self._waiting and quiet and self.idle:
            self._say_announcement(self._waiting.popleft())

    def look(self, *, last: bool = False) -> None:
        """Publish what became of the scripts since the last look; ``last``: none will follow."""
        self._tell_fallbacks()
        for spoken in tuple(self._open):
            if spoken.script.said and not spoken.started:
                spoken.started = True
                self.conversation.publish(
                    ScriptStarted(
                        conversation_id=self.conversation.id,
                        time=self.word_time(spoken) or self.conversation.seconds,
                        generation=spoken.generation,
                        origin=spoken.origin,
                        text=spoken.text,
                        offline=spoken.offline,
                    )
                )
            if spoken.over and (last or not spoken.script.sounding(self.speaker.step)):
                self._open.remove(spoken)
                self._tell_end(spoken, spoken.script.state.value)
                self._keep(spoken)

    def _keep(self, spoken: Spoken) -> None:
        """An announcement that an answer or the user came before is said afterwards."""
        state, said = spoken.script.state, spoken.script.said
        # Who silences it in the middle has heard enough of it; an answer does not know that.
        lost = state is ScriptState.REPLACED or (state is ScriptState.CANCELLED and not said)
        if spoken.announcement is not None and lost and spoken.unsaid:
            self.dropped_announcements += len(self._urgent) == self._urgent.maxlen
            self._urgent.appendleft(spoken.announcement)

    def _tell_fallbacks(self) -> None:
        speaker = self.speaker
        while isinstance(speaker, VoiceOver) and speaker.fallbacks:
            fallback = speaker.fallbacks.popleft()
            self.conversation.publish(
                VoiceFellBack(
                    conversation_id=self.conversation.id,
                    time=self.conversation.seconds,
                    generation=self.conversation.generation,
                    voice=speaker.synthesizer_name,
                    reason=fallback.reason,
                    detail=fallback.detail,
                )
            )

    def word_time(self, spoken: Spoken, number: int = 0) -> float | None:
        """Give when a word of it began, in seconds on the frame clock; None if it has not."""
        said = spoken.script.said
        # What is chosen in the first step comes out with the second frame, which is frame 1.
        return said[number].step * FRAME_SECONDS if len(said) > number else None

    def closed(self) -> None:
        """Drop what is waiting; what was heard of the last script is told."""
        self.speaker.cancel()
        self.look(last=True)
        self._waiting.clear()
        self._urgent.clear()

    def _say_announcement(self, announcement: Announcement) -> None:
        spoken = self.say(announcement.text, origin="announcement", stale_after=ANNOUNCEMENT_STALE)
        spoken.announcement = announcement

    def _tell_end(self, spoken: Spoken, outcome: str, detail: str | None = None) -> None:
        script = spoken.script
        spoken.heard = script.heard()
        spoken.unsaid = len(self._speller.words(spoken.text)) - len(spoken.heard)
        self.conversation.publish(
            ScriptEnded.model_validate(
                {
                    "conversation_id": self.conversation.id,
                    "time": self.conversation.seconds,
                    "generation": spoken.generation,
                    "origin": spoken.origin,
                    "outcome": outcome,
                    "heard": " ".join(spoken.heard),
                    "unsaid": spoken.unsaid,
                    "detail": detail,
                    "offline": spoken.offline,
                }
            )
        )
        if spoken.on_end is not None:
            spoken.on_end(spoken)
        if self.ended is not None:
            self.ended(spoken)
