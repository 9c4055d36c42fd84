"""What VoiceManager takes as configuration and as other managers, and what it refuses."""

from __future__ import annotations

import asyncio
import shutil
import sys
import threading
import traceback
from pathlib import Path

import pytest

from coda_voice import VoiceConfig, VoiceManager
from coda_voice.errors import (
    ComponentNotInitializedError,
    ConfigurationError,
    IntegrationError,
    ModelLoadingError,
    UnsupportedModeError,
    ValidationError,
    VoiceInitializationError,
)
from coda_voice.events import Event, SettingWithoutEffect
from coda_voice.moshi.capabilities import TINY_FOLDER
from coda_voice.moshi.engine import Engine
from coda_voice.moshi.frames import Sampling
from coda_voice.protocols import MemoryManager, PersonalityManager, ToolManager, settle
from coda_voice.startup import audio_settings_of, open_engine, prompt_of, sampling_of

CODAS_OWN = """
voice:
  mode: moshi_only
  conversation_mode: turn_based
  audio: {sample_rate: 16000, channels: 1, bit_depth: 16, chunk_size: 1024, format: wav,
          vad_enabled: true, vad_threshold: 0.5, silence_duration_ms: 1000,
          noise_reduction: true, echo_cancellation: true, auto_gain_control: true}
  moshi: {device: cpu, optimization: fp32, max_conversation_length: 300}
"""


async def test_what_is_not_there_yet_is_refused_and_what_works_is_said():
    config = {"mode": "traditional"}
    with pytest.raises(
        UnsupportedModeError, match="'traditional' is not part of this build"
    ) as caught:
        await VoiceManager(config).initialize()
    assert "what works now is" in caught.value.message
    with pytest.raises(UnsupportedModeError):
        await VoiceManager().initialize(config)


@pytest.mark.parametrize(
    "config", [{"moshi": {"device": "cloud"}}, {"voice": {"provider": "moshi-cloud"}}]
)
async def test_a_remote_server_needs_an_address(config):
    with pytest.raises(ConfigurationError, match="set endpoint, for example wss://"):
        await VoiceManager(config).initialize()


def test_a_config_may_be_a_model_a_dict_or_a_path(tmp_path: Path):
    path = tmp_path / "coda.yaml"
    path.write_text(CODAS_OWN)
    manager = VoiceManager(path)
    assert manager.config.audio.sample_rate == 16_000
    assert VoiceManager(str(path)).config == manager.config
    assert VoiceManager(manager.config).config is manager.config
    assert VoiceManager({"moshi": {"seed": 4}}).config.moshi.seed == 4
    settings = audio_settings_of(manager.config)
    assert (settings.noise_reduction, settings.silence_duration_ms) == (True, 1000)
    with pytest.raises(ValidationError, match="config is int"):
        VoiceManager(7)
    with pytest.raises(ConfigurationError, match="seed"):
        VoiceManager({"moshi": {"sed": 4}})


async def test_nothing_works_before_initialize():
    manager = VoiceManager()
    with pytest.raises(ComponentNotInitializedError, match=r"await manager.initialize\(\)"):
        await manager.start_conversation()
    with pytest.raises(ComponentNotInitializedError):
        await manager.process_voice_input("x", b"")
    assert manager.get_active_conversations() == []
    assert (await manager.get_system_status()).initialized is False
    await manager.shutdown()


@pytest.mark.parametrize("spoil", ["missing", "corrupt"])
async def test_a_checkpoint_folder_that_is_not_whole(tmp_path: Path, spoil: str):
    folder = tmp_path / "checkpoint"
    shutil.copytree(TINY_FOLDER, folder)
    weights = folder / "moshi.safetensors"
    if spoil == "missing":
        weights.unlink()
    else:
        weights.write_bytes(weights.read_bytes()[:1000])
    manager = VoiceManager({"moshi": {"checkpoint": str(folder), "device": "cpu"}})
    with pytest.raises(
        ModelLoadingError, match=r"moshi\.safetensors|no checkpoint that can be opened"
    ):
        await manager.initialize()
    assert not manager.is_healthy()


async def test_a_voice_sample_that_is_not_there():
    with pytest.raises(Exception, match=r"nowhere\.wav cannot be read"):
        await VoiceManager({"moshi": {"voice_prompt": "nowhere.wav"}}).initialize()


def test_sampling_is_the_checkpoints_unless_set_and_seeded_apart():
    suggested = Sampling(temperature=0.6, top_k=50, text_temperature=0.3, text_top_k=5)
    config = VoiceConfig.from_dict({"moshi": {"temperature": 0.0, "seed": 9}})
    assert sampling_of(config, suggested) == Sampling(0.0, 50, 0.3, 5, seed=9)
    seeds = {sampling_of(VoiceConfig(), suggested).seed for _ in range(8)}
    assert len(seeds) == 8, "without a seed no two conversations are alike"


def test_the_prompt_is_what_was_set(spoken):
    assert prompt_of(VoiceConfig()) is None
    config = VoiceConfig.from_dict(
        {"moshi": {"prompt": "your name is coda", "voice_prompt": "tests/data/hello.flac"}}
    )
    prompt = prompt_of(config)
    assert prompt is not None and prompt.text == "your name is coda"
    assert prompt.voice is not None and len(prompt.voice) == len(spoken.pcm("hello"))


class SyncMemory:
    def add_turn(self, role, content): ...
    def search_memories(self, query, limit=5, min_relevance=0.0):
        return []

    def get_context(self, max_tokens=800):
        return {}


class AsyncMemory(SyncMemory):
    async def search_memories(self, query, limit=5, min_relevance=0.0):
        return []


class Personality:
    def get_personality_state(self):
        return {"parameters": {}}

    async def enhance_prompt(self, prompt, context=""):
        return prompt


class Tools:
    def get_function_schemas(self, context=None):
        return []

    async def process_function_call(self, call):
        return {"success": True}


async def test_managers_are_taken_by_method_and_by_attribute_and_said_to_be_unused():
    manager, events = VoiceManager(), list[Event]()
    manager.events.listen(events.append)
    memory, personality, tools = AsyncMemory(), Personality(), Tools()
    await manager.set_memory_manager(SyncMemory())
    manager.memory_manager = memory
    await manager.set_personality_manager(personality)
    await manager.set_tools_manager(tools)
    await manager.set_llm_manager(object())
    assert manager.memory_manager is memory and manager.personality_manager is personality
    assert manager.tool_manager is tools
    told = {e.setting for e in events if isinstance(e, SettingWithoutEffect) and e.reason}
    assert told == {"tool_manager", "llm_manager"}
    status = await manager.get_system_status()
    assert status.integrations == {"memory": True, "personality": True, "tool": True, "llm": True}
    assert "llm_manager" in status.settings_without_effect
    await manager.set_tool_manager(None)
    assert manager.tool_manager is None


@pytest.mark.parametrize("mode", ["hybrid", "adaptive"])
async def test_tools_are_not_said_to_be_unused_where_they_are_called(mode: str):
    manager, events = VoiceManager({"mode": mode}), list[Event]()
    manager.events.listen(events.append)
    await manager.set_tool_manager(Tools())
    await manager.set_llm_manager(object())
    assert [e.setting for e in events if isinstance(e, SettingWithoutEffect)] == ["llm_manager"]
    unused = (await manager.get_system_status()).settings_without_effect
    assert "llm_manager" in unused and "tool_manager" not in unused


@pytest.mark.parametrize("kind", ["memory", "personality", "tool"])
async def test_an_object_that_cannot_serve_is_refused_at_once(kind: str):
    manager = VoiceManager()
    with pytest.raises(IntegrationError, match=f"cannot serve as {kind} manager: it lacks"):
        await getattr(manager, f"set_{kind}_manager")(object())
    with pytest.raises(IntegrationError):
        setattr(manager, f"{kind}_manager", Personality() if kind != "personality" else Tools())
    assert getattr(manager, f"{kind}_manager") is None


async def test_protocols_are_met_by_having_the_methods():
    assert isinstance(AsyncMemory(), MemoryManager) and isinstance(Tools(), ToolManager)
    assert isinstance(Personality(), PersonalityManager) and not isinstance(Tools(), MemoryManager)
    assert await settle(SyncMemory().search_memories("x")) == []
    assert await settle(AsyncMemory().search_memories("x")) == []


async def test_an_engine_that_does_not_run_is_refused(models):
    with pytest.raises(VoiceInitializationError, match=r"start\(\) it first"):
        await VoiceManager(engine=Engine(models)).initialize()


def engine_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if "engine" in thread.name}


def loads_a_checkpoint() -> bool:
    stacks = [traceback.walk_stack(frame) for frame in sys._current_frames().values()]
    return any(frame.f_code is open_engine.__code__ for stack in stacks for frame, _ in stack)


async def starting(manager: VoiceManager) -> asyncio.Task[None]:
    """Begin to start it; come back when it loads its checkpoint."""
    task = asyncio.create_task(manager.initialize())
    async with asyncio.timeout(30):
        while not loads_a_checkpoint():  # noqa: ASYNC110 — nothing tells of it
            await asyncio.sleep(0.002)
    return task


async def test_a_start_that_is_given_up_leaves_no_engine_behind():
    before = engine_threads()
    manager = VoiceManager({"moshi": {"slots": 1, "device": "cpu"}})
    task = await starting(manager)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.get_running_loop().shutdown_default_executor()  # what was loading has loaded
    assert not manager.is_healthy()
    assert engine_threads() <= before


async def test_a_shutdown_during_the_start_comes_after_it():
    before = engine_threads()
    manager = VoiceManager({"moshi": {"slots": 1, "device": "cpu"}})
    task = await starting(manager)
    await manager.shutdown()
    await task
    assert not manager.is_healthy()
    assert engine_threads() <= before
