"""Router, reasoner and tools at the keyboard: what will stand behind the voice, without it.

    python scripts/voice_tools_example.py "what is three plus four" "and times two"
    python scripts/voice_tools_example.py --llm ollama/qwen3:8b

Without utterances it reads lines until the end of input. The offline brain answers unless an
LLM is named; if that LLM fails, the offline brain steps in.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from time import monotonic

from coda_tools import ToolRegistry
from coda_tools.builtin.arithmetic import calculate
from coda_tools.builtin.clock import clock_tools
from coda_tools.builtin.status import status_tools
from coda_tools.builtin.timers import Timers
from coda_tools.builtin.units import convert_units

from coda_voice.events import Event, ReasoningEnded, ToolEnded
from coda_voice.hybrid.answer import Turn
from coda_voice.hybrid.clients import client_for
from coda_voice.hybrid.llm import Message
from coda_voice.hybrid.offline_brain import OfflineBrain
from coda_voice.hybrid.reasoner import Reasoner
from coda_voice.hybrid.router import Router
from coda_voice.protocols import Announcement


def announce(announcement: Announcement) -> None:
    """Print what speaks up by itself."""
    print(f"  ({announcement.scheduling}) {announcement.text}", flush=True)


class Talk:
    """A conversation in text: what was said is its history."""

    def __init__(self, llm: str, endpoint: str | None) -> None:
        self.timers = Timers(announce)
        tools = [calculate, convert_units, *clock_tools(), *status_tools(), *self.timers.tools()]
        self.router = Router()
        self.client = client_for(llm, endpoint)
        self.reasoner = Reasoner(
            self.client, self.tell, tools=ToolRegistry(tools), fallback=OfflineBrain()
        )
        self.history: list[Message] = []
        self.generation = 0

    def tell(self, event: Event) -> None:
        """Print the events that say what happened inside."""
        match event:
            case ToolEnded(tool=name, outcome=outcome, milliseconds=took):
                print(f"  [{name}: {outcome}, {took:.0f} ms]")
            case ReasoningEnded(llm=llm, seconds=seconds, code=code, first_text=first):
                self.router.answered(monotonic(), first if code is None else None)
                print(f"  [{llm}: {seconds:.2f} s{f', {code}' if code else ''}]")

    async def say(self, text: str) -> None:
        """Route one utterance and print what would be spoken."""
        self.generation += 1
        decision = self.router.route(text, monotonic())
        print(f"> {text}\n  [{decision.target}: {decision.kind}; {', '.join(decision.reasons)}]")
        if decision.target != "llm":
            return
        said: list[str] = []
        async for sentence in self.reasoner.start(Turn(self.generation, text, self.history)):
            print(f"{sentence.text}{' (offline)' if sentence.offline else ''}", flush=True)
            said.append(sentence.text)
        self.history += [Message("user", text), Message("assistant", " ".join(said))]

    async def close(self) -> None:
        """Stop timers, thinking and connections."""
        self.timers.close()
        await self.reasoner.close()
        await self.client.close()


async def main() -> None:
    """Talk until the utterances, or the lines of the input, are over."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("utterance", nargs="*")
    parser.add_argument("--llm", default="offline", help="ollama/MODEL, openai/MODEL or offline")
    parser.add_argument("--endpoint", help="address of the LLM's server")
    options = parser.parse_args()
    talk = Talk(options.llm, options.endpoint)
    try:
        for text in options.utterance:
            await talk.say(text)
        while not options.utterance and (line := await asyncio.to_thread(sys.stdin.readline)):
            if line.strip():
                await talk.say(line.strip())
    finally:
        await talk.close()


if __name__ == "__main__":
    asyncio.run(main())
