"""An MCP server over stdio that does one thing at a time, and is difficult about its tools.

``slow``: a call takes 4 s, and nothing else is answered meanwhile. ``restless``: it says that
its tools have changed whenever it has told them. ``garbled``: after a call its list is none;
``hopeless``: it never is one. ``crooked``: a tool of it has a schema that is none. It does not
start where the file that it is given is there, which it takes away.
"""

import os
import sys
import time
from pathlib import Path

from mcp_by_hand import requests, say, text, tool, tools_have_changed

nature = sys.argv[1]
for spoilt in map(Path, sys.argv[2:]):
    if spoilt.exists():
        spoilt.unlink()
        sys.exit(4)
garbled = nature == "hopeless"

for asked, answer in requests("difficult"):
    if asked["method"] == "tools/list":
        tools = [tool("work"), tool("die")]
        if nature == "crooked":
            tools.append(tool("bend", far={"type": 7}))
        answer["result"] = {"tools": "none" if garbled else tools}
    else:
        if asked["params"]["name"] == "die":
            os._exit(3)
        if nature == "slow":
            time.sleep(4.0)
        garbled = nature == "garbled"
        answer["result"] = text("worked")
    if asked["method"] == {"restless": "tools/list", "garbled": "tools/call"}.get(nature):
        tools_have_changed()
    say(answer)
