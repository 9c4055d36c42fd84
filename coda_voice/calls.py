"""A caller's utterance or stream said to one conversation, and what he gets back for it.

In his own format on both sides, as ``audio`` in the configuration says; what goes on
between the two is in ``exchange.py``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterable
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager, aclosing

from coda_voice.analytics import milliseconds
from coda_voice.audio.ingest import Ingest
from coda_voice.caller_audio import CallerAudio
from coda_voice.config import VoiceConfig
from coda_voice.conversation import Conversation
from coda_voice.errors import ValidationError
from coda_voice.exchange import AudioChunk, answer, chunk_of, stream
from coda_voice.models import VoiceResponse, VoiceStreamChunk
from coda_voice.moshi.frames import SAMPLE_RATE
from coda_voice.startup import audio_settings_of


async def utterance(
    conversation: Conversation, audio_data: bytes, config: VoiceConfig, pool: Executor
) -> VoiceResponse:
    """Say ``audio_data`` and give the whole answer; see ``VoiceManager.process_voice_input``."""
    called = time.perf_counter()
    caller = CallerAudio(config.audio)
    loop = asyncio.get_running_loop()
    pcm = await loop.run_in_executor(pool, caller.decode, audio_data)
    ingest = Ingest(audio_settings_of(config, SAMPLE_RATE))
    said = await answer(conversation, pcm, ingest, pool)
    sound, seconds = await loop.run_in_executor(pool, caller.encode, said.pcm)
    quality = conversation.quality
    return VoiceResponse(
        conversation_id=conversation.id,
        audio_data=sound,
        audio_format=config.audio.format,
        text_content=said.text,
        duration_ms=seconds * 1000.0,
        total_latency_ms=(time.perf_counter() - called) * 1000.0,
        moshi_latency_ms=milliseconds(said.model_seconds.value),
        turn_latency_ms=milliseconds(said.turn_latency),
        audio_quality_score=quality.score if quality else None,
    )


async def full_duplex(
    conversation: Conversation,
    audio_stream: AsyncIterable[AudioChunk],
    config: VoiceConfig,
    pool: Executor,
    call: AbstractAsyncContextManager[None],
    *,
    finish_answer: bool | None,
) -> AsyncGenerator[VoiceStreamChunk, None]:
    """Give the agent's chunks while the user's audio goes in, within ``call``, and one to end it.

    See ``VoiceManager.process_voice_stream``.
    """
    if not isinstance(audio_stream, AsyncIterable):
        raise ValidationError(
            f"audio_stream is {type(audio_stream).__name__}; give an async iterator of PCM "
            "bytes (an async generator, for example).",
            "not_a_stream",
        )
    outlet = CallerAudio(config.audio).outlet()
    index, spoken = 0, False
    async with call:
        ingest = Ingest(audio_settings_of(config))
        if finish_answer is None:
            finish_answer = config.conversation_mode != "full_duplex"
        frames = stream(conversation, audio_stream, ingest, pool, finish_answer=finish_answer)
        async with aclosing(frames):
            async for heard in frames:
                yield chunk_of(conversation, index, heard, outlet, first_words=not spoken)
                spoken = spoken or bool(heard.text)
                index += 1
    yield VoiceStreamChunk(
        conversation_id=conversation.id,
        chunk_index=index,
        audio_data=outlet.finish(),
        is_complete=True,
        chunk_type="end",
        time=conversation.seconds,
        dropped_frames=conversation.dropped_frames,
    )
