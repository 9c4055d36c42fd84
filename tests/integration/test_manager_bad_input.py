"""What goes wrong in one conversation is told clearly there, and nowhere else.

Each test streams a spoken question through one conversation, and in the middle of it does
something wrong with another; the first must come out as it does undisturbed, to the byte.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable

import numpy as np
import pytest
import soundfile

from coda_voice import VoiceManager
from coda_voice.errors import (
    AudioProcessingError,
    ConfigurationError,
    ConversationError,
    ValidationError,
    VoiceProcessingError,
)
from coda_voice.events import ConversationFailed, Event
from coda_voice.models import VoiceStreamChunk
from coda_voice.moshi.checkpoint import load_models
from coda_voice.moshi.engine import Engine, EngineOptions
from coda_voice.moshi.frames import FRAME_SAMPLES
from tests.integration.test_manager import SEEDED, as_bytes, chunks_of, listen, running

Incident = Callable[[VoiceManager, str], Awaitable[None]]
Undisturbed = Callable[[Incident], Awaitable[list[Event]]]


def wav(samples: np.ndarray, rate: int, subtype: str = "PCM_16") -> bytes:
    target = io.BytesIO()
    soundfile.write(target, samples, rate, format="WAV", subtype=subtype)
    return target.getvalue()


def sound_of(chunks: list[VoiceStreamChunk]) -> bytes:
    return b"".join(chunk.audio_data for chunk in chunks)


@pytest.fixture(scope="module")
def question(spoken) -> bytes:
    return as_bytes(spoken.pcm("hello"))[: 20 * FRAME_SAMPLES * 2]


@pytest.fixture(scope="module")
def expected(engine, question) -> list[VoiceStreamChunk]:
    """The neighbour's conversation when nothing goes wrong beside it."""

    async def alone() -> list[VoiceStreamChunk]:
        async with running(engine) as manager:
            conversation = await manager.start_conversation()
            return await listen(manager, conversation, question)

    return asyncio.run(alone())


@pytest.fixture
def undisturbed(engine, question, expected) -> Undisturbed:
    """Runs an incident in the middle of a neighbour's stream, which must not notice it."""

    async def run(incident: Incident) -> list[Event]:
        events: list[Event] = []
        begun, over = asyncio.Event(), asyncio.Event()

        async def neighbour_speaks() -> AsyncIterator[bytes]:
            half = len(question) // 2
            yield question[:half]
            begun.set()
            await over.wait()
            yield question[half:]

        async with running(engine) as manager:
            manager.events.listen(events.append)
            victim = await manager.start_conversation(conversation_id="victim")
            neighbour = await manager.start_conversation(conversation_id="neighbour")
            stream = manager.process_voice_stream(neighbour, neighbour_speaks())

            async def listen_to_neighbour() -> list[VoiceStreamChunk]:
                return [chunk async for chunk in stream]

            listening = asyncio.create_task(listen_to_neighbour())
            await begun.wait()
            try:
                await incident(manager, victim)
            finally:
                over.set()
                chunks = await listening
            assert len(chunks) == len(expected)
            assert sound_of(chunks) == sound_of(expected)
            assert [c.text_content for c in chunks] == [c.text_content for c in expected]
        return events

    return run


async def still_usable(manager: VoiceManager, conversation: str) -> None:
    chunks = await listen(manager, conversation, bytes(2 * FRAME_SAMPLES))
    assert len(chunks) == 2 and len(chunks[0].audio_data) == 2 * FRAME_SAMPLES


async def refused_input(
    manager: VoiceManager, conversation: str, data: object, match: str
) -> VoiceProcessingError:
    with pytest.raises(VoiceProcessingError, match=match) as caught:
        await manager.process_voice_input(conversation, data)
    await still_usable(manager, conversation)
    return caught.value


@pytest.mark.parametrize(
    ("data", "kind", "match"),
    [
        (b"", AudioProcessingError, "empty"),
        (b"This is my shopping list:\n- milk\n- bread\n", AudioProcessingError, "text, not audio"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", AudioProcessingError, "cut off|damaged|holds no samples"),
        (b"\x00", AudioProcessingError, "do not make one"),
        (b"fLaC" + bytes(60), AudioProcessingError, "FLAC"),
        ("hello.wav", ValidationError, "bytes of an audio file"),
    ],
    ids=["empty", "text named .wav", "truncated WAV", "half a sample", "corrupt FLAC", "a path"],
)
async def test_input_that_is_no_audio(undisturbed, data, kind, match):
    async def incident(manager: VoiceManager, conversation: str) -> None:
        error = await refused_input(manager, conversation, data, match)
        assert isinstance(error, kind)
        assert (await manager.get_analytics()).error_rate > 0

    events = await undisturbed(incident)
    [failed] = [e for e in events if isinstance(e, ConversationFailed)]
    assert failed.conversation_id == "victim" and failed.message


async def test_a_file_cut_off_in_the_middle_is_heard_as_far_as_it_goes(undisturbed, spoken):
    whole = wav(spoken.pcm("hello", 16_000), 16_000)

    async def incident(manager: VoiceManager, conversation: str) -> None:
        await manager.process_voice_input(conversation, whole[: len(whole) // 8])
        assert manager.get_conversation_state(conversation).total_audio_duration_ms > 0

    await undisturbed(incident)


async def test_samples_that_are_no_numbers_are_silence(undisturbed):
    broken = np.zeros(2 * FRAME_SAMPLES, dtype=np.float32)
    broken[::7], broken[1::7], broken[2::7] = np.nan, np.inf, -np.inf

    async def incident(manager: VoiceManager, conversation: str) -> None:
        async def samples() -> AsyncIterator[np.ndarray]:
            yield broken

        spoilt = [c async for c in manager.process_voice_stream(conversation, samples())]
        await manager.end_conversation(conversation)
        conversation = await manager.start_conversation()
        silent = await listen(manager, conversation, bytes(4 * FRAME_SAMPLES))
        assert sound_of(spoilt) == sound_of(silent)

    await undisturbed(incident)


async def test_eight_channels_at_192_khz(undisturbed, spoken):
    eight = np.repeat(spoken.pcm("hello", 192_000)[: 192_000 // 5, None], 8, axis=1)

    async def incident(manager: VoiceManager, conversation: str) -> None:
        await manager.process_voice_input(conversation, wav(eight, 192_000))
        heard = manager.get_conversation_state(conversation).total_audio_duration_ms
        assert heard >= 200

    await undisturbed(incident)


@pytest.mark.parametrize("size", [1, 3839], ids=["single bytes", "odd counts"])
async def test_chunks_that_split_samples_change_nothing(undisturbed, question, expected, size):
    """Zero-length chunks in between, and the stream stops in the middle of a frame."""

    async def bytewise() -> AsyncIterator[bytes]:
        part = question[: 2 * 2 * FRAME_SAMPLES + 1001]
        async for chunk in chunks_of(part, size):
            yield b""
            yield chunk

    async def incident(manager: VoiceManager, conversation: str) -> None:
        chunks = [c async for c in manager.process_voice_stream(conversation, bytewise())]
        assert len(chunks) == 3 + 1, "the last frame was filled with silence"
        assert sound_of(chunks[:2]) == sound_of(expected[:2])
        await still_usable(manager, conversation)

    await undisturbed(incident)


async def test_a_stream_without_any_audio(undisturbed):
    async def incident(manager: VoiceManager, conversation: str) -> None:
        [end] = await listen(manager, conversation, b"")
        assert end.is_complete and end.audio_data == b""

    await undisturbed(incident)


async def test_a_stream_that_gives_something_else(undisturbed):
    async def incident(manager: VoiceManager, conversation: str) -> None:
        async def words() -> AsyncIterator[str]:
            yield "hello"

        with pytest.raises(ValidationError, match="is str; give bytes"):
            _ = [c async for c in manager.process_voice_stream(conversation, words())]
        with pytest.raises(ValidationError, match="async iterator"):
            _ = [c async for c in manager.process_voice_stream(conversation, [b"", b""])]
        await still_usable(manager, conversation)

    await undisturbed(incident)


async def test_a_stream_whose_source_fails(undisturbed):
    async def incident(manager: VoiceManager, conversation: str) -> None:
        async def unplugged() -> AsyncIterator[bytes]:
            yield bytes(2 * FRAME_SAMPLES)
            raise OSError("the microphone was unplugged")

        stream = manager.process_voice_stream(conversation, unplugged())
        assert (await anext(stream)).audio_data, "what came before is still heard"
        with pytest.raises(OSError, match="unplugged"):
            await anext(stream)
        await still_usable(manager, conversation)

    await undisturbed(incident)


async def test_unknown_ended_and_doubled_conversations(undisturbed):
    async def incident(manager: VoiceManager, conversation: str) -> None:
        with pytest.raises(ConversationError, match="no conversation 'nobody'"):
            await manager.process_voice_input("nobody", bytes(4800))
        with pytest.raises(ConversationError, match="no conversation 'nobody'"):
            await manager.end_conversation("nobody")
        assert manager.get_conversation_state("nobody") is None
        with pytest.raises(ConversationError, match="going on already"):
            await manager.start_conversation(conversation_id=conversation)
        with pytest.raises(ValidationError, match="no name"):
            await manager.start_conversation(conversation_id=" ")
        await manager.end_conversation(conversation)
        with pytest.raises(ConversationError, match="has ended"):
            await manager.end_conversation(conversation)
        with pytest.raises(ConversationError, match="has ended"):
            await listen(manager, conversation, bytes(4800))

    await undisturbed(incident)


async def test_a_conversation_ended_while_it_is_streamed(undisturbed):
    async def incident(manager: VoiceManager, conversation: str) -> None:
        never = asyncio.Event()

        async def microphone() -> AsyncIterator[bytes]:
            yield bytes(2 * FRAME_SAMPLES)
            await never.wait()

        stream = manager.process_voice_stream(conversation, microphone())
        await anext(stream)
        await manager.end_conversation(conversation)
        with pytest.raises(ConversationError, match="has ended"):
            await anext(stream)

    await undisturbed(incident)


async def test_an_engine_that_stops_ends_its_conversations_with_a_clear_error(question):
    engine = Engine(load_models("coda-tiny", "cpu"), EngineOptions(slots=1, threads=1))
    engine.start()
    manager = VoiceManager(SEEDED, engine=engine)
    await manager.initialize()
    conversation = await manager.start_conversation()
    stream = manager.process_voice_stream(conversation, chunks_of(question, 3840))
    await anext(stream)
    await asyncio.to_thread(engine.close)
    with pytest.raises(ConversationError, match=r"cannot go on: the engine closed"):
        _ = [chunk async for chunk in stream]
    assert not manager.is_healthy()
    assert (await manager.health_check()).status == "unhealthy"
    await manager.shutdown()


async def test_a_prompt_the_checkpoint_cannot_take_fails_at_the_start() -> None:
    manager = VoiceManager({"moshi": {"device": "cpu", "prompt": "the user likes chess. " * 300}})
    with pytest.raises(ConfigurationError, match="shorten it"):
        await manager.initialize()
    assert not manager.is_healthy()
