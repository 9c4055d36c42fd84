"""`coda-voice talk`: the way between sound card and model, and what is said without one."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import numpy as np
from rich.console import Console

from coda_voice.audio.features import level_dbfs
from coda_voice.cli.soundcard import MICROPHONE_BLOCKS, Duplex
from coda_voice.cli.talk import Talk, converse
from coda_voice.manager import VoiceManager
from coda_voice.moshi.engine import Engine
from tests.conftest import Spoken
from tests.e2e.conftest import coda_voice

BLOCK = 480  # 20 ms
NOBODY = "no such sound card 4711"


def test_without_a_sound_card_it_says_what_to_do(tmp_path: Path):
    done = coda_voice("talk", "--microphone", NOBODY, "--speakers", NOBODY, folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("coda-voice: ")
    assert "coda-voice demo" in done.stderr
    assert "Traceback" not in done.stderr


def _frames(talk: Talk) -> int:
    return 0 if talk.record is None else talk.record.frames


async def test_user_and_agent_hear_each_other(engine: Engine, spoken: Spoken):
    question = spoken.pcm("what_is_your_name")
    pcm = np.concatenate([question, np.zeros(4 * 24_000, dtype=np.float32)])
    pcm = pcm[: len(pcm) // BLOCK * BLOCK]
    blocks = (pcm.reshape(-1, BLOCK) * 32767).astype("<i2")
    played = bytearray()
    screen = io.StringIO()
    settings = {"moshi": {"seed": 1, "prompt": "your name is nova"}, "logging": {"level": "error"}}
    async with VoiceManager(settings, engine=engine) as manager:
        duplex, talk = Duplex(24_000), Talk()
        console = Console(file=screen, width=200)
        running = asyncio.create_task(converse(manager, duplex, talk, console))
        for number, block in enumerate(blocks):
            # The sound card's clock: a block is exchanged when the one before was dealt with.
            out = bytearray(2 * BLOCK)
            duplex.callback(memoryview(block.tobytes()), memoryview(out), BLOCK, None, None)
            played += out
            while not running.done() and _frames(talk) * 4 < number - 6:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        duplex.close()
        await running
    record = talk.record
    assert record is not None
    assert record.frames == len(blocks) // 4
    assert record.frames_dropped == 0
    assert duplex.dropped_blocks == 0
    heard = np.frombuffer(bytes(played), dtype="<i2").astype(np.float32) / 32768
    assert record.words, "the agent said nothing"
    assert level_dbfs(heard) > -50.0
    transcript = screen.getvalue()
    assert "user   (speaks for" in transcript
    assert "agent  " in transcript


async def test_a_user_nobody_listens_to_and_a_hasty_agent_fill_no_memory():
    duplex = Duplex(24_000)
    out = bytearray(2 * BLOCK)
    for _ in range(3 * MICROPHONE_BLOCKS):
        duplex.callback(memoryview(bytes(2 * BLOCK)), memoryview(out), BLOCK, None, None)
    assert duplex.dropped_blocks == 2 * MICROPHONE_BLOCKS
    for _ in range(100):
        duplex.play(b"\1\0" * 1920)
    rounds = 0
    while True:
        duplex.callback(memoryview(bytes(2 * BLOCK)), memoryview(out), BLOCK, None, None)
        if not any(out):
            break
        rounds += 1
    assert rounds == 25  # half a second
    assert duplex.ran_dry == 1


async def test_playing_waits_for_a_cushion_and_loses_nothing():
    duplex = Duplex(24_000)
    out = bytearray(2 * BLOCK)
    sound = np.arange(1, 4 * BLOCK + 1, dtype="<i2")
    heard = b""
    for part in sound.reshape(4, BLOCK):
        duplex.play(part.tobytes())
        duplex.callback(memoryview(bytes(2 * BLOCK)), memoryview(out), BLOCK, None, None)
        heard += bytes(out)
    for _ in range(3):
        duplex.callback(memoryview(bytes(2 * BLOCK)), memoryview(out), BLOCK, None, None)
        heard += bytes(out)
    assert not any(heard[: 3 * 2 * BLOCK]), "played before the cushion was full"
    assert heard[3 * 2 * BLOCK :] == sound.tobytes()
