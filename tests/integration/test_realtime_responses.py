"""What one Realtime response sets, says and costs is its own, and ends when the client is told."""

from __future__ import annotations

from typing import Any

import pytest

from coda_voice.moshi.engine import Engine
from tests.conftest import Spoken
from tests.integration.llm_server import Step
from tests.integration.test_realtime import WEATHER
from tests.integration.test_realtime_turns import (
    TRANSCRIBED,
    append,
    calling,
    pause,
    with_tool,
)

CALLED = "response.function_call_arguments.done"
STOCKS = {**WEATHER, "name": "get_stocks", "description": "What a share costs."}


def first_tool(request: dict[str, Any]) -> list[Step]:
    """Call the first tool that there is."""
    return calling(request["tools"][0]["function"]["name"])


@pytest.mark.parametrize("tools", [[WEATHER], []], ids=["beside the session's", "only"])
async def test_a_response_to_spoken_words_has_the_tools_that_were_given_for_it(
    engine: Engine, spoken: Spoken, tools: list[dict[str, Any]]
):
    async with with_tool(engine, None, first_tool) as (client, llm):
        await client.connection.session.update(session={"type": "realtime", "tools": tools})
        await append(client, spoken.pcm("what_is_your_name"), pause(1.5))
        await client.connection.input_audio_buffer.commit()
        await client.until(TRANSCRIBED)
        await client.connection.response.create(response={"tools": [STOCKS]})
        call = await client.until(CALLED)
        assert call["name"] == "get_stocks"
        (request,) = llm.requests
        assert [tool["function"]["name"] for tool in request["tools"]] == ["get_stocks"]
