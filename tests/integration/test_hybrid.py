"""Hybrid conversations: routed, thought about with tools, spoken in Moshi's voice, interrupted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from coda_voice import VoiceManager
from coda_voice.audio.features import level_dbfs
from coda_voice.composition import HouseTools
from coda_voice.errors import (
    ConfigurationError,
    ConversationError,
    IntegrationError,
    ValidationError,
)
from coda_voice.events import (
    AnswerLatency,
    ConversationFailed,
    ModeChanged,
    ReasoningEnded,
    ReasoningStarted,
    RouteDecided,
    ScriptEnded,
    ScriptStarted,
    SentenceReady,
    SpeechEnded,
    ToolEnded,
    ToolStarted,
    Transcript,
    WordSpoken,
)
from coda_voice.hybrid.attendant import HybridAttendant
from coda_voice.moshi.engine import Engine
from coda_voice.moshi.frames import FRAME_SAMPLES, FRAME_SECONDS
from tests.conftest import Spoken
from tests.integration.hybrid_talk import HybridTalk
from tests.integration.llm_server import LlmServer, calls, done, frame, text

READ = 1_500
"""Tokens the stand-in says it read: fewer would mean that it cut the prompt."""
OFFLINE = {"external_llm": {"provider": "offline"}, "moshi": {"device": "cpu", "seed": 5}}


@contextlib.asynccontextmanager
async def talking(
    engine: Engine, mode: str = "hybrid", tools: HouseTools | None = None, **config: Any
) -> AsyncIterator[HybridTalk]:
    """A hybrid conversation with the offline brain, or as ``config`` says."""
    # A filler would come at a moment that depends on how busy the machine is.
    hybrid = {"filler_after": 60.0, **config.pop("hybrid", {})}
    settings = {**OFFLINE, "mode": mode, "hybrid": hybrid, **config}
    async with VoiceManager(settings, engine=engine, tools=tools) as manager:
        yield await HybridTalk.begin(manager)


def ollama(server: LlmServer, **more: Any) -> dict[str, Any]:
    return {"external_llm": {"provider": "ollama", "endpoint": server.url, **more}}


def reply(*pieces: str) -> list[Any]:
    return text(*pieces, prompt_eval_count=READ)


def hybrid_of(talk: HybridTalk) -> HybridAttendant:
    return next(a for a in talk.conversation.attendants if isinstance(a, HybridAttendant))


def history_of(talk: HybridTalk) -> list[tuple[str, str]]:
    return [(m.role, m.content) for m in hybrid_of(talk).history.before(10**6)]


def finished(talk: HybridTalk) -> bool:
    """Whether a script has been spoken, to its end or to an interruption."""
    return any(ended.heard for ended in talk.of(ScriptEnded))


async def test_a_spoken_question_is_routed_worked_out_and_answered_aloud(engine, spoken: Spoken):
    async with talking(engine) as talk:
        await talk.say(spoken.pcm("what_is_your_name"), "what is three plus four")
        await talk.until(lambda: finished(talk))
        await talk.silence(10)
        history = history_of(talk)
    transcripts = talk.of(Transcript)
    assert [t.text for t in transcripts if t.final] == ["what is three plus four"]
    assert any(not t.final for t in transcripts)
    decided = talk.of(RouteDecided)
    assert (decided[-1].target, decided[-1].kind, decided[-1].partial) == ("llm", "tool", False)
    assert [(t.tool, t.outcome) for t in talk.of(ToolEnded)] == [("calculate", "done")]
    assert [(s.text, s.kind, s.offline) for s in talk.of(SentenceReady)] == [
        ("seven", "answer", True)
    ]
    (ended,) = talk.of(ScriptEnded)
    assert (ended.outcome, ended.heard, ended.unsaid) == ("done", "seven", 0)
    # The word is in the agent's own monologue, where the event says.
    said = [w for w in talk.of(WordSpoken) if w.speaker == "agent" and w.text == "seven"]
    (started,) = talk.of(ScriptStarted)
    assert said and abs(said[-1].start - started.time) <= FRAME_SECONDS + 1e-6
    first = round(started.time / FRAME_SECONDS)
    assert not any(h.frame.muted for h in talk.heard[first : first + 8])
    assert history[-2:] == [("user", "what is three plus four"), ("assistant", "seven")]


async def test_social_talk_is_left_to_moshi(engine, spoken: Spoken):
    async with talking(engine, "adaptive") as talk:
        await talk.say(spoken.pcm("hello"), "hello there")
        await talk.silence(12)
    assert talk.of(RouteDecided)[-1].target == "moshi"
    assert not talk.of(ReasoningStarted)


async def test_a_turn_may_be_typed(engine):
    async with talking(engine) as talk:
        talk.manager.send_text(talk.conversation.id, "what is six times seven")
        await talk.until(lambda: finished(talk))
        with pytest.raises(ValidationError):
            talk.manager.send_text(talk.conversation.id, "  ")
    assert [(t.text, t.typed, t.final) for t in talk.of(Transcript)] == [
        ("what is six times seven", True, True)
    ]
    assert talk.of(ScriptEnded)[0].heard == "forty two"


async def test_thinking_begins_while_the_user_still_speaks(engine, spoken: Spoken):
    words = "what is the capital of the land of France"
    async with (
        LlmServer(reply("The capital is Paris.")) as server,
        talking(engine, **ollama(server)) as talk,
    ):
        await talk.say(spoken.pcm("long_question"), words)
        await talk.until(lambda: finished(talk))
    end = talk.of(AnswerLatency)[-1]
    assert talk.of(ReasoningStarted)[0].time < end.time - end.seconds, "asked before the end"
    asked = [r["messages"][-1]["content"] for r in server.requests]
    assert len(asked) >= 2 and asked[-1] == words
    assert [e.heard for e in talk.of(ScriptEnded) if e.heard] == ["The capital is Paris."]


async def test_what_acts_waits_until_the_user_has_said_all(engine, spoken: Spoken):
    def answer(request: dict[str, Any]) -> list[Any]:
        if request["messages"][-1]["role"] == "tool":
            return reply("It runs.")
        return [
            frame(tool_calls=calls(("set_timer", {"seconds": 300}))),
            done(prompt_eval_count=READ),
        ]

    async with LlmServer(answer) as server, talking(engine, **ollama(server)) as talk:
        await talk.say(spoken.pcm("long_question"), "please set a timer for five minutes now")
        await talk.until(lambda: finished(talk))
        running = hybrid_of(talk).history  # the talk goes on; nothing more is set
        await talk.silence(5)
        assert running.before(99)[-1].content == "It runs."
    assert [t.outcome for t in talk.of(ToolEnded)] == ["done"]
    assert len(talk.of(ToolStarted)) == 1, "once, however often it was thought about"
    ended = max(e.time for e in talk.of(Transcript) if e.final)
    assert talk.of(ReasoningStarted)[0].time < ended <= talk.of(ToolStarted)[0].time


async def test_an_interruption_silences_it_and_only_what_was_heard_is_history(
    engine, spoken: Spoken
):
    long = "One two three four five six seven eight nine ten eleven twelve thirteen fourteen."
    async with LlmServer(reply(long)) as server, talking(engine, **ollama(server)) as talk:
        await talk.say(spoken.pcm("weather"), "tell me all the numbers please")
        await talk.until(lambda: len(_said(talk)) >= 4)
        onset = talk.conversation.seconds + spoken.facts["stop"]["onset"]
        await talk.say(spoken.pcm("stop"), "stop talking")
        await talk.silence(10)
        ended = next(e for e in talk.of(ScriptEnded) if e.heard)
        history = history_of(talk)
    assert ended.outcome == "interrupted" and ended.unsaid > 4
    silent = [h.frame.time for h in talk.heard if h.frame.muted]
    assert silent and silent[0] <= onset + 0.4
    after = [h for h in talk.heard if h.frame.muted]
    assert all(not np.any(h.frame.pcm) for h in after)
    heard = ended.heard.split()
    assert heard == long.split()[: len(heard)] and 3 <= len(heard) <= 8
    assert ("assistant", ended.heard) in history
    # Words of the script that were cut off are not told as spoken, either.
    words = [w.text for w in talk.of(WordSpoken) if w.speaker == "agent" and w.time > silent[0]]
    assert not set(words) & {"ten", "eleven", "twelve"}
    assert talk.of(RouteDecided)[-1].target == "stop"


def _said(talk: HybridTalk) -> list[str]:
    voice = hybrid_of(talk).voice
    return [word.text for spoken in voice.current() for word in spoken.script.said]


async def test_a_timer_speaks_up_later_and_a_silent_note_is_only_known(engine):
    async with talking(engine) as talk:
        talk.manager.send_text(talk.conversation.id, "set a timer for one second")
        await talk.until(lambda: len(talk.of(ScriptEnded)) >= 2, 2_000)
        talk.manager.say(talk.conversation.id, "the mail is there", "silent")
        history = history_of(talk)
    answer, announcement = talk.of(ScriptStarted)[:2]
    assert (answer.origin, announcement.origin) == ("answer", "announcement")
    assert (
        talk.of(ScriptEnded)[1].heard.startswith("Your") and "done" in talk.of(ScriptEnded)[1].heard
    )
    assert any(role == "system" and "mail" in said for role, said in history)
    assert ("assistant", talk.of(ScriptEnded)[1].heard) in history, "it can be asked about"


async def test_what_rings_while_the_user_speaks_is_said_after_the_answer(engine, spoken: Spoken):
    async with talking(engine) as talk:
        await talk.say(spoken.pcm("weather")[:24_000])
        talk.manager.say(talk.conversation.id, "your timer is done", "interrupt")
        talk.manager.send_text(talk.conversation.id, "what is three plus four")
        await talk.until(lambda: len(done_of(talk)) == 2, 2_000)
    assert [(e.origin, e.heard) for e in done_of(talk)] == [
        ("answer", "seven"),
        ("announcement", "your timer is done"),
    ]


def done_of(talk: HybridTalk) -> list[ScriptEnded]:
    return [e for e in talk.of(ScriptEnded) if e.outcome == "done"]


async def test_greeting_and_say_work_in_moshi_only(engine):
    config = {"hybrid": {"greeting": "welcome back"}}
    async with talking(engine, "moshi_only", **config) as talk:
        await talk.until(lambda: finished(talk))
        talk.manager.say(talk.conversation.id, "it is 21", "when_idle")
        await talk.until(lambda: len(talk.of(ScriptEnded)) == 2)
        with pytest.raises(ConversationError):
            talk.manager.say("nobody", "hello")
    assert [(e.origin, e.outcome, e.heard) for e in talk.of(ScriptEnded)] == [
        ("greeting", "done", "welcome back"),
        ("announcement", "done", "it is twenty one"),
    ]
    assert [e.unsaid for e in talk.of(ScriptEnded)] == [0, 0]


async def test_the_mode_changes_while_a_conversation_runs(engine):
    async with talking(engine, "moshi_only") as talk:
        name, manager = talk.conversation.id, talk.manager
        manager.send_text(name, "what is one plus one")
        await talk.silence(10)
        assert not talk.of(RouteDecided)
        await manager.set_mode("adaptive", name)
        talk.conversation.transcribe(False)
        manager.send_text(name, "what is one plus two")
        await talk.until(lambda: finished(talk))
        await manager.set_mode("moshi_only")
        manager.send_text(name, "what is one plus three")
        await talk.silence(10)
        with pytest.raises(ConfigurationError):
            await manager.set_mode("traditional")
    assert [e.mode for e in talk.of(ModeChanged)] == ["adaptive", "moshi_only"]
    assert [e.heard for e in talk.of(ScriptEnded)] == ["three"]


class SlowTools(HouseTools):
    """Tools that take their time to be listed."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go_on = asyncio.Semaphore(0), asyncio.Event()

    async def prepare(self, manager: object | None) -> None:
        self.asked.release()
        await self.go_on.wait()
        await super().prepare(manager)


async def test_an_llm_that_two_want_at_once_answers_once(engine):
    tools = SlowTools()
    async with talking(engine, "moshi_only", tools) as talk, asyncio.TaskGroup() as both:
        name, manager = talk.conversation.id, talk.manager
        wanted = [both.create_task(manager.set_mode("hybrid", name)) for _ in range(2)]
        for _ in wanted:
            await tools.asked.acquire()
        tools.go_on.set()
        await asyncio.wait(wanted)
        talk.conversation.transcribe(False)
        manager.send_text(name, "what is one plus two")
        await talk.until(lambda: finished(talk))
        await talk.silence(10)
    assert [e.mode for e in talk.of(ModeChanged)] == ["hybrid"]
    assert [e.heard for e in talk.of(ScriptEnded)] == ["three"]
    assert len(talk.of(ReasoningStarted)) == 1


async def test_a_conversation_that_ends_meanwhile_keeps_no_other_from_changing_its_mode(engine):
    tools = SlowTools()
    async with talking(engine, "moshi_only", tools) as talk, asyncio.TaskGroup() as group:
        manager = talk.manager
        other = manager.conversation(await manager.start_conversation())
        wanted = group.create_task(manager.set_mode("hybrid"))
        await tools.asked.acquire()
        await manager.end_conversation(talk.conversation.id)
        tools.go_on.set()
        assert await wanted and other.mode == "hybrid"


@pytest.mark.parametrize(("was", "then"), [("hybrid", "moshi_only"), ("moshi_only", "hybrid")])
async def test_who_is_just_beginning_changes_its_mode_with_all(engine, was: str, then: str):
    async with VoiceManager({**OFFLINE, "mode": was}, engine=engine) as manager:
        beginning = asyncio.create_task(manager.start_conversation())
        await asyncio.sleep(0)
        assert not manager.get_active_conversations(), "it is under way, and not there yet"
        await manager.set_mode(then, voice="llm_only")
        name = await beginning
        state = manager.get_conversation_state(name)
        assert state is not None and state.current_mode == then
        talk = HybridTalk(manager, manager.conversation(name))
        talk.conversation.transcribe(False)
        manager.send_text(name, "what is one plus two")
        await (talk.until(lambda: finished(talk)) if then == "hybrid" else talk.silence(10))
        assert [e.heard for e in talk.of(ScriptEnded)] == (["three"] if then == "hybrid" else [])


class CodasTools:
    """A tool manager of Coda's that takes its time to list its tools, the first time in vain."""

    def __init__(self) -> None:
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()
        self.fails = True

    async def get_function_schemas(self, context: object | None = None) -> list[dict[str, Any]]:
        self.asked.set()
        await self.go_on.wait()
        if self.fails:
            self.fails = False
            raise IntegrationError("The tools are not there yet.")
        parameters = {"type": "object", "properties": {}}
        return [{"name": "open_door", "description": "Opens it.", "parameters": parameters}]

    async def process_function_call(self, call: object) -> dict[str, Any]:
        return {"success": True, "result": "open"}


async def test_codas_tools_are_there_for_who_comes_while_they_are_listed_and_after_a_failure(
    engine,
):
    tools = CodasTools()
    async with LlmServer(reply("Yes.")) as server:
        settings = {**OFFLINE, "mode": "hybrid", **ollama(server)}
        async with VoiceManager(settings, engine=engine) as manager:
            await manager.set_tool_manager(tools)
            beginning = [asyncio.create_task(manager.start_conversation()) for _ in range(3)]
            await tools.asked.wait()
            tools.go_on.set()
            first, *others = await asyncio.gather(*beginning, return_exceptions=True)
            assert isinstance(first, IntegrationError)
            for name in [*others, await manager.start_conversation()]:
                talk = HybridTalk(manager, manager.conversation(name))
                talk.conversation.transcribe(False)
                manager.send_text(name, "open the door please")
                await talk.until(lambda talk=talk: finished(talk))
    offered = [[t["function"]["name"] for t in r["tools"]] for r in server.requests]
    assert len(offered) == 3 and all("open_door" in names for names in offered)


async def test_llm_only_mutes_moshi_but_not_the_answer(engine, spoken: Spoken):
    async with talking(engine, hybrid={"voice": "llm_only"}) as talk:
        await talk.say(spoken.pcm("weather"), "what is three plus four")
        await talk.until(lambda: finished(talk))
        await talk.silence(15)
    (ended,) = talk.of(ScriptEnded)
    assert ended.heard == "seven"
    loud = [h.frame.time for h in talk.heard if level_dbfs(h.frame.pcm) > -45]
    began = talk.of(ScriptStarted)[0].time
    assert loud and began - 0.1 <= loud[0] and loud[-1] < began + 2
    words = [w.text for w in talk.of(WordSpoken) if w.speaker == "agent"]
    assert words == ["seven"]


async def test_llm_only_comes_and_goes_while_conversations_run(engine, spoken: Spoken):
    def loud(since: int) -> bool:
        return any(level_dbfs(h.frame.pcm) > -45 for h in talk.heard[since:])

    async with talking(engine) as talk:
        manager, name = talk.manager, talk.conversation.id
        assert await manager.set_mode(voice="llm_only", conversation_id=name)
        assert not await manager.set_mode(voice="llm_only"), "nothing new for this one"
        await talk.silence(3)  # what had begun
        began = len(talk.heard)
        await talk.say(spoken.pcm("hello"))  # nobody writes it down: Moshi alone would answer
        await talk.silence(30)
        assert not loud(began)
        with pytest.raises(ConfigurationError):
            await manager.set_mode(voice="nobody")
        other = manager.conversation(await manager.start_conversation())
        attendant = next(a for a in other.attendants if isinstance(a, HybridAttendant))
        assert attendant.llm_only, "those to come, too"

        assert await manager.set_mode(voice="moshi_and_llm", conversation_id=name)
        began = len(talk.heard)
        await talk.say(spoken.pcm("hello"))
        await talk.until(lambda: loud(began))
        assert attendant.llm_only, "only that one has changed"
    assert [(e.mode, e.voice) for e in talk.of(ModeChanged)] == [
        ("hybrid", "llm_only"),
        ("hybrid", "moshi_and_llm"),
    ]


async def test_a_voice_that_is_chosen_before_there_is_an_llm_is_kept(engine):
    async with talking(engine, "moshi_only") as talk:
        manager, name = talk.manager, talk.conversation.id
        await manager.set_mode(voice="llm_only", conversation_id=name)
        assert talk.conversation.mode == "moshi_only"
        await manager.set_mode("hybrid", name)
        assert hybrid_of(talk).llm_only and talk.conversation.mode == "hybrid"


async def test_two_halves_of_a_question_are_answered_together(engine, spoken: Spoken):
    async with (
        LlmServer(["stall"]) as server,
        talking(engine, **ollama(server, parallel_processing=False)) as talk,
    ):
        await talk.say(spoken.pcm("what_is_your_name"), "how warm is it today")
        await talk.until(lambda: bool(talk.of(ReasoningStarted)))
        server.answers[:] = [reply("It is warm.")]
        await talk.say(spoken.pcm("what_do_i_like"), "in the city of Rome")
        await talk.until(lambda: finished(talk))
    assert server.requests[-1]["messages"][-1]["content"] == (
        "how warm is it today in the city of Rome"
    )
    assert talk.of(ReasoningEnded)[0].outcome == "interrupted"
    assert [e.heard for e in talk.of(ScriptEnded) if e.heard] == ["It is warm."]
    assert not talk.of(ConversationFailed)


async def test_stop_while_it_thinks_is_no_continuation_of_the_question(engine, spoken: Spoken):
    async with LlmServer(["stall"]) as server, talking(engine, **ollama(server)) as talk:
        await talk.say(spoken.pcm("weather"), "tell me about the weather there")
        await talk.until(lambda: bool(talk.of(ReasoningStarted)))
        await talk.silence(10)
        asked = len(server.requests)
        await talk.say(spoken.pcm("stop"), "stop talking")
        await talk.silence(15)
        assert not hybrid_of(talk).thinking
        assert len(server.requests) == asked, "nothing more is asked"
    decided = talk.of(RouteDecided)[-1]
    assert (decided.target, decided.text) == ("stop", "stop talking")
    assert {e.outcome for e in talk.of(ReasoningEnded)} == {"interrupted"}


async def test_the_last_word_is_thought_of_before_the_turn_is_over(engine, spoken: Spoken):
    """It comes alone, with the transcriber's flush, and the voice detector waits longer."""
    async with (
        LlmServer(reply("It is seven.")) as server,
        talking(engine, **ollama(server)) as talk,
    ):
        await talk.say(spoken.pcm("weather"), "what is three plus four")
        await talk.until(lambda: finished(talk))
    final = next(t for t in talk.of(Transcript) if t.final)
    whole = next(t for t in talk.of(Transcript) if t.text == final.text)
    started = talk.of(ReasoningStarted)
    assert not whole.final and whole.time < final.time
    assert [e.time for e in started][-1] == whole.time, "and not again when it was over"
    assert server.requests[-1]["messages"][-1]["content"] == final.text


async def test_the_offline_brain_does_not_wait_for_the_end_of_the_turn(engine, spoken: Spoken):
    async with talking(engine) as talk:
        await talk.say(spoken.pcm("weather"), "what is three plus four")
        await talk.until(lambda: finished(talk))
    final = next(t for t in talk.of(Transcript) if t.final)
    (started,) = talk.of(ReasoningStarted)
    assert started.time < final.time
    config = {"provider": "offline", "parallel_processing": False}
    async with talking(engine, external_llm=config) as talk:
        await talk.say(spoken.pcm("weather"), "what is three plus four")
        await talk.until(lambda: finished(talk))
    final = next(t for t in talk.of(Transcript) if t.final)
    (started,) = talk.of(ReasoningStarted)
    assert started.time == final.time, "where thinking ahead is switched off, it waits"


async def test_moshis_lead_is_not_cut_short_by_an_answer_that_is_all_but_there(
    engine, spoken: Spoken
):
    """A tool waits for the end of the turn, and Moshi would begin just before: "one - a timer"."""
    quiet = np.zeros(60 * FRAME_SAMPLES, dtype=np.float32)

    async def live() -> AsyncIterator[np.ndarray]:
        """No faster than this machine thinks: a file would be through before the tool is."""
        for some in np.array_split(pcm, len(pcm) // FRAME_SAMPLES):
            yield some
            thinks = seen(SpeechEnded) and not seen(ReasoningEnded)
            await asyncio.sleep(0.15 if thinks else 0.03)
            for _ in range(500 if seen(ToolStarted) else 100):
                if not thinks or seen(ReasoningEnded):
                    break
                await asyncio.sleep(0.01)

    def seen(kind: type[Any]) -> int:
        return sum(isinstance(event, kind) for event in events)

    events: list[Any] = []
    async with VoiceManager({**OFFLINE, "mode": "adaptive"}, engine=engine) as manager:
        manager.events.listen(events.append)
        talk = await manager.start_conversation()
        pcm = np.concatenate([spoken.pcm("timer"), quiet])
        async for _ in manager.process_voice_stream(talk, live(), finish_answer=False):
            pass
    said = [e.text for e in events if isinstance(e, WordSpoken) and e.speaker == "agent"]
    assert said[:3] == ["a", "timer", "for"]


async def test_moshi_answers_as_soon_as_ever_what_the_offline_brain_cannot(engine, spoken: Spoken):
    """Held back for nothing, its first word came late or never."""

    async def said(mode: str) -> list[tuple[str, float]]:
        async with VoiceManager({**OFFLINE, "mode": mode}, engine=engine) as manager:
            events: list[Any] = []
            manager.events.listen(events.append)
            talk = await manager.start_conversation()
            await manager.process_voice_input(talk, spoken.bytes("what_is_your_name"))
        words = [e for e in events if isinstance(e, WordSpoken) and e.speaker == "agent"]
        return [(word.text, round(word.start, 2)) for word in words]

    alone = await said("moshi_only")
    assert alone and await said("adaptive") == alone


async def test_a_mode_that_is_set_before_the_start_holds_until_the_end(engine):
    manager = VoiceManager({**OFFLINE, "mode": "moshi_only"}, engine=engine)
    await manager.set_mode("hybrid")
    async with manager:
        name = await manager.start_conversation()
        assert manager.conversation(name).mode == "hybrid"
    assert manager.mode == "moshi_only"


@pytest.mark.parametrize("there", [True, False])
async def test_what_wants_thought_is_asked_of_the_larger_model(engine, there: bool):
    def answer(request: dict[str, Any]) -> list[Any] | int:
        if request["model"] == "large":
            return reply("Water becomes steam.") if there else 404
        return reply("It is hot.")

    async with LlmServer(answer) as server:
        llm = ollama(server, model="small", deep_model="large", fallback_enabled=False)
        async with talking(engine, **llm) as talk:
            for question in ("how warm is it today", "explain how a steam engine works"):
                before = len(talk.of(ScriptEnded))
                talk.manager.send_text(talk.conversation.id, question)
                await talk.until(lambda before=before: len(talk.of(ScriptEnded)) > before)
            ended = talk.of(ReasoningEnded)
            said = [e.heard for e in talk.of(ScriptEnded)]
    last = "Water becomes steam." if there else "It is hot."
    assert said == ["It is hot.", last]
    assert [e.llm for e in ended] == ["ollama/small", "ollama/large" if there else "ollama/small"]
    assert [e.code for e in ended] == [None, None if there else "llm_model_missing"]
    models = [request["model"] for request in server.requests]
    assert models == ["small", "large"] if there else ["small", "large", "small"]


async def test_with_the_real_transcriber_every_turn_is_written_and_routed(engine, spoken: Spoken):
    """What coda-tiny's small transcriber makes of the words is not judged here."""
    async with VoiceManager({**OFFLINE, "mode": "adaptive"}, engine=engine) as manager:
        events: list[Any] = []
        manager.events.listen(events.append)
        talk = await manager.start_conversation()
        await manager.process_voice_input(talk, spoken.bytes("what_is_your_name"))
        state = manager.get_conversation_state(talk)
        figures = await manager.get_analytics()
    assert state is not None and state.current_mode == "adaptive" and state.llm_active
    transcripts = [event for event in events if isinstance(event, Transcript)]
    (final,) = {t.generation: t for t in transcripts if t.final}.values()
    assert final.speaker == "user" and not final.typed
    facts = spoken.facts["what_is_your_name"]
    starts = [word.start for word in final.words]
    assert starts == sorted(starts)
    assert all(facts["onset"] - 0.5 <= start <= facts["offset"] + 0.5 for start in starts)
    routed = [event for event in events if isinstance(event, RouteDecided)]
    assert [r.text for r in routed if not r.partial] == [t.text for t in transcripts if t.final]
    asked = [event for event in events if isinstance(event, ReasoningEnded)]
    assert figures.llm_latency_ms is None, "there was none to be measured"
    failed = [event for event in asked if event.code]
    assert figures.fallback_rate == (len(failed) / len(asked) if asked else 0.0)
