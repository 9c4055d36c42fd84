"""Coverage-guided fuzzing (atheris, libFuzzer) of the codecs that take bytes from strangers.

    python scripts/fuzz_codecs.py                          # every codec, 20,000 inputs each
    python scripts/fuzz_codecs.py kyutai opus --inputs 1000000

Any exception but the codec's own error, an input that takes 20 s, and 2 GB of memory end it,
with the input in ``crash-…`` beside it. Prints a table: inputs, seconds, memory at half of the
inputs and at the end. Needs the extra ``fuzz``.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

LONGEST_INPUT = 4_096
LONGEST_SECONDS = 20
MOST_MEMORY_MB = 2_048
INSTRUMENTED = ["coda_voice", "coda_integrations", "json", "base64"]
MEMORY = "memory_mb"


def main() -> None:
    """Run each codec in a process of its own: libFuzzer ends the one it runs in."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("codecs", nargs="*", help="which; all without")
    parser.add_argument("--inputs", type=int, default=20_000, help="for each codec")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--here", action="store_true", help="one codec, in this process")
    given = parser.parse_args()
    if given.here:
        fuzz(given.codecs[0], given.inputs, given.seed)
        return
    from scripts.fuzzing.harnesses import HARNESSES

    unknown = set(given.codecs) - set(HARNESSES)
    if unknown:
        parser.error(f"there is no codec {', '.join(sorted(unknown))}: {', '.join(HARNESSES)}")
    print(
        f"{'codec':12} {'inputs':>10} {'inputs/s':>9} {'MB half-way':>12} {'MB at end':>10}",
        flush=True,
    )
    failed = [c for c in given.codecs or HARNESSES if not _run(c, given.inputs, given.seed)]
    if failed:
        sys.exit(f"something was found in: {', '.join(failed)}")


def _run(codec: str, inputs: int, seed: int) -> bool:
    """Fuzz one codec and print its line; False if something was found."""
    command = [sys.executable, __file__, codec, "--here", f"--inputs={inputs}", f"--seed={seed}"]
    with tempfile.TemporaryDirectory() as folder:  # for the inputs it finds worth keeping
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env={**os.environ, "TMPDIR": folder},
        )
    told = done.stdout + done.stderr
    counted = re.search(r"number_of_executed_units: (\d+)", told)
    speed = re.search(r"average_exec_per_sec: +(\d+)", told)
    memory = re.findall(rf"{MEMORY} (\d+)", told)
    if done.returncode != 0 or counted is None or speed is None or len(memory) != 2:
        print(f"{codec:12} failed\n{told[-6_000:]}")
        return False
    print(f"{codec:12} {counted[1]:>10} {speed[1]:>9} {memory[0]:>12} {memory[1]:>10}", flush=True)
    return True


def fuzz(codec: str, inputs: int, seed: int) -> None:
    """Fuzz a codec in this process, which libFuzzer then ends."""
    import atheris
    import psutil

    with atheris.instrument_imports(include=INSTRUMENTED):
        from scripts.fuzzing.harnesses import HARNESSES, SEEDS
    harness = HARNESSES[codec]
    process = psutil.Process()
    count = 0

    def one(data: bytes) -> None:
        nonlocal count
        count += 1
        harness(data)
        if count in (inputs // 2, inputs):
            print(MEMORY, process.memory_info().rss >> 20, flush=True)

    corpus = Path(tempfile.mkdtemp(prefix=f"fuzz-{codec}-"))
    for number, data in enumerate(SEEDS[codec]):
        (corpus / str(number)).write_bytes(data)
    options = [
        f"-runs={inputs}",
        f"-seed={seed}",
        f"-max_len={LONGEST_INPUT}",
        f"-timeout={LONGEST_SECONDS}",
        f"-rss_limit_mb={MOST_MEMORY_MB}",
        f"-artifact_prefix={Path.cwd()}/",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
