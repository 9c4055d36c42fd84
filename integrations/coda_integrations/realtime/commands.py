"""What a Realtime session asks of its edge, and what it is told about the voice."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pydantic import BaseModel

from coda_integrations.realtime.response import Response
from coda_voice.audio.ingest import AudioSettings
from coda_voice.hybrid.llm import Message
from coda_voice.moshi.frames import Pcm
from coda_voice.protocols import ToolSpec


@dataclass(frozen=True, slots=True)
class Hear:
    """Give this sound of the user to the voice."""

    pcm: Pcm


@dataclass(frozen=True, slots=True)
class Listen:
    """Listen with these settings from now on."""

    settings: AudioSettings


@dataclass(frozen=True, slots=True)
class Forget:
    """Drop the user's sound that has not been heard yet."""


@dataclass(frozen=True, slots=True)
class Instruct:
    """Tell the speech model who it is, if it takes prompts."""

    text: str


@dataclass(frozen=True, slots=True)
class Hush:
    """Stop saying what is being said, and thinking about responses that are over."""


@dataclass(frozen=True, slots=True)
class StopThinking:
    """Think no more about responses that are over."""


@dataclass(frozen=True, slots=True)
class Think:
    """Ask the LLM, and tell what comes by ``thought…``; spoken unless it is a text response.

    ``tools_only``: the agent answers by itself, only tool calls are wanted.
    """

    response: Response
    messages: list[Message]
    tools: tuple[ToolSpec, ...]
    tools_only: bool = False


Command = Hear | Listen | Forget | Instruct | Hush | StopThinking | Think
Out = BaseModel | Command


class Script(Enum):
    """Where the words stand that the voice was given to say."""

    NONE = "none"
    WAITING = "waiting"
    SPEAKING = "speaking"
    OVER = "over"
    LOST = "lost"
    """Not begun, and never will be."""

    @property
    def begun(self) -> bool:
        """Whether words of it have been said."""
        return self in (Script.SPEAKING, Script.OVER)
