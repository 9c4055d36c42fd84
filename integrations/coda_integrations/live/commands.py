"""What a Live session asks of its edge."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel

from coda_voice.hybrid.llm import Message
from coda_voice.moshi.frames import Pcm
from coda_voice.protocols import ToolSpec


@dataclass(frozen=True, slots=True)
class Hear:
    """Give this sound of the user to the voice."""

    pcm: Pcm


@dataclass(frozen=True, slots=True)
class Instruct:
    """Tell the speech model who it is, if it takes prompts."""

    text: str


@dataclass(frozen=True, slots=True)
class Say:
    """Have the voice say this, in the next pause."""

    text: str


@dataclass(frozen=True, slots=True)
class Think:
    """Ask the LLM in the place of OpenAI's Responses; what comes is told by ``thought…``."""

    delegation_id: str | None
    messages: list[Message]
    tools: tuple[ToolSpec, ...]


@dataclass(frozen=True, slots=True)
class Close:
    """The session is over."""


Command = Hear | Instruct | Say | Think | Close
Out = BaseModel | Command
