"""One user's memories as a voice uses them: recalled while the user speaks, kept afterwards.

Facts go out as sentences in the third person, whichever memory they were found in: a turn
("I like chess") is told as the facts in it, and quoted where there are none.

Where there is an LLM, it reads the facts from what was said and gives a second opinion on what
came to mind. A turn is stored before the LLM is asked; where it fails, or takes too long, the
rules do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from coda_memory.distill import distill
from coda_memory.evidence import source_of
from coda_memory.llm import MemoryLlm
from coda_memory.llm_facts import Read, facts_by
from coda_memory.llm_filter import WORTH_ASKING, is_unsure, judge_by
from coda_memory.one_turn import says_more
from coda_memory.quoting import once_said
from coda_memory.record import Memory
from coda_memory.thinking_filter import ThinkingFilter, Verdict
from coda_memory.turns_heard import TurnsHeard
from coda_memory.user import FOUND, UserMemories
from coda_voice.errors import LlmError
from coda_voice.recollection import Kept, Recalled

KNOWN = 24
"""Facts handed over as known; a prompt takes what it has room for."""
Stored = Mapping[str, Sequence[str]]
"""Facts that hold, by the turn they were read from."""


def no_llm() -> MemoryLlm | None:
    """Give no LLM: everything goes by rules."""
    return None


class RememberedUser:
    """A user's memories as a voice's memory. Raises what ``UserMemories`` raises.

    ``thinking``: the filter that chooses among what was found; ``llm``: gives the LLM there is
    at the moment, if any.
    """

    def __init__(
        self,
        memories: UserMemories,
        conversation_id: str = "",
        thinking: ThinkingFilter | None = None,
        llm: Callable[[], MemoryLlm | None] = no_llm,
    ) -> None:
        self.memories = memories
        self.conversation_id = conversation_id
        self._thinking = thinking or ThinkingFilter()
        self._llm = llm
        self._left = asyncio.Event()
        self._turns = TurnsHeard(memories, conversation_id)

    async def prepare(self) -> None:
        """Load the embedding model and the user's table."""
        await asyncio.to_thread(self.memories.search, "hello", 1)

    async def known(self) -> list[str]:
        """Give the facts that hold, the most important first, then the newest."""
        facts = await asyncio.to_thread(self.memories.facts, KNOWN)
        return list(dict.fromkeys(fact.text for fact in facts))

    async def recall(self, said: str) -> Recalled:
        """Search 15, let the thinking filter choose one to three."""
        verdicts, stored = await asyncio.to_thread(self._search, said)
        llm = self._llm()
        unsure: list[Verdict] = []
        if llm is not None and llm.free:
            unsure = [v for v in verdicts if is_unsure(v, self._thinking.threshold)]
        sure = [verdict for verdict in verdicts if verdict not in unsure]
        recalled = _recalled(said, sure, stored)
        if llm is None or not unsure:
            return recalled
        room = self._thinking.most - sum(verdict.kept for verdict in sure)
        more = partial(self._second_opinion, llm, said, unsure, stored, room)
        return Recalled(recalled.told, recalled.refused, more=more)

    async def keep(self, said: str) -> Kept:
        """Store a turn with the facts in it, without what it asks to forget."""
        heard = self._turns.hear(said)
        if heard is None:
            return Kept("")
        turn, ruled = heard.turn, heard.facts
        if heard.takes_back:
            memories = [turn, *ruled]
            gone = await asyncio.wrap_future(self.memories.take_back(heard.takes_back, memories))
            return Kept(
                turn.text,
                tuple(fact.text for fact in ruled),
                taken_back=tuple(fact.text for fact in gone),
            )
        # What puts the turn before right says too little by itself to be read by an LLM.
        llm = self._llm() if heard.as_said else None
        if llm is None:
            await asyncio.wrap_future(self.memories.append([turn, *ruled]))
            return Kept(turn.text, tuple(fact.text for fact in ruled))
        await asyncio.wrap_future(self.memories.append([turn]))
        facts, why_not = ruled, None
        refused: tuple[tuple[str, str], ...] = ()
        try:
            read = await self._read_by(llm, turn.text)
        except LlmError as error:
            why_not = error.message
        else:
            facts, refused = [*self.memories.facts_from(turn, read.facts)], read.refused
        # Where the user had the turn forgotten, or took it back, so is what was read from it.
        if facts and not await asyncio.wrap_future(self.memories.append_from(turn, facts)):
            facts = []
        texts = tuple(fact.text for fact in facts)
        return Kept(turn.text, texts, "rules" if why_not else "llm", refused, why_not)

    def leave(self) -> None:
        """Wait for no LLM any more: what is still to be read is read by the rules."""
        self._left.set()

    def _search(self, said: str) -> tuple[list[Verdict], Stored]:
        hits = self.memories.search(said, FOUND)
        verdicts = self._thinking.judge(said, hits, self.memories.now())
        return verdicts, self._stored(verdicts)

    def _stored(self, verdicts: Sequence[Verdict]) -> Stored:
        """Give the facts that hold of the turns that may be told.

        Those that the search did not find are looked up: read from the turn once more, they would
        be told even where something newer is known.
        """
        stored: dict[str, list[str]] = {}
        for verdict in verdicts:
            memory = verdict.hit.memory
            if memory.kind in ("fact", "preference") and memory.valid:
                stored.setdefault(source_of(verdict.hit), []).append(memory.text)
        worth = [v.hit.memory for v in verdicts if v.score >= WORTH_ASKING]
        apart = [m.id for m in worth if m.kind == "turn" and m.id not in stored and distill(m.text)]
        return {**stored, **self.memories.facts_of(apart)} if apart else stored

    async def _second_opinion(
        self,
        llm: MemoryLlm,
        said: str,
        unsure: Sequence[Verdict],
        stored: Stored,
        room: int,
    ) -> Recalled:
        """Have the LLM judge what the rules were not sure of; without it the rules' word holds."""
        threshold = self._thinking.threshold
        try:
            judged = await judge_by(llm, said, unsure, threshold=threshold, most=room)
        except LlmError:
            return _recalled(said, unsure, stored)
        recalled = _recalled(said, judged, stored)
        return Recalled(recalled.told, recalled.refused, by="llm")

    async def _read_by(self, llm: MemoryLlm, text: str) -> Read:
        """Ask the LLM for facts until the conversation is over. Raises LlmError."""
        reading = asyncio.create_task(facts_by(llm, text))
        leaving = asyncio.create_task(self._left.wait())
        try:
            await asyncio.wait({reading, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                raise LlmError("The conversation was over before the LLM had answered.", "llm_busy")
            return reading.result()
        finally:
            reading.cancel()
            leaving.cancel()


def _recalled(question: str, verdicts: Sequence[Verdict], stored: Stored) -> Recalled:
    """Say what is told and what is not."""
    told: dict[str, None] = {}
    refused: list[tuple[str, str]] = []
    for verdict in verdicts:
        memory = verdict.hit.memory
        if verdict.kept:
            facts = stored[memory.id] if memory.id in stored else as_facts(memory)
            if memory.kind == "turn" and _unread(question, memory.text, facts):
                facts = [once_said(memory.text)]
            told.update(dict.fromkeys(facts))
        else:
            refused.append((memory.text, verdict.reason))
    return Recalled(tuple(told), tuple(refused))


def _unread(question: str, turn: str, facts: Sequence[str]) -> bool:
    """Whether a turn answers what none of its facts does, and each of these still holds."""
    holds = all(fact.text in facts for fact in distill(turn))
    return holds and says_more(question, turn, facts)


def as_facts(memory: Memory) -> list[str]:
    """Give what a memory says about the user, in sentences."""
    if memory.kind in ("fact", "preference"):
        return [memory.text]
    by_user = memory.kind == "turn"
    facts = [fact.text for fact in distill(memory.text)] if by_user else []
    if facts:
        return facts
    if by_user:
        return [once_said(memory.text)]
    return [once_said(memory.text, f"Noted by the {memory.speaker}")]
