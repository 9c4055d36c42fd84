"""A spoken question goes to a language model and is answered in Moshi's voice, frame by frame.

    python scripts/hybrid_voice_demo.py                          (the offline brain thinks)
    python scripts/hybrid_voice_demo.py --llm ollama/qwen3:8b

The same conversation as `coda-voice demo --fast`, without its picture: what was understood,
what was decided, which tools ran and what was said, in order.
"""

from __future__ import annotations

import argparse
import asyncio

from rich.console import Console

from coda_voice.cli import options
from coda_voice.cli.demo import DEFAULTS, converse
from coda_voice.cli.script import load_script


def main() -> None:
    """Hold the conversation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--llm", help="ollama/MODEL, openai/MODEL or offline")
    parser.add_argument("--endpoint", help="address of the LLM's server")
    parser.add_argument("--mode", default="adaptive", choices=["hybrid", "adaptive"])
    chosen = parser.parse_args()
    script = load_script()
    settings = options.load_config(
        None,
        {
            **options.AS_THE_MODEL_HEARS,
            **options.thinking(chosen.llm, chosen.endpoint),
            "mode": chosen.mode,
            "moshi__prompt": script.prompt,
        },
        {"moshi__seed": options.SEED, **DEFAULTS},
    )
    console = Console(highlight=False)
    held = asyncio.run(converse(settings, script, console, in_time=False))
    console.print(held.record.thinking())


if __name__ == "__main__":
    main()
