"""The demo through VoiceManager: the same as `coda-voice demo`, for those who look here first.

`python scripts/voice_demo.py [--out DIR] [--realtime] [--seed N]`; how it is done is in
`coda_voice/cli/demo.py`.
"""

from __future__ import annotations

import sys

from coda_voice.cli.main import main

if __name__ == "__main__":
    main(["demo", *sys.argv[1:]])
