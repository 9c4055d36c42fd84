"""Whether Moshi's own talk is heard is changed over the network, while conversations run."""

from __future__ import annotations

import httpx
import numpy as np

from coda_voice.audio.features import level_dbfs
from tests.conftest import Spoken
from tests.integration.voice_server import FRAME_BYTES, StreamClient, voice_server


async def moshi_is_heard(client: StreamClient, spoken: Spoken) -> bool:
    """Greet Moshi; tell whether anything is heard meanwhile or in the two seconds after."""
    audio = await client.say(np.concatenate([spoken.pcm("hello"), np.zeros(48_000, np.float32)]))
    frames = np.frombuffer(audio, "<i2").astype(np.float32).reshape(-1, FRAME_BYTES // 2) / 32_768
    levels = [level_dbfs(frame) for frame in frames]
    return max(levels) > -45


async def test_moshis_own_talk_is_muted_and_heard_again_over_the_network(spoken: Spoken):
    settings = {"mode": "hybrid", "external_llm__provider": "offline", "moshi__seed": 5}
    with voice_server(**settings) as server:
        async with (
            httpx.AsyncClient(base_url=server.http, timeout=120) as http,
            StreamClient(f"{server.ws}/v1/stream?events=true&seed=5") as client,
        ):
            name = (await client.ready())["conversation_id"]
            mine = f"/v1/conversations/{name}/mode"
            assert await moshi_is_heard(client, spoken)

            patched = await http.patch("/v1/config", json={"hybrid": {"voice": "llm_only"}})
            assert patched.json()["settings"]["hybrid"]["voice"] == "llm_only"
            assert patched.json()["settings"]["mode"] == "hybrid"
            assert (await client.until("status", status="mode"))["mode"] == "hybrid"
            await client.frame()  # what had begun
            assert not await moshi_is_heard(client, spoken)

            await client.tell("mode", mode="hybrid", voice="moshi_and_llm")
            await client.until("status", status="mode")
            assert await moshi_is_heard(client, spoken)

            put = await http.put(mine, json={"mode": "adaptive", "voice": "llm_only"})
            assert put.status_code == 204
            assert (await client.until("status", status="mode"))["mode"] == "adaptive"
            assert (await http.get("/v1/config")).json()["settings"]["mode"] == "hybrid"
            await client.tell("mode", mode="adaptive", voice="llm_only")
            await client.until("status", status="mode")  # nothing new, and confirmed all the same

            for wrong in ({"hybrid": {"voice": "loud"}}, {"hybrid": {"prefer": "moshi"}}):
                assert (await http.patch("/v1/config", json=wrong)).status_code == 422
        changes = [m["event"] for m in client.messages if m["type"] == "event"]
        told = [(e["mode"], e["voice"]) for e in changes if e["type"] == "mode_changed"]
    assert told == [
        ("hybrid", "llm_only"),
        ("hybrid", "moshi_and_llm"),
        ("adaptive", "llm_only"),
    ]
