"""Think about a turn: ask the LLM, run its tools, give sentences as they become ready.

One reasoner serves one conversation. A turn has a generation number; a newer turn, or
``interrupt``, ends the thinking of the older ones. Whatever goes wrong, the caller gets
sentences, of which at most one is an apology, and events that say what happened.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from contextlib import aclosing

from coda_voice.errors import LlmError, ValidationError
from coda_voice.events import Event
from coda_voice.hybrid.answer import Answer, ReasonerSettings, Turn
from coda_voice.hybrid.consent import REPLY_SECONDS, Question, act, consent, question_before
from coda_voice.hybrid.llm import (
    LlmClient,
    Message,
    StreamEnd,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolCallRequest,
    next_chunk,
)
from coda_voice.hybrid.offline_brain import understand
from coda_voice.hybrid.offline_requests import tells_of_oneself
from coda_voice.hybrid.reasoning_prompt import (
    NO_MORE_TOOLS,
    REFUSED,
    prompt_messages,
    tool_message,
)
from coda_voice.hybrid.speakable import SentenceStream, speakable
from coda_voice.hybrid.thinking import Outcome, Thinking, ThinkingEvents, context_of, now
from coda_voice.hybrid.tool_runner import ToolRunner, within
from coda_voice.protocols import ToolBox, ToolOutcome, ToolSpec

APOLOGIES = {
    "llm_stalled": "Sorry, that takes me too long just now.",
    "llm_disconnected": "Sorry, I lost my thread there.",
    "llm_stream_error": "Sorry, I lost my thread there.",
    "llm_prompt_too_long": "Sorry, that is more than I can keep in mind at once.",
    "llm_tool_loop": "Sorry, I could not work that out.",
    "llm_not_understood": "Sorry, I can only answer that with a language model, and none is there.",
}
ACKNOWLEDGED = "Thank you for telling me."
"""Where nobody could say more, but nothing was asked either."""
OTHER_APOLOGY = "Sorry, I cannot think about that right now."
MORE = "There is more, if you want to hear it."


class _Enough(Exception):
    """The answer has as many words as are worth hearing."""


class Reasoner:
    """Thinks for one conversation; ``fallback`` answers where ``client`` cannot.

    ``deep``: a second, larger model for the turns that want it. Where it fails before a word
    was said, ``client`` answers.
    """

    def __init__(
        self,
        client: LlmClient,
        publish: Callable[[Event], None],
        conversation_id: str = "",
        *,
        tools: ToolBox | None = None,
        fallback: LlmClient | None = None,
        deep: LlmClient | None = None,
        settings: ReasonerSettings | None = None,
    ) -> None:
        self._client = client
        self._deep = deep
        self._fallback = fallback
        self._tell = ThinkingEvents(publish, conversation_id)
        self._settings = settings or ReasonerSettings()
        self._runner = ToolRunner(tools, publish, conversation_id)
        phrases = [speakable(phrase) for phrase in self._settings.waiting_phrases]
        self._phrases = itertools.cycle(phrases or ("",))
        self._generation = -1
        self._question: Question | None = None
        self._current: tuple[asyncio.Task[None], Thinking] | None = None
        self._ending: set[asyncio.Task[None]] = set()

    def start(self, turn: Turn) -> Answer:
        """Begin to think; the thinking of older turns ends.

        Raises ValidationError for a turn that is older than one already known.
        """
        if turn.generation < self._generation:
            raise ValidationError(
                f"Turn {turn.generation} is stale: turn {self._generation} has begun. Give each "
                "user turn a higher generation than the last."
            )
        self.interrupt(turn.generation)
        answer = Answer(turn.generation, turn.confirmed, turn.aloud)
        loop = asyncio.get_running_loop()
        client = self._deep if turn.deep and self._deep is not None else self._client
        if turn.stand_in and self._fallback is not None:
            client = self._fallback
        state = Thinking(turn, answer, loop.time(), client)
        task = loop.create_task(self._think(state), name=f"reasoner turn {turn.generation}")
        # A task cancelled before its first step never runs, so the end is told from outside.
        task.add_done_callback(lambda done: self._end(done, state))
        self._current = task, state
        return answer

    @property
    def waiting_for_consent(self) -> bool:
        """Whether the user has heard a question for leave and not replied to it yet."""
        return self._asked() is not None

    @property
    def reply_expected(self) -> bool:
        """Whether he has heard it only just now."""
        question = self._question
        return question is not None and question.waits(now(), REPLY_SECONDS)

    def forget_question(self) -> None:
        """Take nothing that is said from now on for leave."""
        question, self._question = self._question, None
        if question is not None:
            self._runner.keep(question.kept)

    def _asked(self) -> Question | None:
        question = self._question
        return question if question is not None and question.waits(now()) else None

    @property
    def thinking(self) -> bool:
        """Whether a turn is being thought about."""
        return self._current is not None and not self._current[0].done()

    def answers_at_once(self, text: str) -> bool:
        """Whether who thinks, or would, is the offline brain, and has a rule for this."""
        client = self._current[1].client if self._current is not None and self.thinking else None
        if not (client or self._client).offline:
            return False
        return self._has_a_rule(text)

    def can_stand_in(self, text: str) -> bool:
        """Whether the offline brain is there in place of an LLM, and has a rule for this."""
        return self._fallback is not None and self._fallback.offline and self._has_a_rule(text)

    @property
    def offline(self) -> bool:
        """Whether there is no LLM, and the offline brain answers all."""
        return self._client.offline

    def _has_a_rule(self, text: str) -> bool:
        return understand(text, {spec.name for spec in self._runner.specs()}) is not None

    def interrupt(self, generation: int) -> None:
        """Make everything before ``generation`` stale, at once.

        Also ends a running answer of this same generation: it is about to be replaced.
        """
        self._generation = max(self._generation, generation)
        if self._current is None:
            return
        task, state = self._current
        self._current = None
        state.answer.drop()
        if not state.answer.heard:
            # At once: the next turn's prompt is written before this one's task has ended.
            self._give_back(state)
        if not task.done():
            task.cancel()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """End all thinking and stop the tools."""
        self.interrupt(self._generation)
        if self._ending:
            await asyncio.wait(set(self._ending))
        await self._runner.close()

    async def _think(self, state: Thinking) -> None:
        loop = asyncio.get_running_loop()
        filler = loop.call_later(self._settings.filler_after, self._fill, state)
        self._tell.start(state)
        try:
            await self._answer(state)
        except LlmError as error:
            await self._fail(state, error)
        finally:
            filler.cancel()

    async def _answer(self, state: Thinking) -> None:
        limit = self._settings.turn_timeout
        try:
            async with asyncio.timeout(limit):
                if not state.messages:
                    await self._open(state)
                outcome = await self._rounds(state)
        except TimeoutError as error:
            raise LlmError(f"The turn was not over within {limit:g} s.", "llm_stalled") from error
        if outcome == "answered" and not state.answer.spoken:
            raise LlmError(f"{state.client.name} ended without a word to speak.", "llm_bad_answer")
        self._tell.end(state, outcome)

    async def _open(self, state: Thinking) -> None:
        """Write the prompt; if leave was asked for and this is the reply, act on it."""
        turn, asked = state.turn, self._asked()
        said = consent(turn.text) if asked else None
        if asked is None or said is None:
            self.forget_question()
            state.kept = self._runner.take_kept()
            state.messages = prompt_messages(
                turn.text, turn.history, await context_of(state), state.kept, self._settings.style
            )
            return
        self._question = None
        state.messages, state.kept = asked.messages, [*asked.kept]
        if said:
            state.answer.acted = True
            await self._run_tools(state, asked.calls)
        else:
            refusals = [ToolOutcome(call.call_id, call.name, REFUSED) for call in asked.calls]
            state.messages += [tool_message(refusal) for refusal in refusals]

    async def _rounds(self, state: Thinking) -> Outcome:
        """Let the LLM write and call tools by turns until it has answered."""
        while True:
            last = state.rounds >= self._settings.max_rounds or state.bad_rounds > 1
            if last:
                state.messages.append(Message("system", NO_MORE_TOOLS))
            specs = () if last else self._runner.specs()
            try:
                text, thinking, asked = await self._listen(state, specs)
            except _Enough:
                state.detail = f"the answer was ended after {state.words} words"
                return "answered"
            if not asked:
                return "answered"
            if last:
                raise LlmError(
                    f"{state.client.name} went on calling tools after {state.rounds} rounds.",
                    "llm_tool_loop",
                )
            state.rounds += 1
            calls = within(asked, self._settings.max_calls)
            state.messages.append(Message("assistant", text, tuple(calls), thinking))
            to_run = [call for call in calls if call.beyond is None]
            if left_out := len(asked) - len(to_run):
                state.detail = f"{left_out} of {len(asked)} tool calls in one message were not run"
            if act(to_run, specs):
                await state.answer.confirmed.wait()
            if question := question_before(to_run, specs, state.turn.text):
                self._question = Question(
                    state.messages, tuple(calls), state.answer, tuple(state.kept)
                )
                state.kept = []
                self._tell.say(state, question, "question")
                return "asked"
            state.answer.acted = act(to_run, specs) or state.answer.acted
            await self._run_tools(state, calls)

    async def _run_tools(self, state: Thinking, calls: Sequence[ToolCall]) -> None:
        loop = asyncio.get_running_loop()
        filler = loop.call_later(self._settings.filler_after, self._fill_for_tools, state)
        try:
            outcomes = await self._runner.run(
                calls, state.turn.generation, offline=state.client.offline
            )
        finally:
            filler.cancel()
        bad = any(o.fault in ("invalid_arguments", "unknown_tool") for o in outcomes)
        state.bad_rounds += bad
        state.tools_ran = True
        state.messages += [tool_message(outcome) for outcome in outcomes]

    async def _listen(
        self, state: Thinking, specs: Sequence[ToolSpec]
    ) -> tuple[str, str, list[ToolCall]]:
        """Take one answer of the LLM; say its sentences; give its text, thoughts and calls."""
        sentences = SentenceStream()
        text: list[str] = []
        thinking: list[str] = []
        calls: list[ToolCall] = []
        limit = self._settings.first_timeout
        async with aclosing(state.client.stream(state.messages, specs)) as stream:
            while True:
                chunk = await next_chunk(stream, state.client.name, limit)
                limit = self._settings.stall_timeout
                match chunk:
                    case TextDelta(piece):
                        text.append(piece)
                        self._note_text(state)
                        for sentence in sentences.feed(piece):
                            self._say_counted(state, sentence)
                    case ThinkingDelta(piece):
                        thinking.append(piece)
                    case ToolCallRequest(call):
                        calls.append(call)
                    case StreamEnd(dropped_messages=dropped, cut=cut):
                        told = [cut] if cut else []
                        told += [f"{dropped} old messages were left out"] if dropped else []
                        state.detail = "; ".join(told) or state.detail
                    case None:
                        break
        for sentence in sentences.flush():
            self._say_counted(state, sentence)
        return "".join(text), "".join(thinking), calls

    def _note_text(self, state: Thinking) -> None:
        if state.first_text is None:
            state.first_text = now() - state.started

    def _say_counted(self, state: Thinking, sentence: str) -> None:
        if state.words and state.words + len(sentence.split()) > self._settings.max_words:
            self._tell.say(state, MORE, "answer")
            raise _Enough
        words = sentence.split()
        state.words += len(words)
        self._tell.say(state, " ".join(words[: self._settings.max_words]), "answer")

    def _fill(self, state: Thinking) -> None:
        """Say something while the user waits, unless the answer has begun."""
        if state.answer.spoken or self._fill_for_tools(state):
            return
        if phrase := next(self._phrases):
            self._tell.say(state, phrase, "filler")

    def _fill_for_tools(self, state: Thinking) -> bool:
        """Say what one of the tools at work has to say meanwhile; False if none has."""
        own = (spec.speak_while_running for spec in self._runner.running())
        phrase = next((words for words in own if words and words not in state.told), None)
        if phrase is None:
            return False
        state.told.add(phrase)
        self._tell.say(state, speakable(phrase), "filler")
        return True

    async def _fail(self, state: Thinking, error: LlmError) -> None:
        """Let another answer if nothing has been said yet; else apologise, once.

        The others have what is left of the turn's time, or that of a first word.
        """
        settings = self._settings
        left = state.started + settings.turn_timeout - now()
        until = now() + max(left, settings.first_timeout)
        asked = state.client
        for other in self._others(asked):
            if state.answer.spoken:
                break
            state.client, state.detail = other, None
            try:
                async with asyncio.timeout_at(until):
                    await self._rounds_of_fallback(state, error)
            except (LlmError, TimeoutError):
                state.client = asked
            else:
                return
        if error.error_code == "llm_not_understood" and state.turn.moshi_heard:
            self._tell.end(state, "failed", error)
            return
        apology = APOLOGIES.get(error.error_code, OTHER_APOLOGY)
        if error.error_code == "llm_not_understood" and tells_of_oneself(state.turn.text):
            apology = ACKNOWLEDGED
        self._tell.say(state, apology, "apology")
        self._tell.end(state, "failed", error)

    def _others(self, asked: LlmClient) -> list[LlmClient]:
        """Give who may answer where ``asked`` could not, in order."""
        quick = [self._client] if asked is self._deep else []
        if self._fallback is None or asked is self._fallback:
            return quick
        return [*quick, self._fallback]

    async def _rounds_of_fallback(self, state: Thinking, error: LlmError) -> None:
        state.rounds = state.bad_rounds = 0
        outcome = await self._rounds(state)
        if not state.answer.spoken:
            raise LlmError("The fallback had nothing to say.", "llm_not_understood")
        self._tell.end(state, outcome, error)

    def _give_back(self, state: Thinking) -> None:
        """The user has heard nothing of late results: the next turn must still know."""
        self._runner.keep(state.kept)
        state.kept = []

    def _end(self, task: asyncio.Task[None], state: Thinking) -> None:
        """Close the answer however its task ended."""
        if not state.words:
            self._give_back(state)
        if task.cancelled():
            self._tell.end(state, "interrupted")
        elif (raised := task.exception()) is not None:
            # A fault of ours, not of the LLM: asyncio's handler reports it with its traceback.
            self._tell.say(state, OTHER_APOLOGY, "apology")
            self._tell.end(state, "failed", LlmError(f"internal fault: {raised!r}", "internal"))
            task.get_loop().call_exception_handler(
                {"message": "reasoner failed", "exception": raised, "task": task}
            )
        state.answer.end()
