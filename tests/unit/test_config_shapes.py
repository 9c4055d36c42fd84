"""Every YAML shape that Coda and its documents use loads as it stands, into one model."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from coda_voice.config import VoiceConfig
from coda_voice.errors import ConfigurationError

CODA_SECTION = """
voice:
  mode: moshi_only            # moshi_only | hybrid | adaptive (Coda also lists traditional)
  conversation_mode: turn_based   # full_duplex | turn_based | push_to_talk
  audio: {sample_rate: 16000, channels: 1, bit_depth: 16, chunk_size: 1024, format: wav,
          vad_enabled: true, vad_threshold: 0.5, silence_duration_ms: 1000,
          noise_reduction: true, echo_cancellation: true, auto_gain_control: true}
  moshi: {model_path: kyutai/moshiko-pytorch-bf16, device: cuda, optimization: bf16,
          max_conversation_length: 300, target_latency_ms: 200, vram_allocation: 8GB,
          enable_streaming: true, external_llm_enabled: true, inner_monologue_enabled: true}
  external_llm: {provider: ollama, model: "qwen3:30b-a3b", vram_allocation: 20GB,
                 reasoning_mode: enhanced, context_window: 8192, temperature: 0.7,
                 parallel_processing: true, fallback_enabled: true}
  memory_integration_enabled: true
  personality_integration_enabled: true
  tools_integration_enabled: true
  websocket_events_enabled: true
  total_vram: 32GB
  reserved_system: 4GB
  dynamic_allocation: true
  enable_traditional_pipeline: false
  fallback_whisper_model: large-v3
  fallback_tts_model: xtts_v2
"""

PIECES = """
voice_processing:
  mode: hybrid
  moshi: {model_path: kyutai/moshika-pytorch-bf16, device: "cuda:1", optimization: int8}
  external_llm: {provider: ollama, model: "qwen3:14b"}
audio: {sample_rate: 16000, channels: 2, vad_threshold: 0.4, noise_reduction: true}
integration: {memory_enabled: true, personality_enabled: false, tools_enabled: true,
              websocket_events: true, memory_context_limit: 7, personality_adaptation: true,
              tool_calling_during_speech: true}
"""

PROVIDER = """
voice:
  provider: moshi-cloud
  endpoint: wss://moshi.example.org/api/chat
  sample_rate: 24000
  model: kyutai/moshika-mlx-q4
  max_steps: 1000
  moshi: {device: cloud}
"""


def load(tmp_path: Path, text: str, **overrides: object) -> VoiceConfig:
    file = tmp_path / "coda.yaml"
    file.write_text(text, encoding="utf-8")
    return VoiceConfig.load(file, env={}, **overrides)


def test_codas_own_voice_section(tmp_path: Path):
    config = load(tmp_path, CODA_SECTION)
    assert (config.mode, config.conversation_mode) == ("moshi_only", "turn_based")
    assert config.audio.model_dump() == {
        "sample_rate": 16_000,
        "channels": 1,
        "bit_depth": 16,
        "chunk_size": 1_024,
        "format": "wav",
        "vad_enabled": True,
        "vad_threshold": 0.5,
        "silence_duration_ms": 1_000,
        "noise_reduction": True,
        "echo_cancellation": True,
        "auto_gain_control": True,
    }
    assert config.moshi.checkpoint == "kyutai/moshiko-pytorch-bf16"
    assert (config.moshi.device, config.moshi.optimization) == ("cuda", "bf16")
    assert config.conversation_limit_seconds == 300
    assert config.moshi.vram_allocation == 8_000_000_000
    assert config.external_llm.model == "qwen3:30b-a3b"
    assert config.external_llm.vram_allocation == 20_000_000_000
    assert config.integration.memory_enabled
    assert config.integration.websocket_events
    assert (config.total_vram, config.reserved_system) == (32_000_000_000, 4_000_000_000)
    assert config.fallback_whisper_model == "large-v3"


def test_the_documents_pieces_side_by_side(tmp_path: Path):
    config = load(tmp_path, PIECES)
    assert config.mode == "hybrid"
    assert config.moshi.checkpoint == "kyutai/moshika-pytorch-bf16"
    assert (config.moshi.device, config.moshi.optimization) == ("cuda:1", "int8")
    assert config.external_llm.model == "qwen3:14b"
    assert (config.audio.sample_rate, config.audio.channels) == (16_000, 2)
    assert config.audio.noise_reduction
    assert not config.integration.personality_enabled
    assert config.integration.memory_context_limit == 7


@pytest.mark.parametrize("device", ["mlx", "cuda", "cpu", "auto"])
def test_a_local_provider(tmp_path: Path, device: str):
    local = PROVIDER.replace("moshi-cloud", "moshi").replace("cloud}", f"{device}}}")
    config = load(tmp_path, local)
    assert config.effective_device == device
    assert config.moshi.checkpoint == "kyutai/moshika-mlx-q4"
    assert config.conversation_limit_seconds == 80.0


def test_a_remote_provider(tmp_path: Path):
    config = load(tmp_path, PROVIDER)
    assert config.effective_device == "cloud"
    assert config.endpoint == "wss://moshi.example.org/api/chat"
    without_device = load(tmp_path, "voice: {provider: moshi-cloud, endpoint}\n")
    assert without_device.effective_device == "cloud"


def test_all_pieces_and_a_provider_in_one_file(tmp_path: Path):
    provider = PROVIDER.replace("moshi-cloud", "moshi").replace("  moshi: {device: cloud}\n", "")
    config = load(tmp_path, PIECES + provider)
    assert config.audio.sample_rate == 16_000, "voice.sample_rate is Moshi's, not the caller's"
    assert config.moshi.checkpoint == "kyutai/moshika-pytorch-bf16"
    assert ("voice.model") in [setting for setting, _ in config.settings_without_effect()]
    assert config.conversation_limit_seconds == 80.0
    assert config.integration.memory_context_limit == 7


def test_settings_at_the_top_without_a_wrapper(tmp_path: Path):
    config = load(tmp_path, "mode: adaptive\nmoshi: {checkpoint: my/folder}\n")
    assert (config.mode, config.moshi.checkpoint) == ("adaptive", "my/folder")


def test_a_dict_takes_the_same_shapes():
    config = VoiceConfig.from_dict(
        {"voice": {"mode": "hybrid", "moshi": {"model_path": "x"}}, "audio": {"channels": 2}}
    )
    assert (config.mode, config.moshi.checkpoint, config.audio.channels) == ("hybrid", "x", 2)


@pytest.mark.parametrize("text", [CODA_SECTION, PIECES, PROVIDER], ids=["coda", "pieces", "cloud"])
def test_what_is_written_out_loads_back_equal(tmp_path: Path, text: str):
    config = load(tmp_path, text)
    assert load(tmp_path, config.to_yaml()).model_dump() == config.model_dump()


def test_a_remote_provider_on_a_local_device_is_a_contradiction(tmp_path: Path):
    with pytest.raises(ConfigurationError, match=r"coda\.yaml:8: 'voice\.moshi\.device' is 'cuda'"):
        load(tmp_path, PROVIDER.replace("cloud}", "cuda}"))


def test_two_names_of_one_setting_that_disagree(tmp_path: Path):
    with pytest.raises(ConfigurationError, match=r"coda\.yaml:2: .*coda\.yaml:1\)"):
        load(tmp_path, "moshi: {model_path: a,\n checkpoint: b}\n")
    assert load(tmp_path, "moshi: {model_path: a, checkpoint: a}\n").moshi.checkpoint == "a"


@pytest.mark.parametrize(
    ("written", "means"),
    [("off", "off"), ("auto", "auto"), ("false", "off"), ("kyutai/stt-1b-en_fr",) * 2],
)
def test_a_bare_off_in_yaml_switches_the_transcriber_off(written: str, means: str):
    config = VoiceConfig.from_dict(yaml.safe_load(f"moshi: {{transcriber: {written}}}"))
    assert config.moshi.transcriber == means
