"""A conversation in whole utterances: ask, wait for the answer, ask again.

    python scripts/voice_conversation_example.py [FILE.wav …] [--checkpoint NAME] [--save FOLDER]

Without arguments it asks the spoken questions of tests/data and uses coda-tiny, on any machine.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from coda_voice import VoiceManager, VoiceProcessingError

DATA = Path(__file__).resolve().parent.parent / "tests" / "data"
QUESTIONS = [DATA / f"{name}.flac" for name in ("hello", "what_is_your_name", "weather")]


async def converse(questions: list[Path], checkpoint: str, save: Path | None) -> None:
    """Ask every question in one conversation and print what came of it."""
    config = {
        "moshi": {"checkpoint": checkpoint, "slots": 1, "seed": 5},
        "logging": {"level": "warning"},
    }
    asked = [(question.name, question.read_bytes()) for question in questions]
    print(f"loading {checkpoint} …")
    async with VoiceManager(config) as manager:
        status = await manager.get_system_status()
        print(f"ready on {status.device}, one conversation at a time\n")
        conversation = await manager.start_conversation(user_id="example")
        for number, (name, sound) in enumerate(asked):
            response = await manager.process_voice_input(conversation, sound)
            latency = response.turn_latency_ms
            print(f"you    {name}")
            print(f"agent  {response.text_content or '(says nothing)'}")
            print(
                f"       {response.duration_ms / 1000:.1f} s of audio, "
                + (f"{latency:.0f} ms after you, " if latency is not None else "")
                + f"worked out in {response.total_latency_ms / 1000:.1f} s\n"
            )
            if save is not None:
                (save / f"answer_{number}.wav").write_bytes(response.audio_data)
        await manager.end_conversation(conversation)
        analytics = await manager.get_analytics()
    print(
        f"the agent spoke {analytics.total_messages} times in "
        f"{analytics.total_audio_duration_ms / 1000:.1f} s of conversation; a frame of 80 ms took "
        f"{analytics.moshi_latency_ms or 0:.0f} ms"
    )


def main() -> int:
    """Read the command line and converse."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("questions", nargs="*", type=Path, default=QUESTIONS)
    parser.add_argument("--checkpoint", default="coda-tiny")
    parser.add_argument("--save", type=Path, help="write the answers as WAV files there")
    given = parser.parse_args()
    try:
        if given.save is not None:
            given.save.mkdir(parents=True, exist_ok=True)
        asyncio.run(converse(given.questions, given.checkpoint, given.save))
    except (VoiceProcessingError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
