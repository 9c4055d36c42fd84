"""What waits for a client of Realtime, Live or Twilio: the oldest sound is dropped, and no word."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from coda_integrations.outbox import MAX_WAITING, Outbox, OutboxFull

from coda_voice.heard import Heard
from coda_voice.moshi.frames import FrameOut
from coda_voice.server.outputs import AUDIO_FRAMES


def frame(number: int) -> Heard:
    pcm = np.zeros(1_920, dtype=np.float32)
    return Heard(FrameOut(frame=number, pcm=pcm, text_token=None), -20.0, (), False, False)


async def test_two_seconds_of_sound_wait_and_all_words():
    now = 5.0
    outbox = Outbox(clock=lambda: now)
    lost = 0
    for number in range(3 * AUDIO_FRAMES):
        lost += outbox.put(f"sound {number}", frame(number))
        outbox.put(f"word {number}")
        assert (outbox.behind_since is None) == (lost == 0)
    assert lost == 2 * AUDIO_FRAMES
    now = 8.0
    assert outbox.behind_seconds == 3.0
    reader = aiter(outbox)
    got = [(await anext(reader)).message for _ in range(4 * AUDIO_FRAMES)]
    more = asyncio.create_task(anext(reader, None))
    await asyncio.sleep(0)
    assert outbox.behind_seconds == 0.0, "who has read everything has caught up"
    sounds = [message for message in got if message.startswith("sound")]
    assert sounds == [f"sound {number}" for number in range(2 * AUDIO_FRAMES, 3 * AUDIO_FRAMES)]
    assert len(got) - len(sounds) == 3 * AUDIO_FRAMES
    outbox.close()
    assert await more is None


async def test_a_mark_behind_sound_that_was_dropped_is_dropped_with_it():
    outbox = Outbox()
    for number in range(2 * AUDIO_FRAMES):
        outbox.put(f"sound {number}", frame(number))
        outbox.put(f"mark {number}", behind_sound=True)
        outbox.put(f"word {number}")
    outbox.put("mark of no sound of its own", behind_sound=True)
    outbox.close()
    got = [waiting.message async for waiting in outbox]
    kept = range(AUDIO_FRAMES, 2 * AUDIO_FRAMES)
    assert [m for m in got if m.startswith("mark ")] == [
        *(f"mark {number}" for number in kept), "mark of no sound of its own",
    ]  # fmt: skip
    assert sum(m.startswith("word ") for m in got) == 2 * AUDIO_FRAMES


def test_who_reads_no_words_either_is_let_go():
    outbox = Outbox()
    for number in range(MAX_WAITING):
        outbox.put(str(number))
    with pytest.raises(OutboxFull):
        outbox.put("one more")
