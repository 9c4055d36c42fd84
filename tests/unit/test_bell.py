"""Waking tasks of an event loop from another thread."""

import asyncio
import threading

from coda_voice.bell import Bell, Bells


async def test_all_who_are_rung_wake_up_by_one_call():
    loop = asyncio.get_running_loop()
    bell, events = Bell(loop), [asyncio.Event() for _ in range(16)]
    calls = 0
    call = loop.call_soon_threadsafe

    def counted(*given):
        nonlocal calls
        calls += 1
        return call(*given)

    loop.call_soon_threadsafe = counted
    try:
        for event in events:  # the loop does not run meanwhile
            bell.ring(event)
    finally:
        del loop.call_soon_threadsafe
    await asyncio.gather(*(event.wait() for event in events))
    assert calls == 1


async def test_no_ring_is_lost_while_the_loop_answers_others():
    bell, event, rings = Bells().here(), asyncio.Event(), 2_000
    heard = asyncio.Event()
    answered = threading.Semaphore(0)

    def ring():
        for _ in range(rings):
            bell.ring(event)
            assert answered.acquire(timeout=30)
        bell.ring(heard)

    ringing = threading.Thread(target=ring)
    ringing.start()
    for _ in range(rings):
        await event.wait()
        event.clear()
        answered.release()
    await heard.wait()
    ringing.join()


def test_nothing_happens_where_the_loop_has_closed():
    loop = asyncio.new_event_loop()
    bell = Bell(loop)
    loop.close()
    bell.ring(asyncio.Event())


def test_another_loop_has_another_bell():
    bells = Bells()

    async def here():
        bell = bells.here()
        assert bell is bells.here()
        return bell

    assert asyncio.run(here()) is not asyncio.run(here())
