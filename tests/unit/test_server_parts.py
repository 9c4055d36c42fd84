"""The server's small parts: what waits for a slow reader, rates, addresses, the log of events."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import numpy as np
import pytest

from coda_voice.config import VoiceConfig
from coda_voice.conversation import Conversation
from coda_voice.events import Event, Transcript, TurnLatency, WordSpoken
from coda_voice.heard import Heard
from coda_voice.moshi.frames import FrameOut
from coda_voice.server.event_log import EventLog, Missed
from coda_voice.server.hearing import Hearing
from coda_voice.server.limits import AddressLimits, RateLimit
from coda_voice.server.outputs import AgentAudio, Dropped, Happened, Outbox, Pong, Told


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def audio(number: int) -> AgentAudio:
    pcm = np.full(1_920, number / 100, dtype=np.float32)
    frame = FrameOut(frame=number, pcm=pcm, text_token=None)
    return AgentAudio(pcm, Heard(frame, -20.0, (), False, False))


async def test_an_outbox_drops_the_oldest_audio_and_keeps_messages_in_order():
    clock = Clock()
    outbox = Outbox(audio_frames=3, messages=4, clock=clock)
    outbox.put(Pong(0))
    for number in range(5):
        outbox.put(audio(number))
        outbox.put(Pong(number + 1)) if number < 3 else None
    clock.now = 2.0
    assert outbox.behind_since == 0.0 and outbox.dropped_audio == 2
    got = [await outbox.get() for _ in range(8)]
    assert got[0] == Dropped("output", 2)
    kept = [o.heard.frame.frame if isinstance(o, AgentAudio) else o for o in got[1:]]
    assert kept == [Pong(0), Pong(1), Pong(2), 2, Pong(3), 3, 4]
    waiting = asyncio.create_task(outbox.get())
    await asyncio.sleep(0)
    assert outbox.behind_since is None, "who has read everything has caught up"
    outbox.put(Pong(9))
    assert await waiting == Pong(9)


async def test_an_outbox_is_bounded_whatever_is_put_in():
    outbox = Outbox(audio_frames=2, messages=3)
    for number in range(1_000):
        outbox.put(Pong(number))
        outbox.put(audio(number))
    assert len(outbox) == 5 and outbox.dropped_messages == 997
    assert outbox.drop_audio() == 2 and len(outbox) == 3


def happened(number: int) -> Happened:
    event = Transcript(conversation_id="c", text=str(number), final=True, id=number, wall=0.0)
    return Happened(event)


async def test_who_comes_back_is_told_of_no_sound_that_was_lost_before():
    outbox = Outbox(audio_frames=2)
    for number in range(5):
        outbox.put(audio(number))
    outbox.put(Pong(1))
    outbox.begin_anew()
    assert await outbox.get() == Pong(1), "its frames are counted from here"
    assert not len(outbox) and outbox.behind_since is None
    for number in range(3):
        outbox.put(audio(number))
    assert await outbox.get() == Dropped("output", 1)


async def test_what_is_sent_beyond_the_rate_is_counted_in_frames_whatever_the_chunks(
    monkeypatch: pytest.MonkeyPatch,
):
    dropped: list[int] = []
    nobody = cast(Conversation, None)  # nothing of it is ever offered
    with ThreadPoolExecutor(1) as pool:
        way_in = Hearing(nobody, VoiceConfig(), pool, lambda pcm: None, dropped.append)
        monkeypatch.setattr(way_in, "_rate", RateLimit(1.0, 1.0, lambda: 0.0))
        assert way_in._rate.take(1.0)
        for _ in range(100):
            await way_in.hear(bytes(2 * 480), 24_000, 0.0, lambda: None)  # 20 ms
    assert sum(dropped) == way_in.figures.dropped == 25, "two seconds"


async def test_what_was_sent_into_a_dead_socket_can_be_told_again():
    told, outbox = Told(events=4), Outbox(messages=6)
    for number in (10, 11, 12):
        told.add(happened(number))
        outbox.put(happened(number))
    assert [await outbox.get() for _ in range(2)] == [happened(10), happened(11)]
    outbox.put(Pong(1))
    events, gone = told.after(10)
    assert not gone and outbox.replay(events, 10)
    outbox.put_back(happened(11))  # by the reader whose socket it was
    assert [await outbox.get() for _ in range(3)] == [happened(11), happened(12), Pong(1)]
    told.add(happened(13))
    assert told.after(13) == ([], False)
    assert outbox.replay([], 13)
    outbox.put_back(happened(13))
    assert not len(outbox)


async def test_who_comes_back_too_late_for_all_is_told_that_some_is_gone():
    told, outbox = Told(events=4), Outbox(messages=3)
    for number in range(1, 7):
        told.add(happened(number))
    assert told.after(2) == ([happened(n) for n in (3, 4, 5, 6)], False)
    events, gone = told.after(1)
    assert gone and len(events) == 4
    outbox.put(Pong(1))
    assert not outbox.replay(events, 1) and len(outbox) == 3
    assert [await outbox.get() for _ in range(3)] == [happened(5), happened(6), Pong(1)]


def test_a_rate():
    clock = Clock()
    rate = RateLimit(rate=10, burst=5, clock=clock)
    assert [rate.take() for _ in range(6)] == [True] * 5 + [False]
    assert rate.seconds_until_one == pytest.approx(0.1)
    clock.now = 0.25
    assert rate.take() and rate.take() and not rate.take()
    clock.now = 100.0
    assert not rate.take(5.1) and rate.take(5.0)


def test_addresses():
    clock = Clock()
    limits = AddressLimits(connections=3, connects_per_second=4, clock=clock)
    assert [limits.enter("a") for _ in range(3)] == [None] * 3
    assert limits.enter("a") == 1.0, "three at once are enough"
    assert limits.enter("b") is None
    limits.leave("a")
    assert limits.enter("a") is None
    for _ in range(3):
        limits.leave("a")
    for _ in range(8):
        if limits.enter("a") is None:
            limits.leave("a")
    wait = limits.enter("a")
    assert wait is not None and 0 < wait <= 0.25, "eight in no time are too many"
    clock.now = 10.0
    assert limits.enter("a") is None
    for number in range(10_000):
        limits.enter(f"n{number}")
        limits.leave(f"n{number}")
    assert len(limits._rates) <= 4_096 and limits.open == 2


def word(text: str, conversation: str = "one") -> WordSpoken:
    return WordSpoken(conversation_id=conversation, speaker="agent", text=text, start=0, end=1)


async def collect(log: EventLog, count: int, after: int | None = None) -> list[Event | Missed]:
    found: list[Event | Missed] = []
    async for event in log.follow(lambda e: isinstance(e, WordSpoken), after):
        found.append(event)
        if len(found) == count:
            break
    return found


async def test_followers_of_the_log_miss_nothing_or_are_told():
    seen: list[Event] = []
    log = EventLog(4, seen.append)
    log.start()
    first = [word("a"), word("b"), word("c")]
    for event in first:
        log.append(event)
    log.append(TurnLatency(conversation_id="one", seconds=1))
    assert await collect(log, 2, after=first[0].id) == first[1:]
    following = asyncio.create_task(collect(log, 2))
    await asyncio.sleep(0)
    await asyncio.to_thread(log.append, word("d"))  # from the engine's thread
    await asyncio.to_thread(log.append, word("e"))
    assert [e.text for e in await following if isinstance(e, WordSpoken)] == ["d", "e"]
    late = await collect(log, 3, after=0)
    assert late[0] == Missed(2) and isinstance(late[1], WordSpoken) and late[1].text == "c"
    assert [e.text for e in log.recent(lambda e: isinstance(e, WordSpoken), 2)] == ["d", "e"]  # type: ignore[attr-defined]
    assert len(seen) == 6
    slow = log.follow(lambda e: True)
    pending = asyncio.ensure_future(anext(slow))
    await asyncio.sleep(0)
    for number in range(9):
        log.append(word(str(number)))
    assert await pending == Missed(5)
    assert (await anext(slow)).text == "5"  # type: ignore[union-attr]
    await slow.aclose()


async def test_who_comes_back_to_the_log_is_told_what_is_gone():
    log = EventLog(3)
    log.start()
    events = [word(text) for text in "abcdefg"]
    for event in events[:3]:
        log.append(event)
    assert await collect(log, 3, after=0) == events[:3], "all is kept"
    for event in events[3:]:
        log.append(event)
    assert await collect(log, 4, after=events[1].id) == [Missed(2), *events[4:]]
    assert await collect(log, 3, after=events[3].id) == events[4:], "just in time"
    assert await collect(log, 1, after=events[5].id) == events[6:]
    later = events[6].id + 1_000
    assert await collect(log, 4, after=later) == [Missed(4), *events[4:]], "another server's id"


async def test_ids_rise_in_the_order_of_the_log():
    log = EventLog(8)
    log.start()
    late, first, second = word("late"), word("first"), word("second")
    for event in (first, late, second):  # as when another thread made it and was held up
        log.append(event)
    told = await collect(log, 3, after=0)
    assert [event.text for event in told if isinstance(event, WordSpoken)] == [
        "first", "late", "second",
    ]  # fmt: skip
    ids = [event.id for event in told if isinstance(event, WordSpoken)]
    assert ids == sorted(set(ids)) and ids[0] == first.id
    assert await collect(log, 2, after=ids[0]) == told[1:], "nothing is lost between"


async def test_events_of_other_threads_are_handed_on_in_their_place():
    seen: list[Event] = []
    log = EventLog(8, seen.append)
    log.start()
    events = [word(text) for text in "abc"]
    other = threading.Thread(target=lambda: [log.append(event) for event in events[:2]])
    other.start()
    other.join()  # while the loop is busy
    log.append(events[2])
    await asyncio.sleep(0)
    assert seen == events


async def test_who_comes_back_to_a_server_that_began_anew_is_told():
    log = EventLog(3)
    log.start()
    returning = asyncio.create_task(collect(log, 2, after=57))
    await asyncio.sleep(0)
    log.append(event := word("good morning"))
    assert await returning == [Missed(0), event]


def test_outputs_compare_by_value():
    event = word("x")
    assert Happened(event) == Happened(event)
