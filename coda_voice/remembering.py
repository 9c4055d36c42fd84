"""Memory and personality in a conversation: what the model is told while it goes on.

At the start the slot's prompt says who the agent is and what is known of the user. While the
user speaks, what matters to the words so far is recalled and told within 150 ms, or left
aside for this turn. When the user has finished, the words are stored, and what they ask of the
agent's manner is done. All of it on the thought clock; the frames never wait. What memory's rules
are not sure of an LLM may judge when the user has finished; that is told a moment later.

``inject=False`` is background transcription: it stores, and tells nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from coda_voice.attendants import Attendant, UserText
from coda_voice.errors import ComponentNotInitializedError, VoiceProcessingError
from coda_voice.events import (
    ConversationFailed,
    MemoryInjected,
    MemoryStored,
    PersonalityAdapted,
    RefusedMemory,
)
from coda_voice.moshi.conditioning import Conditioner, Injection, Limits, Refusal, Say
from coda_voice.recollection import (
    By,
    Recalled,
    VoiceMemory,
    VoicePersonality,
    memories_for_llm,
)
from coda_voice.scripted_voice import ScriptedVoice

if TYPE_CHECKING:
    from coda_voice.conversation import Conversation
    from coda_voice.heard import Heard
    from coda_voice.moshi.frames import Pcm

logger = logging.getLogger(__name__)

RECALL_SECONDS = 0.15
"""Slower, and what came to mind comes too late to be told."""
NEW_WORDS = 2
"""Of the user before there is another search in the same turn."""
MOST_SEARCHES = 5
"""In one turn, the last one apart."""
GREETING_STALE = 250
"""Frames: a greeting that found no pause in twenty seconds is not said."""
LETTING_GO_SECONDS = 5.0
"""How long the end of a conversation waits for what is still being stored."""
_RECENT = 6
"""Memories told lately, which an LLM is told as well."""


More = Callable[[], Coroutine[object, object, Recalled]]


def _voice_of(conversation: Conversation) -> Say | None:
    """What says something aloud in this conversation, if anything does."""
    voice = next((a for a in conversation.attendants if isinstance(a, ScriptedVoice)), None)
    if voice is None:
        return None
    return lambda text, generation: voice.say(
        text, origin="greeting", generation=generation, stale_after=GREETING_STALE
    )


@dataclass(frozen=True, slots=True)
class _Moment:
    """What the user is saying when something comes to mind; ``began``: when we learnt of it."""

    said: str
    final: bool
    generation: int
    began: float


class Remembering(Attendant):
    """Memory and personality of one conversation; either may be missing.

    ``greets``: whether the character's greeting is said at the start, where a
    ``ScriptedVoice`` began before this attendant; ``voice``: a sample of its voice.
    """

    name: ClassVar[str] = "memory"

    def __init__(
        self,
        memory: VoiceMemory | None = None,
        personality: VoicePersonality | None = None,
        *,
        inject: bool = True,
        limits: Limits | None = None,
        recall_seconds: float = RECALL_SECONDS,
        say: Say | None = None,
        greets: bool = True,
        voice: Pcm | None = None,
    ) -> None:
        self.memory = memory
        self.personality = personality
        self.skipped = 0
        """Turns or parts of turns for which memory was too slow."""
        self._inject = inject
        self._limits = limits or Limits()
        self._recall_seconds = recall_seconds
        self._say = say
        self._greets = greets
        self._voice = voice
        self._conditioner: Conditioner | None = None
        self._begun: asyncio.Task[None] | None = None
        self._search: asyncio.Task[Recalled] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeping: set[asyncio.Task[None]] = set()
        self._searched_words = self._searches = 0
        self._unsure: More | None = None
        """What the last search left for an LLM to judge when the user has finished."""
        self._recent: deque[str] = deque(maxlen=_RECENT)
        self._reported: set[str] = set()

    @property
    def conditioner(self) -> Conditioner:
        """What tells the model things. Raises ComponentNotInitializedError before ``begin``."""
        if self._conditioner is None:
            raise ComponentNotInitializedError("the conversation has not begun")
        return self._conditioner

    # ---- the seam -----------------------------------------------------------------------

    def begin(self, conversation: Conversation) -> None:
        """Find out what is known of the user, and have the prompt say it."""
        super().begin(conversation)
        slot = conversation.slot
        if self._say is None:
            self._say = _voice_of(conversation)
        self._conditioner = Conditioner(
            slot,
            slot.models,
            persona=slot.prompt.text,
            voice=slot.prompt.voice if self._voice is None else self._voice,
            say=self._say,
            limits=self._limits,
        )
        self._begun = self._start(self._begin(self._conditioner), self._tasks)

    async def ready(self) -> None:
        """Wait until the prompt is in: frames pushed from now on are heard by who knows."""
        if self._begun is not None:
            await asyncio.wait([self._begun])

    def turn_began(self, generation: int) -> None:
        """Search afresh in this turn."""
        self._searched_words = self._searches = 0
        self._unsure = None

    def user_text(self, said: UserText) -> None:
        """Recall on the words so far; store the whole turn."""
        text = said.text.strip()
        if not text:
            return
        if self._inject and self.memory is not None:
            moment = _Moment(text, said.final, said.generation, time.perf_counter())
            new = len(text.split()) - self._searched_words
            if new > 0 and (said.final or (new >= NEW_WORDS and self._searches < MOST_SEARCHES)):
                self._searched_words += new
                self._searches += 1
                self._start(self._recall(self.memory, moment), self._tasks)
            elif said.final and self._unsure is not None:
                self._start(self._ask(self._unsure, moment), self._tasks)
        if said.final:
            self._unsure = None
            self._start(self._keep(text), self._keeping)

    def heard(self, heard: Heard) -> None:
        """Do what waited for the cooldown of the prompt."""
        if self._conditioner is not None and self._conditioner.waiting:
            later = self._conditioner.catch_up()
            if later is not None:
                self._start(self._report(later), self._tasks)

    async def become(self, personality: VoicePersonality) -> None:
        """Be somebody else from now on: the prompt is exchanged while the conversation runs."""
        self.personality = personality
        if self._conditioner is not None:
            await self._note(personality)
            self._conditioner.describe(await self._persona(personality))
            self._start(self._report(self._conditioner.refresh()), self._tasks)

    def closed(self) -> None:
        """Stop telling; what is being stored is stored."""
        for task in tuple(self._tasks):
            task.cancel()
        if self.memory is not None:
            self.memory.leave()

    async def aclose(self) -> None:
        """Wait for what is still being stored."""
        left = {*self._tasks, *self._keeping}
        if left:
            await asyncio.wait(left, timeout=LETTING_GO_SECONDS)

    # ---- tasks ----------------------------------------------------------------------------

    async def _begin(self, conditioner: Conditioner) -> None:
        if self.personality is not None:
            conditioner.describe(await self._persona(self.personality))
            await self._note(self.personality)
            greeting = self.personality.greeting
            if self._greets and greeting and self._say is not None:
                self._say(greeting, self.conversation.generation)
        facts: Sequence[str] = ()
        if self.memory is not None and self._inject:
            facts = await self.memory.known()
        if facts or self.personality is not None:
            await self._report(conditioner.begin(facts))
        if self.memory is not None and self._inject:
            self._start(self.memory.prepare(), self._tasks)

    async def _persona(self, personality: VoicePersonality) -> str:
        models = self.conversation.slot.models
        return await personality.moshi_prompt(
            limit=self._limits.prompt_tokens * 3 // 4,  # the rest is for what is known
            count=lambda text: len(models.encode_text(text)),
        )

    async def _note(self, personality: VoicePersonality) -> None:
        """Let an LLM know who it is."""
        self.conversation.notes["personality"] = await personality.enhance_prompt("")

    async def _recall(self, memory: VoiceMemory, moment: _Moment) -> None:
        if self._search is not None and not self._search.done():
            self._skip(moment, "the search before this one is still going on")
            return
        self._search = asyncio.create_task(memory.recall(moment.said))
        done, _ = await asyncio.wait([self._search], timeout=self._recall_seconds)
        if not done:
            self._search.add_done_callback(self._came_too_late)
            self._skip(moment, f"it took more than {self._recall_seconds * 1e3:.0f} ms")
            return
        recalled = self._search.result()
        await self._tell(recalled, moment)
        if recalled.more is not None and moment.final:
            await self._ask(recalled.more, moment)
        elif not moment.final:
            self._unsure = recalled.more

    async def _ask(self, more: More, moment: _Moment) -> None:
        """Tell what an LLM finds relevant of that of which the rules were not sure."""
        await self._tell(await more(), moment)

    async def _tell(self, recalled: Recalled, moment: _Moment) -> None:
        for fact in recalled.told:
            if fact not in self._recent:
                self._recent.append(fact)
        self.conversation.notes["memory"] = memories_for_llm(list(self._recent))
        decided = time.perf_counter() - moment.began
        told = Injection("none", None, moment.generation)
        if recalled.told and self._conditioner is not None:
            telling = self._conditioner.tell(recalled.told, moment.generation)
            told = await asyncio.wrap_future(telling)
        if recalled.told or recalled.refused:
            refused = tuple(Refusal(text, reason) for text, reason in recalled.refused)
            self._publish(told, moment.said, decided, refused=refused, by=recalled.by)

    async def _keep(self, said: str) -> None:
        if self.personality is not None:
            adapted = await self.personality.hear(said)
            for change in adapted:
                self.conversation.publish(
                    PersonalityAdapted(
                        conversation_id=self.conversation.id,
                        time=self.conversation.seconds,
                        generation=self.conversation.generation,
                        trait=change.trait,
                        before=change.before,
                        after=change.after,
                        because=change.because,
                    )
                )
            if adapted and self._conditioner is not None:
                await self.become(self.personality)
        if self.memory is None:
            return
        kept = await self.memory.keep(said)
        self.conversation.publish(
            MemoryStored(
                conversation_id=self.conversation.id,
                time=self.conversation.seconds,
                generation=self.conversation.generation,
                text=kept.text,
                facts=kept.facts,
                by=kept.by,
                refused=tuple(RefusedMemory(text=t, reason=why) for t, why in kept.refused),
                why_not=kept.why_not,
            )
        )
        if kept.facts and self._inject and self._conditioner is not None:
            known = await self.memory.known()
            await self._report(self._conditioner.know(known))

    async def _report(self, telling: Future[Injection]) -> None:
        """Say what became of telling something that lasts."""
        self._publish(await asyncio.wrap_future(telling))

    # ---- reporting -----------------------------------------------------------------------

    def _publish(
        self,
        told: Injection,
        said: str = "",
        seconds: float = 0.0,
        *,
        refused: Sequence[Refusal] = (),
        skipped: str | None = None,
        by: By = "rules",
    ) -> None:
        """Tell what was told; ``said`` is empty for what lasts."""
        self.conversation.publish(
            MemoryInjected(
                conversation_id=self.conversation.id,
                time=self.conversation.seconds,
                generation=told.generation,
                injected=told.told,
                channel=told.channel,
                frame=told.frame,
                refused=tuple(
                    RefusedMemory(text=one.text, reason=one.reason)
                    for one in (*told.refused, *refused)
                ),
                said=said,
                skipped=skipped,
                milliseconds=seconds * 1e3,
                by=by,
            )
        )

    def _skip(self, moment: _Moment, reason: str) -> None:
        self.skipped += 1
        nothing = Injection("none", None, moment.generation)
        taken = time.perf_counter() - moment.began
        self._publish(nothing, moment.said, taken, skipped=reason)

    def _came_too_late(self, search: asyncio.Task[Recalled]) -> None:
        if not search.cancelled() and (error := search.exception()) is not None:
            self._failed(error)

    def _start(
        self, work: Coroutine[object, object, None], among: set[asyncio.Task[None]]
    ) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        among.add(task)

        def over(task: asyncio.Task[None]) -> None:
            among.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                self._failed(error)

        task.add_done_callback(over)
        return task

    def _failed(self, error: BaseException) -> None:
        """Say once what is wrong; the conversation goes on without memory, which tries again."""
        known = isinstance(error, VoiceProcessingError)
        code = error.error_code if isinstance(error, VoiceProcessingError) else "memory_failed"
        if not known:
            logger.error("memory or personality failed", exc_info=error)
            self.memory = self.personality = None
        if code in self._reported:
            return
        self._reported.add(code)
        self.conversation.publish(
            ConversationFailed(
                conversation_id=self.conversation.id,
                time=self.conversation.seconds,
                generation=self.conversation.generation,
                code=code,
                message=str(error) or type(error).__name__,
            )
        )
