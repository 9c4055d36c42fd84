"""VoiceManager on the real engine with coda-tiny and spoken audio."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest
import soundfile

from coda_voice import VoiceConfig, VoiceManager
from coda_voice.audio.ingest import AudioSettings, Ingest
from coda_voice.errors import ConversationError, SlotsFullError, ValidationError
from coda_voice.events import (
    ConversationEnded,
    ConversationStarted,
    Event,
    FramesDropped,
    SpeechEnded,
    SpeechStarted,
    TurnLatency,
    WordSpoken,
)
from coda_voice.exchange import stream
from coda_voice.models import (
    ConversationState,
    SystemStatus,
    VoiceAnalytics,
    VoiceResponse,
    VoiceStreamChunk,
)
from coda_voice.moshi.engine import Engine
from coda_voice.moshi.frames import FRAME_SAMPLES, FRAME_SECONDS, Pcm
from coda_voice.startup import sampling_of
from tests.integration.speech import Talk

SEEDED = {"moshi": {"device": "cpu", "seed": 5}}


@contextlib.asynccontextmanager
async def running(engine: Engine, **config: object) -> AsyncIterator[VoiceManager]:
    async with VoiceManager({**SEEDED, **config}, engine=engine) as manager:
        yield manager


def collect(manager: VoiceManager) -> list[Event]:
    events: list[Event] = []
    manager.events.listen(events.append)
    return events


def of(kind: type[Event], events: list[Event]) -> list:
    return [event for event in events if isinstance(event, kind)]


def as_bytes(pcm: Pcm) -> bytes:
    return np.rint(pcm * 32767).astype("<i2").tobytes()


async def chunks_of(data: bytes, size: int) -> AsyncIterator[bytes]:
    for begin in range(0, len(data), size):
        yield data[begin : begin + size]


async def listen(
    manager: VoiceManager, conversation: str, data: bytes, size: int = 5000
) -> list[VoiceStreamChunk]:
    talk = manager.process_voice_stream(conversation, chunks_of(data, size))
    return [chunk async for chunk in talk]


def frames_of(pcm: Pcm) -> list[Pcm]:
    return list(np.pad(pcm, (0, -len(pcm) % FRAME_SAMPLES)).reshape(-1, FRAME_SAMPLES))


def int16_of(chunks: list[VoiceStreamChunk]) -> np.ndarray:
    return np.frombuffer(b"".join(chunk.audio_data for chunk in chunks), dtype="<i2")


@dataclass
class Answered:
    """One spoken question asked of a manager with every log on, and all that came of it."""

    response: VoiceResponse
    events: list[Event]
    before: VoiceAnalytics
    status: SystemStatus
    state: ConversationState
    timing_log: list[str]
    text_log: list[str]


@pytest.fixture(scope="module")
def answered(engine, spoken, tmp_path_factory) -> Answered:
    timing = tmp_path_factory.mktemp("logs") / "new" / "moshi_timing.log"
    text = timing.with_name("moshi_text.log")
    config = {
        "audio": {"sample_rate": 16_000},
        "logging": {"timing_log": str(timing), "text_log": str(text)},
    }

    async def ask() -> Answered:
        async with running(engine, **config) as manager:
            events = collect(manager)
            before = await manager.get_analytics()
            conversation = await manager.start_conversation(user_id="ada")
            response = await manager.process_voice_input(conversation, spoken.bytes("hello"))
            with pytest.raises(ConversationError):
                await manager.process_voice_input("nobody", spoken.bytes("hello"))
            status = await manager.get_system_status()
            state = manager.get_conversation_state(conversation)
            await manager.end_conversation(conversation)
        return Answered(
            response,
            events,
            before,
            status,
            state,
            timing.read_text().splitlines(),
            text.read_text().splitlines(),
        )

    return asyncio.run(ask())


def test_a_spoken_question_is_answered_in_words_and_sound(answered):
    response = answered.response
    sound, rate = soundfile.read(io.BytesIO(response.audio_data), dtype="float32")
    assert rate == 16_000 and sound.ndim == 1
    assert len(sound) / 16 == pytest.approx(response.duration_ms)
    loud = np.abs(sound) > 0.02
    assert loud.mean() > 0.1, "the answer holds speech"
    assert loud[:4000].any() and loud[-6400:].any(), "and no silence around it"
    assert response.text_content == " ".join(w.text for w in of(WordSpoken, answered.events)) != ""
    assert response.user_text is None and response.llm_latency_ms is None
    assert response.moshi_latency_ms > 0 and response.total_latency_ms > response.moshi_latency_ms
    assert 0.3 < response.audio_quality_score <= 1


def test_events_tell_what_happened_and_when(answered, spoken):
    events, facts = answered.events, spoken.facts["hello"]
    [began] = of(ConversationStarted, events)
    assert (began.user_id, began.checkpoint) == ("ada", "coda-tiny")
    user_began, agent_began = of(SpeechStarted, events)[:2]
    assert (user_began.speaker, agent_began.speaker) == ("user", "agent")
    assert user_began.time == pytest.approx(facts["onset"], abs=0.15)
    user_ended = of(SpeechEnded, events)[0]
    assert user_ended.time == pytest.approx(facts["offset"], abs=0.15)
    [latency] = of(TurnLatency, events)
    assert latency.seconds == pytest.approx(agent_began.time - user_ended.time)
    assert answered.response.turn_latency_ms == pytest.approx(latency.seconds * 1000)
    [ended] = of(ConversationEnded, events)
    assert (ended.reason, ended.frames_dropped) == ("ended", 0)
    assert events[-1] is ended


def test_the_answer_ends_when_the_agent_has_finished(answered):
    """Not at a fixed time: one second after its last sound, wherever that is."""
    last = [e for e in of(SpeechEnded, answered.events) if e.speaker == "agent"][-1]
    clock = answered.state.total_audio_duration_ms / 1000
    assert clock - last.time == pytest.approx(1.0, abs=1.5 * FRAME_SECONDS)
    assert answered.state.message_count == answered.status.analytics.total_messages >= 1


def test_analytics_hold_what_was_measured_and_nothing_else(answered):
    before, after = answered.before, answered.status.analytics
    assert before.average_latency_ms is before.audio_quality is before.turn_latency_ms is None
    assert (after.total_conversations, after.active_conversations) == (1, 1)
    assert after.audio_quality == answered.response.audio_quality_score
    assert after.turn_latency_ms == answered.response.turn_latency_ms
    assert after.total_audio_duration_ms == answered.state.total_audio_duration_ms
    assert after.average_latency_ms >= after.moshi_latency_ms > 0
    assert after.vram_usage is None and after.llm_latency_ms is None
    assert 0 < after.cpu_usage <= 100
    status = answered.status
    assert (status.device, status.slots_used, status.slots_total) == ("cpu", 1, 3)
    assert status["healthy"] is True


def test_timing_and_text_logs(answered):
    frames = round(answered.state.total_audio_duration_ms / 80)
    assert len(answered.timing_log) == frames
    assert all("encode=" in line and "total=" in line for line in answered.timing_log)
    said = [line.split()[-1] for line in answered.text_log]
    assert " ".join(said) == answered.response.text_content


async def test_silence_is_answered_with_an_empty_response(engine):
    async with running(engine, moshi={"temperature": 0.0, "text_temperature": 0.0}) as manager:
        conversation = await manager.start_conversation()
        response = await manager.process_voice_input(conversation, bytes(4800))
        seconds = manager.get_conversation_state(conversation).total_audio_duration_ms / 1000
    assert response.text_content == "" and response.duration_ms == 0
    assert soundfile.read(io.BytesIO(response.audio_data))[0].size == 0
    assert seconds == pytest.approx(5.1, abs=0.2), "5 s after the end of the input"


async def test_a_stream_gives_what_the_engine_makes_of_the_same_frames(engine, spoken):
    pcm = spoken.pcm("hello")
    pcm = np.concatenate([pcm, np.zeros(24_000 * 3 + 777, dtype=np.float32)])
    heard_as = np.frombuffer(as_bytes(pcm), dtype="<i2").astype(np.float32) / 32768
    async with running(engine) as manager:
        sampling = sampling_of(manager.config, engine.models.sampling)
        talk = Talk(engine, sampling=sampling)
        expected = talk.feed(frames_of(heard_as))
        talk.close()
        conversation = await manager.start_conversation()
        chunks = await listen(manager, conversation, as_bytes(pcm), size=3331)

    *frames, last = chunks
    assert len(frames) == len(expected) == -(-len(pcm) // FRAME_SAMPLES)
    assert [c.chunk_index for c in chunks] == list(range(len(chunks)))
    assert [c.time for c in frames] == pytest.approx([f.time for f in expected])
    assert last.is_complete and last.is_final and not any(c.is_final for c in frames)
    agent = np.concatenate([f.pcm for f in expected])
    assert np.abs(int16_of(frames) / 32767 - agent).max() < 1e-3
    assert np.abs(agent).max() > 0.05, "the agent says something in this stream"
    said = " ".join(word.text for f in expected for word in f.words)
    assert said and "".join(c.text_delta for c in chunks) == said
    assert {c.chunk_type for c in frames if c.text_content} == {"text"}
    assert any(c.user_speaking for c in frames) and any(c.agent_speaking for c in frames)


async def test_the_agent_is_heard_while_the_user_still_speaks(engine, spoken):
    data = as_bytes(spoken.pcm("weather"))
    heard_something = asyncio.Event()

    async def user() -> AsyncIterator[bytes]:
        yield data[: 10 * FRAME_SAMPLES * 2]
        await asyncio.wait_for(heard_something.wait(), 60)
        yield data[10 * FRAME_SAMPLES * 2 : 20 * FRAME_SAMPLES * 2]

    async with running(engine) as manager:
        conversation = await manager.start_conversation()
        count = 0
        async for _ in manager.process_voice_stream(conversation, user()):
            count += 1
            if count == 10:
                heard_something.set()
    assert count == 21


async def test_rates_and_encodings_of_the_caller(engine, spoken):
    pcm = spoken.pcm("hello", 16_000)
    stereo = np.repeat(as_int24(pcm).reshape(-1, 1, 3), 2, axis=1).tobytes()
    audio = {"sample_rate": 16_000, "channels": 2, "bit_depth": 24}
    async with running(engine, audio=audio) as manager:
        events = collect(manager)
        conversation = await manager.start_conversation()
        chunks = await listen(manager, conversation, stereo)
    assert sum(len(c.audio_data) for c in chunks) / 3 == pytest.approx(
        np.ceil(len(pcm) / 1280) * 1280, abs=1
    )
    began = of(SpeechStarted, events)[0]
    assert began.time == pytest.approx(spoken.facts["hello"]["onset"], abs=0.15)


def as_int24(pcm: Pcm) -> np.ndarray:
    wide = np.rint(pcm * (2**23 - 1)).astype("<i4")
    return np.ascontiguousarray(wide.view(np.uint8).reshape(-1, 4)[:, :3])


class LevelsHeard(Ingest):
    """The input chain, noting how loud it was after all its stages."""

    levels: list[float]

    def push(self, audio, reference=None):
        frames = super().push(audio, reference)
        self.levels = [*getattr(self, "levels", []), *(f.level_dbfs for f in frames)]
        return frames


async def test_the_agent_does_not_hear_its_own_echo(engine, spoken):
    """Loudspeaker next to microphone: 160 ms later a third of the agent comes back."""
    question = frames_of(spoken.pcm("hello"))
    silence = np.zeros(FRAME_SAMPLES, dtype=np.float32)
    played, room = deque([silence, silence]), asyncio.Event()

    async def microphone() -> AsyncIterator[Pcm]:
        for number in range(48):
            while not played:
                room.clear()
                await room.wait()
            spoken_now = question[number] if number < len(question) else silence
            yield spoken_now + np.float32(0.3) * played.popleft()

    ingest, agent = LevelsHeard(AudioSettings(echo_cancellation=True)), []
    async with running(engine) as manager:
        conversation = manager.conversation(await manager.start_conversation())
        with ThreadPoolExecutor(1) as pool:
            async for heard in stream(conversation, microphone(), ingest, pool):
                agent.append(heard.level)
                played.append(heard.frame.pcm)
                room.set()
    lost = [a - b for a, b in zip(agent, ingest.levels[2:], strict=False) if a > -25]
    assert len(lost) >= 5, "the agent spoke"
    assert np.median(lost) > 25, "the room alone takes 10 dB"


async def test_in_turns_the_end_of_a_stream_is_the_end_of_a_turn(engine, spoken, answered):
    """And the seed makes a conversation repeatable, whichever way its audio came."""
    data = as_bytes(spoken.pcm("hello"))
    async with running(engine, conversation_mode="turn_based") as manager:
        conversation = await manager.start_conversation()
        talk = manager.process_voice_stream(conversation, chunks_of(data, 4000))
        chunks = [chunk async for chunk in talk]
        generation = manager.conversation(conversation).slot.generation
    assert "".join(c.text_delta for c in chunks) == answered.response.text_content
    assert generation == 1, "one turn of the user"


async def test_breaking_off_a_stream_leaves_the_conversation_usable(engine, spoken):
    data = as_bytes(spoken.pcm("hello"))
    async with running(engine) as manager:
        conversation = await manager.start_conversation()
        async for chunk in manager.process_voice_stream(conversation, chunks_of(data, 3840)):
            if chunk.chunk_index == 4:
                break
        subscription = manager.events.subscribe(conversation)
        task = asyncio.create_task(
            manager.process_voice_input(conversation, spoken.bytes("long_question"))
        )
        async for event in subscription:
            if isinstance(event, SpeechStarted):
                break
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        chunks = await listen(manager, conversation, data)
        assert len(chunks) == -(-len(data) // 3840) + 1
        assert chunks[-1].dropped_frames == 0


async def test_a_conversation_takes_one_stream_at_a_time(engine, spoken):
    data = as_bytes(spoken.pcm("hello"))
    async with running(engine) as manager:
        conversation = await manager.start_conversation()
        one = manager.process_voice_stream(conversation, chunks_of(data, 3840))
        await anext(one)
        with pytest.raises(ConversationError, match="streamed already"):
            await listen(manager, conversation, data)
        rest = [chunk async for chunk in one]
        assert rest[-1].is_complete


async def test_what_a_live_side_cannot_take_is_dropped_and_counted(engine, spoken):
    frames = frames_of(spoken.pcm("long_question"))[:40]
    exhausted = asyncio.Event()

    async def microphone() -> AsyncIterator[bytes]:
        for frame in frames:
            await asyncio.sleep(0.6 * FRAME_SECONDS)
            yield as_bytes(frame)
        exhausted.set()

    async with running(engine) as manager:
        events = collect(manager)
        conversation = await manager.start_conversation()
        talk = manager.process_voice_stream(conversation, microphone())
        got = [await anext(talk)]
        await exhausted.wait()
        got += [chunk async for chunk in talk]
        state = manager.get_conversation_state(conversation)
        analytics = await manager.get_analytics()
    lost = sum(event.count for event in of(FramesDropped, events))
    assert lost > 0
    assert state.dropped_frames == analytics.frames_dropped == got[-1].dropped_frames == lost
    assert len(got) - 1 + lost == len(frames), "every frame was heard or counted as lost"


async def test_the_length_limit_ends_a_conversation(engine, spoken):
    moshi = {**SEEDED["moshi"], "max_conversation_length": 1}
    async with running(engine, moshi=moshi) as manager:
        events = collect(manager)
        conversation = await manager.start_conversation()
        chunks = await listen(manager, conversation, as_bytes(spoken.pcm("weather")))
        assert len(chunks) - 1 == 12 and chunks[-1].is_complete
        assert of(ConversationEnded, events)[0].reason == "max_conversation_length"
        with pytest.raises(ConversationError, match="max_conversation_length"):
            await manager.process_voice_input(conversation, spoken.bytes("hello"))
        await manager.end_conversation(conversation)  # the caller could not know
        with pytest.raises(ConversationError, match="has ended"):
            await manager.end_conversation(conversation)
        assert manager.get_conversation_state(conversation) is None


async def test_slots_are_refused_when_full_and_free_at_once_when_given_back(engine):
    async with running(engine) as manager:
        ids = [await manager.start_conversation() for _ in range(3)]
        assert (await manager.health_check()).status == "degraded"
        with pytest.raises(SlotsFullError):
            await manager.start_conversation()
        assert manager.get_active_conversations() == ids
        await manager.end_conversation(ids[0])
        again = await manager.start_conversation(conversation_id=ids[0])
        assert set(manager.get_active_conversations()) == {*ids[1:], again}
    assert engine.running, "a shared engine outlives the manager"


@pytest.mark.parametrize("user_id", [7, b"ada", ["ada"]])
async def test_a_user_whom_no_text_names_is_refused_and_takes_no_slot(engine, user_id):
    async with running(engine) as manager:
        leased = engine.stats().leased
        with pytest.raises(ValidationError, match="no name for a user"):
            await manager.start_conversation(user_id=user_id)
        assert engine.stats().leased == leased
        assert await manager.start_conversation(user_id="7")


async def test_a_listener_that_fails_harms_nobody_and_is_logged_once(engine, caplog):
    def broken(event: Event) -> None:
        raise OSError("the screen is gone")

    async with running(engine) as manager:
        leased = engine.stats().leased
        manager.events.listen(broken)
        told = collect(manager)
        conversation = await manager.start_conversation()
        manager.say(conversation, "hello there my friend")
        assert len(await listen(manager, conversation, bytes(60 * 3840))) == 61
        held = manager.conversation(conversation)
        assert [attendant.name for attendant in held.attendants] == ["voice"]
        await manager.end_conversation(conversation)
        async with asyncio.timeout(5):
            await held.over()
        assert engine.stats().leased == leased
    assert {"conversation_started", "script_started", "conversation_ended"} <= {
        event.type for event in told
    }
    assert [r.exc_info[0] for r in caplog.records if "listener" in r.message] == [OSError]


async def test_idle_conversations_are_ended(engine):
    async with VoiceManager(SEEDED, engine=engine, idle_timeout=0.05) as manager:
        subscription = manager.events.subscribe()
        await manager.start_conversation()
        async for event in subscription:
            if isinstance(event, ConversationEnded):
                break
        assert event.reason == "idle"
        assert manager.get_active_conversations() == []


async def test_a_manager_of_its_own_starts_and_stops_its_engine(spoken):
    config = VoiceConfig.from_dict({"moshi": {"device": "cpu", "slots": 1, "threads": 1}})
    manager = VoiceManager()
    assert not manager.is_healthy()
    assert (await manager.health_check()).status == "unhealthy"
    await manager.initialize(config)
    try:
        assert manager.is_healthy() and (await manager.health_check()).status == "healthy"
        conversation = await manager.start_conversation()
        chunks = await listen(manager, conversation, as_bytes(spoken.pcm("stop")))
        assert chunks[-1].is_complete
    finally:
        await manager.shutdown()
    assert not manager.is_healthy()
    await manager.cleanup()
