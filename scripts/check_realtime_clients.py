"""The stock OpenAI Realtime clients of pipecat and livekit, against a running server of ours.

Run it in an environment of its own; it needs nothing of this package:

    python -m venv clients && clients/bin/pip install 'pipecat-ai[openai]' livekit-plugins-openai
    coda-voice serve --port 8998 &
    clients/bin/python scripts/check_realtime_clients.py 127.0.0.1:8998 --speech speech.wav

Each client asks in writing for a calculation with a tool of its own, hears the answer, speaks
the recording (24 kHz, mono, 16 bit; over what the agent is still saying), and asks again. The
server's LLM may be the offline brain: it calls a tool named ``calculate`` as well as any.
Prints a line for each step; exit status 1 if one failed, or if the client saw an error.
"""

# ruff: noqa: ANN401 (the clients' own types are not installed here)

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import sys
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RATE = 24_000
CHUNK_SECONDS = 0.1
STEP_SECONDS = 120.0
QUESTIONS = ("what is 17 times 23?", "what is 12 times 12?")
ANSWER = "ninety"
"""A word of the first one's, as it is spoken."""


@dataclass
class Seen:
    """What one client has seen of its conversation."""

    words: str = ""
    sound: int = 0
    calls: list[str] = field(default_factory=list)
    user_began: int = 0
    user_ended: int = 0
    transcripts: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, true: Callable[[Seen], bool]) -> None:
        """Wait until it is so, or the client saw an error. Raises TimeoutError."""
        async with asyncio.timeout(STEP_SECONDS):
            while not true(self) and not self.errors:
                self.changed.clear()
                await self.changed.wait()


def spoken(path: Path) -> bytes:
    """Give the samples of a WAV file, and a second of silence behind them."""
    with wave.open(str(path)) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (RATE, 1, 2):
            sys.exit(f"{path} must be 24 kHz, mono, 16 bit")
        return file.readframes(file.getnframes()) + bytes(2 * RATE)


async def paced(pcm: bytes) -> AsyncIterator[bytes]:
    """Give sound at the pace of speech."""
    step = int(RATE * CHUNK_SECONDS) * 2
    for begin in range(0, len(pcm), step):
        yield pcm[begin : begin + step]
        await asyncio.sleep(CHUNK_SECONDS)


def product(expression: str) -> str:
    """Work a product out: what the clients' tool does."""
    left, _, right = expression.partition("*")
    return str(int(left) * int(right))


Ask = Callable[[str], Awaitable[None]]
Say = Callable[[bytes], Awaitable[None]]


async def converse(seen: Seen, ask: Ask, say: Say, pcm: bytes, told: Callable[[str], None]) -> None:
    """Go through the steps; ``told`` gets each that was done."""
    await ask(QUESTIONS[0])
    await seen.until(lambda s: len(s.calls) == 1)
    told(f"its tool was called: {seen.calls}")
    await seen.until(lambda s: ANSWER in s.words)
    told(f"heard: {seen.words.strip()!r}, {seen.sound / 2 / RATE:.1f} s of sound")
    await say(pcm)
    await seen.until(lambda s: s.user_began > 0 and s.user_ended > 0)
    told("its user's turn began and ended")
    before = len(seen.words)
    await ask(QUESTIONS[1])
    await seen.until(lambda s: len(s.words) > before)
    told(f"it goes on: {seen.words[before:].strip()!r}")
    told(f"its user was understood as {seen.transcripts}")


async def pipecat(address: str, pcm: bytes, seen: Seen, told: Callable[[str], None]) -> None:
    """Converse by pipecat's OpenAIRealtimeLLMService in a pipeline with its aggregators."""
    from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
    from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
    from pipecat.frames.frames import (
        ErrorFrame,
        InputAudioRawFrame,
        LLMMessagesAppendFrame,
        LLMRunFrame,
        TTSAudioRawFrame,
        TTSTextFrame,
    )
    from pipecat.pipeline.pipeline import Pipeline
    from pipecat.pipeline.worker import PipelineParams, PipelineWorker
    from pipecat.processors.aggregators.llm_context import LLMContext
    from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
    from pipecat.processors.frame_processor import FrameProcessor
    from pipecat.services.openai.realtime import events
    from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
    from pipecat.workers.runner import WorkerRunner

    class Ears(FrameProcessor):
        async def process_frame(self, frame: Any, direction: Any) -> None:
            await super().process_frame(frame, direction)
            match frame:
                case TTSAudioRawFrame():
                    seen.sound += len(frame.audio)
                case TTSTextFrame():
                    seen.words += f" {frame.text.lower()}"
                case _:
                    pass
            seen.changed.set()
            await self.push_frame(frame, direction)

    class Service(OpenAIRealtimeLLMService):
        """Only looks on: what a pipeline does with these events is its own affair."""

        async def _handle_evt_speech_started(self, evt: Any) -> None:
            seen.user_began += 1
            await super()._handle_evt_speech_started(evt)

        async def _handle_evt_speech_stopped(self, evt: Any) -> None:
            seen.user_ended += 1
            await super()._handle_evt_speech_stopped(evt)

        async def handle_evt_input_audio_transcription_completed(self, evt: Any) -> None:
            seen.transcripts.append(evt.transcript)
            await super().handle_evt_input_audio_transcription_completed(evt)
            seen.changed.set()

    async def calculate(params: Any) -> None:
        seen.calls.append(params.arguments["expression"])
        seen.changed.set()
        await params.result_callback(product(params.arguments["expression"]))

    tool = FunctionSchema(
        name="calculate",
        description="Works out an expression.",
        properties={"expression": {"type": "string"}},
        required=["expression"],
    )
    heard_by = events.AudioInput(transcription=events.InputAudioTranscription())
    llm = Service(
        api_key="none",
        base_url=f"ws://{address}/v1/realtime",
        settings=OpenAIRealtimeLLMService.Settings(
            model="coda-voice",
            system_instruction="You are brief.",
            session_properties=events.SessionProperties(
                audio=events.AudioConfiguration(input=heard_by)
            ),
        ),
    )
    llm.register_function("calculate", calculate)
    context = LLMContext(
        [{"role": "user", "content": QUESTIONS[0]}], ToolsSchema(standard_tools=[tool])
    )
    user, assistant = LLMContextAggregatorPair(context)
    worker = PipelineWorker(
        Pipeline([user, llm, Ears(), assistant]),
        params=PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE),
        idle_timeout_secs=None,
    )

    @worker.event_handler("on_pipeline_error")
    async def failed(_: Any, frame: ErrorFrame) -> None:
        seen.errors.append(frame.error)
        seen.changed.set()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    asked = 0

    async def ask(question: str) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            await worker.queue_frame(LLMRunFrame())
            return
        message = {"role": "user", "content": question}
        # Past the user's aggregator, which would keep it: the service sends it as an item.
        await llm.queue_frame(LLMMessagesAppendFrame([message], run_llm=True))

    async def say(pcm: bytes) -> None:
        async for chunk in paced(pcm):
            await worker.queue_frame(InputAudioRawFrame(chunk, RATE, 1))

    try:
        await converse(seen, ask, say, pcm, told)
    finally:
        await runner.cancel()
        await asyncio.wait([running], timeout=10)


async def livekit(address: str, pcm: bytes, seen: Seen, told: Callable[[str], None]) -> None:
    """Converse by a session of livekit's RealtimeModel, with its own copy of the conversation."""
    from livekit import rtc
    from livekit.agents import llm
    from livekit.plugins.openai import realtime

    @llm.function_tool
    async def calculate(expression: str) -> str:
        """Works out an expression."""
        return product(expression)

    model = realtime.RealtimeModel(
        base_url=f"http://{address}/v1", api_key="none", model="coda-voice"
    )
    session = model.session()
    reading: set[asyncio.Task[None]] = set()

    def note(task: Any) -> None:
        reading.add(asyncio.ensure_future(task))
        seen.changed.set()

    async def read_words(stream: Any) -> None:
        async for text in stream:
            seen.words += f" {text.lower()}"
            seen.changed.set()

    async def read_sound(stream: Any) -> None:
        async for frame in stream:
            seen.sound += len(frame.data) * 2
            seen.changed.set()

    async def read_messages(stream: Any) -> None:
        async for message in stream:
            note(read_words(message.text_stream))
            note(read_sound(message.audio_stream))

    async def read_calls(stream: Any) -> None:
        async for call in stream:
            expression = call.arguments.split('"')[3]
            seen.calls.append(expression)
            seen.changed.set()
            output = llm.FunctionCallOutput(
                call_id=call.call_id, name=call.name, output=product(expression), is_error=False
            )
            context = session.chat_ctx.copy()
            context.items.append(output)
            await session.update_chat_ctx(context)
            await session.generate_reply()

    def generation(event: Any) -> None:
        note(read_messages(event.message_stream))
        note(read_calls(event.function_stream))

    def understood(event: Any) -> None:
        seen.transcripts.append(event.transcript)
        seen.changed.set()

    def counted(name: str) -> Callable[[Any], None]:
        def count(_: Any) -> None:
            setattr(seen, name, getattr(seen, name) + 1)
            seen.changed.set()

        return count

    def failed(event: Any) -> None:
        seen.errors.append(str(event.error))
        seen.changed.set()

    session.on("generation_created", generation)
    session.on("input_audio_transcription_completed", understood)
    session.on("input_speech_started", counted("user_began"))
    session.on("input_speech_stopped", counted("user_ended"))
    session.on("error", failed)
    await session.update_instructions("You are brief.")
    await session.update_tools([calculate])

    async def ask(question: str) -> None:
        context = session.chat_ctx.copy()
        context.add_message(role="user", content=question)
        await session.update_chat_ctx(context)
        await session.generate_reply()

    async def say(pcm: bytes) -> None:
        async for chunk in paced(pcm):
            session.push_audio(rtc.AudioFrame(chunk, RATE, 1, len(chunk) // 2))

    try:
        await converse(seen, ask, say, pcm, told)
    finally:
        await session.aclose()
        await model.aclose()
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)


CLIENTS = {"pipecat": ("pipecat-ai", pipecat), "livekit": ("livekit-plugins-openai", livekit)}


async def check(name: str, address: str, pcm: bytes) -> bool:
    """Converse by one client; whether all of it went well."""
    package, client = CLIENTS[name]
    print(f"{name} ({package} {importlib.metadata.version(package)})", flush=True)
    seen = Seen()
    try:
        await client(address, pcm, seen, lambda step: print(f"  {step}", flush=True))
    except TimeoutError:
        print(f"  waited {STEP_SECONDS:.0f} s in vain; until then: {seen}")
        return False
    for error in seen.errors:
        print(f"  error: {error}")
    return not seen.errors


def main() -> None:
    """Check the clients that were named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address", help="of the server: HOST:PORT")
    parser.add_argument("--speech", type=Path, required=True, help="WAV: 24 kHz, mono, 16 bit")
    parser.add_argument("--clients", nargs="*", choices=CLIENTS, default=list(CLIENTS))
    given = parser.parse_args()
    pcm = spoken(given.speech)
    good = [asyncio.run(check(name, given.address, pcm)) for name in given.clients]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
