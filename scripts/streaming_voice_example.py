"""Full duplex: the agent is heard, word by word, while the user's audio still flows.

    python scripts/streaming_voice_example.py [FILE.wav …] [--checkpoint NAME] [--fast]

Without arguments it speaks the questions of tests/data with pauses, at the pace of a
microphone, to coda-tiny. ``--fast`` streams as fast as the machine allows.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np

from coda_voice import VoiceManager, VoiceProcessingError
from coda_voice.audio import files

DATA = Path(__file__).resolve().parent.parent / "tests" / "data"
QUESTIONS = [DATA / f"{name}.flac" for name in ("hello", "thank_you")]
SAMPLE_RATE = 16_000
CHUNK_SECONDS = 0.02
PAUSE_SECONDS = 4.0


async def microphone(questions: list[Path], pace: bool) -> AsyncIterator[bytes]:
    """Give the questions and the pauses between them as 20 ms chunks of 16-bit PCM."""
    pause = np.zeros(round(PAUSE_SECONDS * SAMPLE_RATE), dtype=np.float32)
    parts = [part for path in questions for part in (files.read(path).at(SAMPLE_RATE), pause)]
    data = np.rint(np.concatenate(parts) * 32767).astype("<i2").tobytes()
    step = round(CHUNK_SECONDS * SAMPLE_RATE) * 2
    due = asyncio.get_running_loop().time()
    for begin in range(0, len(data), step):
        if pace:
            due += CHUNK_SECONDS
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
        yield data[begin : begin + step]


async def stream(questions: list[Path], checkpoint: str, pace: bool) -> None:
    """Talk, and print who is speaking and what the agent says, as it happens."""
    config = {
        "audio": {"sample_rate": SAMPLE_RATE},
        "moshi": {"checkpoint": checkpoint, "slots": 1, "seed": 5},
        "logging": {"level": "warning"},
    }
    print(f"loading {checkpoint} …")
    async with VoiceManager(config) as manager:
        conversation = await manager.start_conversation(user_id="example")
        chunks, spoken, user = 0, 0, False
        slowest = 0.0
        talk = manager.process_voice_stream(conversation, microphone(questions, pace))
        async for chunk in talk:
            chunks += 1
            spoken += chunk.agent_speaking
            slowest = max(slowest, chunk.processing_latency_ms)
            if chunk.user_speaking != user:
                user = chunk.user_speaking
                print(f"{chunk.time:6.2f} s  user  {'speaks' if user else 'is silent'}")
            if chunk.text_content:
                print(f"{chunk.time:6.2f} s  agent {chunk.text_content}")
        dropped = chunk.dropped_frames
        analytics = await manager.get_analytics()
        await manager.end_conversation(conversation)
    print(
        f"\n{chunks} chunks, the agent spoke for {spoken * 0.08:.1f} s; a frame took "
        f"{analytics.average_latency_ms or 0:.0f} ms from its arrival, {slowest:.0f} ms at most; "
        f"{dropped} frames dropped"
    )


def main() -> int:
    """Read the command line and stream."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("questions", nargs="*", type=Path, default=QUESTIONS)
    parser.add_argument("--checkpoint", default="coda-tiny")
    parser.add_argument("--fast", action="store_true", help="do not keep the pace of speech")
    given = parser.parse_args()
    try:
        asyncio.run(stream(given.questions, given.checkpoint, pace=not given.fast))
    except (VoiceProcessingError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
