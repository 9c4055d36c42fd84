"""A Twilio call without its socket: messages and frames in, messages out, and what was heard.

Twilio holds what is sent until it is played. A mark behind each word tells when that word has
been played; when the caller interrupts, ``clear`` drops the rest, and the words whose marks had
not come back were never heard.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from coda_integrations.telephony import twilio_codec as codec
from coda_integrations.wire_audio import MULAW_8K, FromWire
from coda_voice.events import SpeechStarted
from coda_voice.heard import Heard
from coda_voice.moshi.frames import Pcm

QUIET_DBFS = -60.0
"""Frames below this are not sent unless the agent is speaking: Twilio's queue drains then."""
MAX_MARKS = 512
MAX_HEARD = 4_096


@dataclass(frozen=True, slots=True)
class Sound:
    """Sound of the caller, 24 kHz."""

    pcm: Pcm


@dataclass(frozen=True, slots=True)
class Interrupt:
    """The caller wants the agent to be silent."""


@dataclass(frozen=True, slots=True)
class HangUp:
    """The call is over."""


class Voice(str):
    """A message that is the agent's sound."""


class WordMark(str):
    """A message that marks the end of a word's sound: worth nothing where that is not sent."""


Action = str | Sound | Interrupt | HangUp
"""A message to send, or what is to be done."""


class TwilioCall:
    """One call; ``message`` takes Twilio's messages, ``heard`` the agent's frames."""

    def __init__(self) -> None:
        self.call_sid = ""
        self.parameters: dict[str, str] = {}
        self.over = False
        """Whether Twilio has said that the call has ended, be it before it began."""
        self.played: deque[str] = deque(maxlen=MAX_HEARD)
        """The agent's words that the caller has heard."""
        self.unplayed: deque[str] = deque(maxlen=MAX_HEARD)
        """Those that were dropped before."""
        self._stream_sid = ""
        self._from_wire = FromWire(MULAW_8K)
        self._outlet = MULAW_8K.outlet()
        self._marks: dict[str, str] = {}
        self._marked = 0

    @property
    def begun(self) -> bool:
        """Whether Twilio has said which call it is."""
        return bool(self._stream_sid)

    def message(self, text: str | bytes) -> list[Action]:
        """Take a message of Twilio's. Raises TwilioProtocolError."""
        match codec.decode(text):
            case codec.Start() as start:
                self._stream_sid = start.start.stream_sid
                self.call_sid = start.start.call_sid or self._stream_sid
                self.parameters = dict(start.start.custom_parameters)
            case codec.Media() as media:
                pcm = self._from_wire.process(media.sound())
                return [Sound(pcm)] if len(pcm) else []
            case codec.Mark() as mark:
                self._returned(mark.mark.name)
            case codec.Dtmf() as key if key.dtmf.digit == "*":
                return [*self.interrupt(), Interrupt()]
            case codec.Stop():
                self.over = True
                return [HangUp()]
            case _:
                pass
        return []

    def heard(self, heard: Heard) -> list[Action]:
        """Take the agent's next frame; what Twilio is to be told."""
        if not self._stream_sid:
            return []
        actions: list[Action] = []
        if any(isinstance(e, SpeechStarted) and e.speaker == "user" for e in heard.events):
            actions += self.interrupt()
        sound = self._outlet.push(heard.frame.pcm)
        if sound and (heard.agent_speaking or heard.level > QUIET_DBFS):
            actions.append(Voice(codec.media(self._stream_sid, sound)))
        for word in heard.frame.words:
            if len(self._marks) >= MAX_MARKS:
                break  # a peer that returns no marks: the words are taken for unheard
            self._marked += 1
            name = f"word-{self._marked}"
            self._marks[name] = word.text
            actions.append(WordMark(codec.mark(self._stream_sid, name)))
        return actions

    def _returned(self, name: str) -> None:
        """Take a mark that comes back. They come in order: those before it were never sent."""
        if name not in self._marks:
            return
        while (first := next(iter(self._marks))) != name:
            self.unplayed.append(self._marks.pop(first))
        self.played.append(self._marks.pop(name))

    def interrupt(self) -> list[Action]:
        """Drop what Twilio has not played; nothing to send where all has been."""
        if not self._marks:
            return []
        self.unplayed.extend(self._marks.values())
        self._marks.clear()
        return [codec.clear(self._stream_sid)]
