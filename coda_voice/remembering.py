"""Memory and personality in a conversation: what the model is told while it goes on.

At the start the slot's prompt says who the agent is and what is known of the user. While the
user speaks, what matters to the words so far is recalled and told within 150 ms, or left
aside for this turn; an LLM is told the same, in the conversation's notes. When the user has
finished, the words are stored, and what they ask of the agent's manner is done. All of it on the
thought clock; the frames never wait. What memory's rules are not sure of an LLM may judge when
the user has finished; that is told a moment later.

``inject=False`` is background transcription: it stores, and tells nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, ClassVar, Literal

from coda_voice.attendants import Attendant, UserText
from coda_voice.errors import ComponentNotInitializedError, VoiceProcessingError
from coda_voice.events import ConversationFailed
from coda_voice.memory_events import adapted, injected, stored
from coda_voice.memory_notes import MemoryNotes
from coda_voice.moshi.conditioning import Conditioner, Injection, Limits, Refusal, Say
from coda_voice.recollection import (
    HearsTheAgent,
    Recalled,
    VoiceMemory,
    VoicePersonality,
)
from coda_voice.scripted_voice import ScriptedVoice
from coda_voice.searches import Moment, Searches, TooSlow

if TYPE_CHECKING:
    from coda_voice.conversation import Conversation
    from coda_voice.heard import Heard
    from coda_voice.moshi.frames import Pcm

logger = logging.getLogger(__name__)

RECALL_SECONDS = 0.15
"""Slower, and what came to mind comes too late to be told."""
GREETING_STALE = 250
"""Frames: a greeting that found no pause in twenty seconds is not said."""
LETTING_GO_SECONDS = 5.0
"""How long the end of a conversation waits for what is still being stored."""

Part = Literal["memory", "personality"]
More = Callable[[], Coroutine[object, object, Recalled]]


def _voice_of(conversation: Conversation) -> Say | None:
    """What says something aloud in this conversation, if anything does."""
    voice = next((a for a in conversation.attendants if isinstance(a, ScriptedVoice)), None)
    if voice is None:
        return None
    return lambda text, generation: voice.say(
        text, origin="greeting", generation=generation, stale_after=GREETING_STALE
    )


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
        """Turns or parts of turns for which memory was left aside."""
        self._inject = inject
        self._limits = limits or Limits()
        self._say = say
        self._greets = greets
        self._voice = voice
        self._conditioner: Conditioner | None = None
        self._begun: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeping: set[asyncio.Task[None]] = set()
        self.searches = Searches(recall_seconds, lambda error: self._failed(error, "memory"))
        self._over = -1
        """The last turn that the user has finished."""
        self._unsure: More | None = None
        """What the last search left for an LLM to judge when the user has finished."""
        self._notes = MemoryNotes()
        self._forgot = 0.0
        """When something was deleted last: what was being looked for then may be gone."""
        self._reported: set[tuple[Part, str]] = set()
        self._asked: object | None = None
        """Marks who was asked last who it is."""

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
        self._begun = self._start(self._begin(self._conditioner), self._tasks, "memory")

    async def ready(self) -> None:
        """Wait until the prompt is in: frames pushed from now on are heard by who knows."""
        if self._begun is not None:
            await asyncio.wait([self._begun])

    def turn_began(self, generation: int) -> None:
        """Search afresh in this turn."""
        self.searches.newest = self._unsure = None
        if self._inject and self.memory is not None:
            self._write_note()

    def user_text(self, said: UserText) -> None:
        """Recall on the words so far; store the whole turn."""
        text = said.text.strip()
        if not text:
            return
        if self._inject and self.memory is not None:
            if self.searches.wanted(text, said):
                self._search_for(self.memory, Moment(text, said.final, said.generation))
            elif said.final and self._unsure is not None:
                moment = Moment(text, True, said.generation)
                self._start(self._ask(self._unsure, moment), self._tasks, "memory")
        if said.final:
            self._unsure, self._over = None, said.generation
            if self.personality is not None:
                who = self.personality
                self._start(self._hear(who, text), self._keeping, "personality", who)
            if self.memory is not None:
                self._start(self._keep(self.memory, said), self._keeping, "memory")

    def agent_said(self, text: str, generation: int) -> None:
        """Hand the agent's words to managers that keep both sides."""
        if isinstance(self.memory, HearsTheAgent):
            self._start(self.memory.agent_said(text), self._keeping, "memory")
        if isinstance(self.personality, HearsTheAgent):
            who = self.personality
            self._start(who.agent_said(text), self._keeping, "personality", who)

    async def recollect(self, said: str) -> None:
        """Search for all of the words if that has not been done, and wait until it is noted."""
        if self.memory is None or not self._inject:
            return
        moment, said = self.searches.newest, said.strip()
        # The text may begin with an earlier turn, which this one goes on with.
        if moment is None or not said.endswith(moment.said):
            moment = Moment(said, False, self.conversation.generation)
            self._search_for(self.memory, moment)
        await moment.noted.wait()

    def _search_for(self, memory: VoiceMemory, moment: Moment) -> None:
        self.searches.newest = moment
        self._start(self._recall(memory, moment), self._tasks, "memory")

    def heard(self, heard: Heard) -> None:
        """Do what waited for the cooldown of the prompt."""
        if self._conditioner is not None and self._conditioner.waiting:
            later = self._conditioner.catch_up()
            if later is not None:
                self._start(self._report(later), self._tasks, "memory")

    async def become(self, personality: VoicePersonality) -> None:
        """Be somebody else from now on: the prompt is exchanged while the conversation runs."""
        if personality is not self.personality:  # what was said of the former is not of this one
            self._reported = {told for told in self._reported if told[0] != "personality"}
        self.personality = personality
        conditioner = self._conditioner
        if conditioner is not None and await self._play(conditioner, personality):
            self._start(self._report(conditioner.refresh()), self._tasks, "personality")

    def forgotten(self) -> None:
        """Something of the user's memories was deleted: tell it no more."""
        if self.memory is not None and self._inject and self.conversation.ended is None:
            self._forgot = time.perf_counter()
            self.searches.newest = self._unsure = None
            self._notes.forget()
            self._start(self._know(self.memory), self._tasks, "memory")

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
            who = self.personality
            introducing = self._introduce(conditioner, who)
            await asyncio.wait([self._start(introducing, self._tasks, "personality", who)])
        facts: Sequence[str] = ()
        try:
            if self.memory is not None and self._inject:
                facts = await self.memory.known()
                self._notes.know(facts)
                self._write_note()
        finally:
            if facts or self.personality is not None:
                await self._report(conditioner.begin(facts))
        if self.memory is not None and self._inject:
            self._start(self.memory.prepare(), self._tasks, "memory")

    async def _introduce(self, conditioner: Conditioner, personality: VoicePersonality) -> None:
        if not await self._play(conditioner, personality):
            return
        greeting = personality.greeting
        if self._greets and greeting and self._say is not None:
            self._say(greeting, self.conversation.generation)

    async def _play(self, conditioner: Conditioner, personality: VoicePersonality) -> bool:
        """Let an LLM and the next prompt know who it is.

        False if it is to be somebody else by now: whoever was asked last is who it is, however
        long the others take to say who they are.
        """
        self._asked = asked = object()
        note = await personality.enhance_prompt("")
        persona = await self._persona(personality)
        if self._asked is not asked:
            return False
        self.conversation.notes["personality"] = note
        conditioner.describe(persona)
        return True

    async def _persona(self, personality: VoicePersonality) -> str:
        models = self.conversation.slot.models
        return await personality.moshi_prompt(
            limit=self._limits.prompt_tokens * 3 // 4,  # the rest is for what is known
            count=lambda text: len(models.encode_text(text)),
        )

    async def _recall(self, memory: VoiceMemory, moment: Moment) -> None:
        try:
            recalled = await self.searches.search(memory, moment)
            if recalled is None or self._deleted_since(moment):
                return
            await self._tell(recalled, moment)
        except TooSlow as error:
            self._skip(moment, str(error))
            return
        finally:
            moment.noted.set()
        if recalled.more is not None and moment.generation <= self._over:
            await self._ask(recalled.more, moment)
        elif not moment.final:
            self._unsure = recalled.more

    async def _ask(self, more: More, moment: Moment) -> None:
        """Tell what an LLM finds relevant of that of which the rules were not sure."""
        recalled = await more()
        if not self._deleted_since(moment):
            await self._tell(recalled, moment)

    def _deleted_since(self, moment: Moment) -> bool:
        if moment.began >= self._forgot:
            return False
        self._skip(moment, "memories were deleted meanwhile")
        return True

    async def _tell(self, recalled: Recalled, moment: Moment) -> None:
        self._notes.add(recalled.told, moment.generation)
        self._write_note()
        moment.noted.set()
        decided = time.perf_counter() - moment.began
        told = Injection("none", None, moment.generation)
        if recalled.told and self._conditioner is not None:
            telling = self._conditioner.tell(recalled.told, moment.generation)
            told = await asyncio.wrap_future(telling)
        if recalled.told or recalled.refused:
            refused = tuple(Refusal(text, reason) for text, reason in recalled.refused)
            self.conversation.publish(
                injected(
                    self.conversation, told, moment.said, decided, refused=refused, by=recalled.by
                )
            )

    def _write_note(self) -> None:
        self.conversation.notes["memory"] = self._notes.text(self.conversation.generation)

    async def _hear(self, personality: VoicePersonality, said: str) -> None:
        changes = await personality.hear(said)
        for change in changes:
            self.conversation.publish(adapted(self.conversation, change))
        # Somebody else may have taken its place while it listened.
        if changes and self._conditioner is not None and self.personality is personality:
            await self.become(personality)

    async def _keep(self, memory: VoiceMemory, said: UserText) -> None:
        kept = await memory.keep(said.text.strip())
        if kept.text:
            self.conversation.publish(stored(self.conversation, kept))
        if (kept.facts or kept.taken_back) and self._inject:
            self._notes.doubt(said.generation)
            await self._know(memory)

    async def _know(self, memory: VoiceMemory) -> None:
        """Have prompt and notes say what is known by now."""
        known = await memory.known()
        self._notes.know(known)
        self._write_note()
        if self._conditioner is not None:
            await self._report(self._conditioner.know(known))

    async def _report(self, telling: Future[Injection]) -> None:
        """Say what became of telling something that lasts."""
        self.conversation.publish(injected(self.conversation, await asyncio.wrap_future(telling)))

    # ---- reporting -----------------------------------------------------------------------

    def _skip(self, moment: Moment, reason: str) -> None:
        self.skipped += 1
        nothing = Injection("none", None, moment.generation)
        taken = time.perf_counter() - moment.began
        self.conversation.publish(
            injected(self.conversation, nothing, moment.said, taken, skipped=reason)
        )

    def _start(
        self,
        work: Coroutine[object, object, None],
        among: set[asyncio.Task[None]],
        part: Part,
        who: VoicePersonality | None = None,
    ) -> asyncio.Task[None]:
        """Start a task; ``who``: the personality whose failure its failure is."""
        task = asyncio.get_running_loop().create_task(work)
        among.add(task)

        def over(task: asyncio.Task[None]) -> None:
            among.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                if who is None or who is self.personality:
                    self._failed(error, part)
                else:  # costs the one in its place nothing
                    logger.warning("a personality that was replaced failed", exc_info=error)

        task.add_done_callback(over)
        return task

    def _failed(self, error: BaseException, part: Part) -> None:
        """Say once what is wrong; the conversation goes on without, and tries again next time.

        What fails in an unknown way is switched off; the other part is not.
        """
        if isinstance(error, VoiceProcessingError):
            code = error.error_code
        else:
            logger.error("%s failed", part, exc_info=error)
            code = f"{part}_failed"
            if part == "memory":
                self.memory = None
            else:
                self.personality = None
        if (part, code) in self._reported:
            return
        self._reported.add((part, code))
        self.conversation.publish(
            ConversationFailed(
                conversation_id=self.conversation.id,
                time=self.conversation.seconds,
                generation=self.conversation.generation,
                code=code,
                message=str(error) or type(error).__name__,
            )
        )
