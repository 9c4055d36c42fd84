"""A server that cannot start says why to who started it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from fastapi import APIRouter

from coda_voice.config import VoiceConfig
from coda_voice.errors import ModelLoadingError
from coda_voice.server.app import create_app
from coda_voice.server.front import Front
from coda_voice.server.run import serve


async def test_a_checkpoint_that_there_is_not_is_told_in_a_sentence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    nowhere = str(tmp_path / "nowhere")
    config = VoiceConfig.load(
        env={}, moshi__device="cpu", moshi__checkpoint=nowhere, server__port=0
    )
    logging.getLogger("uvicorn.error").propagate = True
    with pytest.raises(ModelLoadingError, match="neither a known checkpoint nor a folder"):
        await serve(create_app(config))
    assert not [record for record in caplog.records if "Traceback" in record.getMessage()]


async def test_a_route_that_cannot_listen_is_told(monkeypatch: pytest.MonkeyPatch):
    def routes(front: Front) -> APIRouter:
        monkeypatch.setattr(type(front.manager), "initialize", nothing)

        @asynccontextmanager
        async def listening(_: object) -> AsyncIterator[None]:
            raise OSError("port 9092 is taken")
            yield

        return APIRouter(lifespan=listening)

    async def nothing(_: object) -> None:
        """Load no models: they are not what this is about."""

    config = VoiceConfig.load(env={}, moshi__device="cpu", server__port=0)
    with pytest.raises(OSError, match="9092"):
        await serve(create_app(config, routes=[routes]))
