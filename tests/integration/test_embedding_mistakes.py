"""A program that embeds the manager and errs is told so, and its other conversations go on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import numpy as np
import pytest

from coda_voice import VoiceManager
from coda_voice.attendants import Attendant
from coda_voice.audio import files
from coda_voice.errors import (
    AudioProcessingError,
    ComponentNotInitializedError,
    ValidationError,
    VoiceProcessingError,
)
from coda_voice.logs import Logs
from coda_voice.memory_setup import MemorySetup
from coda_voice.moshi.frames import Sampling
from coda_voice.moshi.prompt import Prompt
from tests.integration.test_manager import SEEDED, listen, running

HALF_A_CHARACTER = "caf\ud800"
NO_IDS: list[object] = [None, 7, b"a", ["a"], {"id": "a"}]


async def still_usable(manager: VoiceManager, conversation: str) -> None:
    assert len(await listen(manager, conversation, bytes(2 * 3840))) == 3


@pytest.mark.parametrize("text", [None, 7, b"hello", ["hello"], HALF_A_CHARACTER])
async def test_what_is_to_be_said_or_was_typed_must_be_text(engine, text):
    async with running(engine) as manager:
        conversation = await manager.start_conversation()
        with pytest.raises(ValidationError, match="give the words to say"):
            manager.say(conversation, text)
        with pytest.raises(ValidationError, match="give the words that the user typed"):
            manager.send_text(conversation, text)
        await still_usable(manager, conversation)


async def test_a_scheduling_that_is_none_is_not_taken_for_another(engine):
    async with running(engine) as manager:
        conversation = await manager.start_conversation()
        with pytest.raises(ValidationError, match="interrupt, when_idle, silent"):
            manager.say(conversation, "hello", "soon")


@pytest.mark.parametrize("no_id", NO_IDS, ids=repr)
async def test_an_id_that_is_no_text_is_told_to_be_none(engine, no_id):
    async with running(engine) as manager:
        for call in (
            manager.get_conversation_state,
            manager.conversation,
            lambda wrong: manager.say(wrong, "hello"),
            lambda wrong: manager.send_text(wrong, "hello"),
        ):
            with pytest.raises(ValidationError, match="conversation_id"):
                call(no_id)
        with pytest.raises(ValidationError, match="conversation_id"):
            await manager.end_conversation(no_id)
        with pytest.raises(ValidationError, match="conversation_id"):
            await manager.process_voice_input(no_id, bytes(3840))


async def test_names_that_cannot_be_written_down_take_no_slot(engine):
    async with running(engine) as manager:
        with pytest.raises(ValidationError, match="half a character"):
            await manager.start_conversation(conversation_id=HALF_A_CHARACTER)
        with pytest.raises(ValidationError, match="half a character"):
            await manager.start_conversation(user_id=HALF_A_CHARACTER)
        assert manager.get_active_conversations() == []


@pytest.mark.parametrize("reason", [None, 7, HALF_A_CHARACTER])
async def test_a_reason_that_is_no_text_ends_nothing(engine, reason):
    async with running(engine) as manager:
        conversation = await manager.start_conversation()
        with pytest.raises(ValidationError, match="reason"):
            await manager.end_conversation(conversation, reason)
        held = manager.conversation(conversation)
        await manager.end_conversation(conversation, "done")
        async with asyncio.timeout(5):
            await held.over()


@pytest.mark.parametrize(
    "sampling",
    [
        {"temperature": 0.5},
        Sampling(temperature="warm"),
        Sampling(temperature=float("nan")),
        Sampling(text_temperature=-1.0),
        Sampling(top_k=2.5),
        Sampling(text_top_k=-1),
        Sampling(seed="five"),
    ],
    ids=repr,
)
async def test_a_sampling_that_cannot_be_does_not_stop_the_engine(engine, sampling):
    async with running(engine) as manager:
        neighbour = await manager.start_conversation()
        with pytest.raises(ValidationError, match="sampling"):
            await manager.start_conversation(sampling=sampling)
        assert manager.get_active_conversations() == [neighbour]
        await still_usable(manager, neighbour)
    assert engine.running


async def test_any_whole_number_is_a_seed(engine):
    async with running(engine) as manager:
        for seed in (-1, 2**70, np.int64(5)):
            conversation = await manager.start_conversation(sampling=Sampling(seed=seed))
            await still_usable(manager, conversation)
            await manager.end_conversation(conversation)
    assert engine.running


@pytest.mark.parametrize(
    "make",
    [
        lambda: "be kind",
        lambda: Prompt(text=None),
        lambda: Prompt(text=HALF_A_CHARACTER),
        lambda: Prompt(voice=b"RIFF"),
        lambda: Prompt(voice=np.zeros(1920, dtype=np.int16)),
        lambda: Prompt(voice=np.zeros((1920, 2), dtype=np.float32)),
        lambda: Prompt(voice=np.full(1920, np.nan, dtype=np.float32)),
    ],
)
async def test_a_prompt_that_is_none_takes_no_slot(engine, make: Callable[[], Prompt]):
    async with running(engine) as manager:
        with pytest.raises(ValidationError, match="prompt"):
            await manager.start_conversation(prompt=make())
        assert manager.get_active_conversations() == []


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), "60"])
def test_conversations_cannot_be_idle_for_no_time_at_all(seconds):
    with pytest.raises(ValidationError, match="more than 0"):
        VoiceManager(SEEDED, idle_timeout=seconds)


def test_a_device_is_not_taken_for_an_engine():
    with pytest.raises(ValidationError, match="the device is a setting"):
        VoiceManager(SEEDED, engine="cuda")  # type: ignore[arg-type]


def test_an_attendant_factory_must_be_one():
    with pytest.raises(ValidationError, match="cannot be called"):
        VoiceManager(SEEDED, attendants=[Attendant()])
    with pytest.raises(ValidationError, match="cannot be called"):
        VoiceManager(SEEDED).attend(None)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x1aE\xdf\xa3\x9fB\x86\x81", "WebM"),
        (b"\x00\x00\x00\x20ftypM4A ", "M4A"),
        (b"%PDF-1.7\n%\xe2\xe3", "PDF"),
        (b"PK\x03\x04\x14\x00", "ZIP"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "JPEG"),
    ],
)
def test_a_file_of_another_kind_is_not_played_as_noise(data, kind):
    with pytest.raises(AudioProcessingError, match=f"{kind}.* not read here"):
        files.decode(data + bytes(range(256)) * 8)


class Lingering(Attendant):
    """Lets go of its conversation when it is told to."""

    name = "lingering"

    def __init__(self, may_go: asyncio.Event) -> None:
        self._may_go = may_go

    async def aclose(self) -> None:
        await self._may_go.wait()


async def test_nothing_begins_while_the_manager_is_shut_down(engine):
    may_go = asyncio.Event()
    manager = VoiceManager(SEEDED, engine=engine, attendants=[lambda _: Lingering(may_go)])
    await manager.initialize()
    await manager.start_conversation()
    ending = asyncio.create_task(manager.shutdown())
    await asyncio.sleep(0.05)
    assert not ending.done()
    with pytest.raises(ComponentNotInitializedError):
        await manager.start_conversation()
    may_go.set()
    await ending
    assert manager.get_active_conversations() == []
    assert engine.stats().leased == 0


async def test_what_is_shut_down_while_it_begins_is_told_so(engine):
    begun, go_on = asyncio.Event(), asyncio.Event()

    class Thorough(Attendant):
        async def ready(self) -> None:
            begun.set()
            await go_on.wait()

    manager = VoiceManager(SEEDED, engine=engine, attendants=[lambda _: Thorough()])
    await manager.initialize()
    beginning = asyncio.create_task(manager.start_conversation())
    await begun.wait()
    await manager.shutdown()
    go_on.set()
    with pytest.raises(VoiceProcessingError, match="has ended"):
        await beginning
    assert engine.stats().leased == 0


async def test_a_call_that_waits_for_a_thread_is_not_cancelled_by_a_shutdown(engine, monkeypatch):
    """Who is cancelled without anybody having cancelled him cannot know what happened."""
    decoding, go_on = threading.Semaphore(0), threading.Event()

    def slowly(data: bytes, rate: int) -> files.Audio:
        decoding.release()
        go_on.wait(10)
        return files.decode_pcm(data, rate)

    monkeypatch.setattr(files, "decode", slowly)
    manager = VoiceManager(SEEDED, engine=engine)
    await manager.initialize()
    ids = [await manager.start_conversation() for _ in range(3)]  # one more than there are threads
    calls = [asyncio.create_task(manager.process_voice_input(c, bytes(3840))) for c in ids]
    for _ in range(2):
        await asyncio.to_thread(decoding.acquire)
    await manager.shutdown()
    go_on.set()
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(outcome, VoiceProcessingError), outcome


async def test_what_fails_in_a_shutdown_keeps_nothing_else_open(engine, monkeypatch):
    async def full(memories: MemorySetup) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(MemorySetup, "close", full)
    closed: list[Logs] = []
    close = Logs.close
    monkeypatch.setattr(Logs, "close", lambda logs: (closed.append(logs), close(logs)))
    manager = VoiceManager(SEEDED, engine=engine)
    await manager.initialize()
    with pytest.raises(OSError, match="full"):
        await manager.shutdown()
    assert closed and not manager.is_healthy()
    await manager.shutdown()


async def test_a_call_from_another_thread_is_told_where_it_belongs(engine):
    async with running(engine) as manager:
        conversation = await manager.start_conversation()

        def elsewhere() -> None:
            with pytest.raises(VoiceProcessingError, match="another thread"):
                manager.say(conversation, "hello")
            for call in (
                lambda: listen(manager, conversation, bytes(3840)),
                lambda: manager.end_conversation(conversation),
                manager.shutdown,
            ):
                with pytest.raises(VoiceProcessingError, match="another thread"):
                    asyncio.run(call())

        await asyncio.to_thread(elsewhere)
        await still_usable(manager, conversation)


def test_one_event_loop_after_another(engine):
    manager = VoiceManager(SEEDED, engine=engine, idle_timeout=60)
    asyncio.run(manager.initialize())
    conversation = asyncio.run(manager.start_conversation())
    asyncio.run(still_usable(manager, conversation))
    asyncio.run(manager.shutdown())
    assert not manager.is_healthy()
