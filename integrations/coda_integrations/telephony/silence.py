"""When a telephone call is over though nobody has said so: its far end sends nothing any more.

A telephone sends sound all the time, silence, too. One that sends none has lost its network, or
its exchange has forgotten the call; the line fills the gap with silence, and the conversation
would go on for ever, and hold its slot.
"""

from __future__ import annotations

import asyncio
from typing import NoReturn

from coda_integrations.connection import POLICY
from coda_integrations.host import EdgeHost
from coda_integrations.line import Line
from coda_voice.errors import ConversationError

SILENT_CALL = "silent_call"
"""Why such a call ends: the reason of its ``conversation_ended``."""
LOOK_SECONDS = 1.0
"""So often the limit is looked at: it may be changed while calls go on."""


async def end_of_silent_call(line: Line, host: EdgeHost) -> NoReturn:
    """Wait until no sound has come for too long, and raise ConversationError then."""
    while True:
        left = host.silent_call_seconds - line.nothing_came_for
        if left <= 0:
            break
        await asyncio.sleep(min(left, LOOK_SECONDS))
    line.end_reason = SILENT_CALL
    raise ConversationError(
        f"No sound has come from the telephone for {host.silent_call_seconds:.0f} s "
        "(server.silent_call_seconds); the call is taken for dead.",
        SILENT_CALL,
        close_code=POLICY,
    )
