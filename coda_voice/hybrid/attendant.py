"""The LLM's place in a conversation: routes what the user says, thinks, has it spoken.

Works while the user still speaks: on partial transcripts the router may start the reasoner
already, and it does so anew, on whatever there is, once the user has paused and his last
words are written. Sentences are held back until the user seems to be done, tools with side
effects until he is. A user who interrupts makes all of it stale; a cough does not, and a turn
that was only a pause in the middle of another is answered together with it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from coda_voice.attendants import Attendant, UserText
from coda_voice.conversation import Conversation
from coda_voice.events import Event, ModeChanged, ReasoningEnded
from coda_voice.heard import Heard
from coda_voice.hybrid.answer import Turn
from coda_voice.hybrid.answer_timing import AnswerTimer
from coda_voice.hybrid.heard_history import HeardHistory
from coda_voice.hybrid.moshi_alone import MoshiAlone
from coda_voice.hybrid.reasoner import Reasoner
from coda_voice.hybrid.route_budget import Restarts
from coda_voice.hybrid.router import RouteDecision, Router
from coda_voice.hybrid.turn_under_way import TurnUnderWay
from coda_voice.hybrid.unanswered import Unanswered
from coda_voice.moshi.transcript import AGREED_FRAMES, QUIET_FRAMES
from coda_voice.protocols import Announcement
from coda_voice.scripted_voice import ScriptedVoice, Spoken

Mode = Literal["moshi_only", "hybrid", "adaptive"]

DONE_FRAMES = 5
"""So many frames of silence after a turn that seems complete: sentences may be spoken."""
DONE_FRAMES_SURE = 3
"""The same where the transcriber's pause head takes it for the end, too."""
SETTLED_FRAMES = QUIET_FRAMES + 1
"""So many frames of silence, and the words that were still on their way are there."""
SURE = 0.6
"""Of the pause head that looks a second ahead (as in ``moshi.transcript``)."""
YIELD_FRAMES = 4
"""Voiced frames (of the last six) that are an interruption and no cough."""
OWN_WORDS = 256
"""Of Moshi's own words between two notes of them, the last."""


@dataclass(frozen=True)
class HybridSettings:
    """``parallel``: think while the user still speaks, ``presume``: when he has paused, and
    not only when the voice detector has ended his turn; ``llm_only``: mute Moshi's own talk.
    """

    mode: Mode = "hybrid"
    parallel: bool = True
    presume: bool = True
    llm_only: bool = False


class HybridAttendant(Attendant):
    """Router, reasoner and voice of one conversation.

    ``make_reasoner`` gets the function by which the reasoner publishes its events.
    """

    name: ClassVar[str] = "hybrid"

    def __init__(
        self,
        voice: ScriptedVoice,
        make_reasoner: Callable[[Callable[[Event], None]], Reasoner],
        router: Router,
        settings: HybridSettings,
        close_tools: Callable[[], None] = lambda: None,
    ) -> None:
        self.voice = voice
        self.router = router
        self.settings = settings
        self.mode: Mode = settings.mode
        self.llm_only = settings.llm_only
        self.history = HeardHistory()
        self._make_reasoner = make_reasoner
        self._close_tools = close_tools
        self._reasoner: Reasoner
        self._timer: AnswerTimer
        self._restarts = Restarts()
        self._thinking: TurnUnderWay | None = None
        self._unanswered = Unanswered(self.history)
        self._generation = 0
        self._answered_generation = 0
        self._moshi_alone = MoshiAlone()
        self._own_words: deque[str] = deque(maxlen=OWN_WORDS)
        """What Moshi has said by itself since the last note of it in the history."""
        self._sure = False
        self._quiet = 0
        """Frames without voice since the user's last, of those that were heard."""
        self._unsettled: UserText | None = None
        """The words of a turn that is not over, while they may still become more."""
        self._at_once = False
        """Whether what the turn asks so far is answered as soon as it is over."""
        self._moshi_text = ""

    def begin(self, conversation: Conversation) -> None:
        """Take over the voice: it tells what it says by itself, and waits for answers."""
        super().begin(conversation)
        self._reasoner = self._make_reasoner(self._tell)
        self.router.resources.add(self._reasoner)
        self._timer = AnswerTimer(conversation, self.voice)
        self.voice.noted = self._note
        self.voice.ended = self._spoken
        self.voice.busy = lambda: self.thinking or self._reasoner.waiting_for_consent
        self.voice.asked = lambda: self._reasoner.reply_expected
        self._apply_mode()

    @property
    def thinking(self) -> bool:
        """Whether a turn is being thought about, or its answer waits or is being spoken."""
        return self._thinking is not None

    def set_mode(self, mode: Mode, llm_only: bool | None = None) -> bool:
        """Answer otherwise from now on; thinking that is under way ends in moshi_only.

        ``llm_only``: whether Moshi's own talk is muted (None: as it was). False if nothing changed.
        """
        only = self.llm_only if llm_only is None else llm_only
        if (mode, only) == (self.mode, self.llm_only):
            return False
        self.mode = self.conversation.mode = mode
        self.llm_only = only
        self._apply_mode()
        if mode == "moshi_only":
            self._at_once = False
            self._reasoner.forget_question()
            self._drop_thinking()
        self.conversation.publish(
            ModeChanged(
                conversation_id=self.conversation.id,
                time=self.conversation.seconds,
                generation=self.conversation.generation,
                mode=mode,
                voice="llm_only" if only else "moshi_and_llm",
            )
        )
        return True

    def _apply_mode(self) -> None:
        self.router.every_turn = self.mode == "hybrid"
        self.voice.speaker.only_scripts(self.llm_only and self.mode != "moshi_only")

    # ---- what the user does ----------------------------------------------------------

    def offered(self, voiced: bool) -> None:
        """Yield to an interruption; release sentences where the user seems to be done."""
        thinking = self._thinking
        if thinking is None:
            return
        speaker = self.voice.speaker
        if thinking.generation < self._generation and speaker.voiced >= YIELD_FRAMES:
            self._yield()
        else:
            self._release_where_due(thinking)

    def _release_where_due(self, thinking: TurnUnderWay) -> None:
        """Let an answer wait with the voice as soon as Moshi might take the turn by itself."""
        speaker = self.voice.speaker
        at_onset = speaker.quiet >= speaker.manners.quiet_at_onset
        if self._seems_done or (at_onset and thinking.answer_waits):
            thinking.release()

    @property
    def _answer_due(self) -> bool:
        """Whether Moshi's own first word would be cut off: an answer waits, or is all but there."""
        thinking = self._thinking
        if thinking is None:
            return self._at_once and self._unsettled is not None
        return not (thinking.begun or thinking.over) and (thinking.answer_waits or self._at_once)

    @property
    def _seems_done(self) -> bool:
        """Whether the user has been silent for long enough to be answered."""
        return self.voice.speaker.quiet >= (DONE_FRAMES_SURE if self._sure else DONE_FRAMES)

    def turn_began(self, generation: int) -> None:
        """Begin to collect a turn; the last one's answer goes on until it is interrupted."""
        self._generation = generation
        self._unsettled, self._at_once = None, False
        self._restarts.reset()
        self._timer.user_end = None

    def interrupted(self) -> None:
        """Think no more about what was asked."""
        self._unanswered.forget()
        self._unsettled, self._at_once = None, False
        self._reasoner.forget_question()
        self._drop_thinking()

    def user_text(self, said: UserText) -> None:
        """Route the words, and think about them where Moshi alone would not do."""
        if said.final and said.text:
            self.history.user(said.generation, said.text)
        if said.generation < self._generation:
            return
        if said.final:
            self._timer.user_end, self._at_once = said.end, False
        if self.mode == "moshi_only":
            return
        if not said.text.strip():
            self._nothing_understood(said)
            return
        self._unsettled = None if said.final else said
        self._route(said, settled=said.final or self._quiet >= AGREED_FRAMES)

    def _route(self, said: UserText, *, settled: bool) -> None:
        """Decide who answers; ``settled``: the user has paused, it may well be all."""
        now = asyncio.get_running_loop().time()
        # "Stop" is no continuation of a question, but the end of it.
        stops = self.router.is_stop(said.text)
        text = said.text if stops else self._unanswered.before(said, now)
        asked = self._reasoner.waiting_for_consent
        decision = self.router.route(
            text,
            now,
            partial=not said.final,
            agent_text=self._moshi_text,
            stand_in=self._reasoner.can_stand_in,
        )
        self.conversation.publish(
            decision.event(self.conversation.id, text, not said.final, said.time, said.generation)
        )
        self._at_once = decision.target == "llm" and (
            decision.stand_in or self._reasoner.answers_at_once(text)
        )
        if decision.target == "stop":
            self._unanswered.forget()
            self._reasoner.forget_question()
            self._drop_thinking()
            self.voice.hush()
        elif asked:
            # The reply to "shall I really?" is the reasoner's to understand, and only whole.
            if said.final:
                self._think(said.text, said)
        elif decision.target == "llm" and self._may_think(said, settled):
            self._think_of(text, said, now, decision, settled=settled)
        elif decision.target == "moshi" and said.final:
            current = self._thinking
            if current is not None and current.generation == said.generation:
                self._drop_thinking()

    def _may_think(self, said: UserText, settled: bool) -> bool:
        settings = self.settings
        return said.final or settings.parallel or (settled and settings.presume)

    def _think_of(
        self, text: str, said: UserText, now: float, decision: RouteDecision, *, settled: bool
    ) -> None:
        current = self._thinking
        again = self._restarts.wanted(text, now, final=said.final, settled=settled)
        if current is None and self._answered_generation == said.generation and not again:
            return
        if current is None or current.generation < said.generation or again:
            if again or said.final:
                self._think(text, said, deep=decision.deep, stand_in=decision.stand_in)
        elif said.final:
            current.answer.confirm()
            current.release()

    def _think(
        self, text: str, said: UserText, *, deep: bool = False, stand_in: bool = False
    ) -> None:
        if self._thinking is not None:
            self._drop_thinking()
        conversation = self.conversation
        answer = self._reasoner.start(
            Turn(
                said.generation,
                text,
                self.history.before(said.generation),
                conversation.notes_on,
                said.time,
                confirmed=said.final,
                moshi_heard=not said.typed,
                deep=deep,
                stand_in=stand_in,
                aloud=True,
            )
        )
        thinking = TurnUnderWay(
            text,
            said.generation,
            answer,
            self.voice,
            enough=partial(self._reasoner.interrupt, said.generation),
            script_ended=self._script_ended,
            moshi_answered=partial(self._moshi_answered, typed=said.typed),
        )
        if said.final or self._seems_done:
            thinking.release()
        self._thinking = thinking
        thinking.task = asyncio.get_running_loop().create_task(
            self._speak(thinking), name=f"speaks turn {said.generation}"
        )

    def _moshi_answered(self, *, typed: bool) -> bool | None:
        """Whether Moshi alone has answered the user; it cannot what it has not heard."""
        return False if typed or self.llm_only else self._moshi_alone.answered

    def _nothing_understood(self, said: UserText) -> None:
        """After a cough, go on with the turn it cut off."""
        if not said.final or self._thinking is not None:
            return
        if (text := self._unanswered.take(said.generation)) is not None:
            self._think(text, UserText(text, True, said.generation, said.time, end=said.end))

    # ---- what is said ----------------------------------------------------------------

    async def _speak(self, thinking: TurnUnderWay) -> None:
        await thinking.speak()
        self._settle()

    def _settle(self) -> None:
        """Forget a turn once its last word has been said."""
        thinking = self._thinking
        if thinking is not None and thinking.over:
            self._thinking = None
            self._answered_generation = thinking.generation

    def _yield(self) -> None:
        """The user speaks: what was thought for the last turn is stale."""
        thinking = self._thinking
        if thinking is None:
            return
        if not thinking.begun and not thinking.answer.acted:
            now = asyncio.get_running_loop().time()
            self._unanswered.keep(thinking.text, thinking.generation, now)
        self._drop_thinking()
        # Moshi may have been bridging the time by itself: that is interrupted as well.
        self.voice.hush()

    def _drop_thinking(self) -> None:
        thinking, self._thinking = self._thinking, None
        self._reasoner.interrupt(max(self._generation, 0))
        if thinking is not None:
            thinking.drop()

    def _script_ended(self, spoken: Spoken) -> None:
        self._note_own_words()
        self.history.agent(spoken.generation, spoken.heard, answer=True)
        if spoken.heard:
            self._unanswered.forget()
        self._settle()

    def _note(self, announcement: Announcement) -> None:
        told = f"{announcement.tool_name or 'something'} reported: {announcement.text}"
        self.history.note(self.conversation.generation, told)

    def _spoken(self, spoken: Spoken) -> None:
        """Note what was heard of a script that is no answer: the user may ask about it."""
        if spoken.origin in ("announcement", "greeting", "say"):
            self._note_own_words()
            self.history.agent(spoken.generation, spoken.heard)
            if spoken.heard and self._reasoner.waiting_for_consent:
                # What the user says now is said to this, and no leave.
                self._reasoner.forget_question()

    # ---- what is heard ---------------------------------------------------------------

    def heard(self, heard: Heard) -> None:
        """Time the answer's first word; keep Moshi's latest words for the router and history."""
        voiced = heard.frame.voiced is not False
        own = [word.text for word in heard.frame.words if not self.voice.says(word)]
        self._own_words.extend(own)
        self._moshi_alone.heard(own, user=voiced, moshi=heard.agent_speaking)
        if heard.frame.words:
            self._moshi_text = f"{self._moshi_text} {heard.text}"[-200:]
        self.router.resources.frame(heard.frame.times.compute)
        thinking = self._thinking
        self._timer.look(self._generation)
        pause = heard.frame.pause
        self._sure = pause is not None and pause[min(1, len(pause) - 1)] >= SURE
        if thinking is not None:
            self._release_where_due(thinking)
            thinking.pass_on()
            thinking.note_heard()
            self._settle()
        self.voice.speaker.expect_answer(self._answer_due)
        self._quiet = 0 if voiced else self._quiet + 1
        if self._quiet == SETTLED_FRAMES and self.settings.presume:
            self._settle_words()

    def _settle_words(self) -> None:
        """The user has paused and no word is on its way: think of what is not thought of yet."""
        said, self._unsettled = self._unsettled, None
        if said is None or said.generation < self._generation or self.mode == "moshi_only":
            return
        if not self._restarts.begun_with(said.text):
            self._route(said, settled=True)

    def agent_said(self, text: str, generation: int) -> None:
        """Note what Moshi said by itself; scripts are noted by their own account."""
        self._note_own_words()

    def _note_own_words(self) -> None:
        self.history.agent(self.conversation.generation, tuple(self._own_words))
        self._own_words.clear()

    # ---- end -------------------------------------------------------------------------

    def closed(self) -> None:
        """Stop thinking and the tools that run by themselves."""
        self._drop_thinking()
        self._close_tools()

    async def aclose(self) -> None:
        """Wait for the reasoner's tasks."""
        await self._reasoner.close()

    def _tell(self, event: Event) -> None:
        if isinstance(event, ReasoningEnded) and event.outcome != "interrupted":
            now = asyncio.get_running_loop().time()
            first = event.first_text if event.first_text is not None else event.seconds
            thinking = self._thinking
            half_a_turn = thinking is not None and not thinking.answer.confirmed.is_set()
            # A brain that works but has no answer to this is no reason to spare it the next.
            at_fault = event.code is not None and event.code != "llm_not_understood"
            if event.offline and not event.code and not self._reasoner.offline:
                self.router.answered_by_stand_in(now)
            elif not event.code or (at_fault and not half_a_turn):
                self.router.answered(now, None if event.code else first)
        self.conversation.publish(event.model_copy(update={"time": self.conversation.seconds}))
