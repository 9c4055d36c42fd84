"""Defaults, files, environment and keyword arguments, in rising order."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coda_voice.config import VoiceConfig, format_size, parse_size
from coda_voice.errors import ConfigurationError

CONFIGS = Path(__file__).parents[2] / "configs"


def test_later_sources_win(tmp_path: Path):
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text("moshi: {seed: 1, top_k: 1, slots: 1, threads: 1}\n")
    two.write_text("voice: {moshi: {top_k: 2, slots: 2, threads: 2}}\n")
    env = {"CODA_VOICE__MOSHI__SLOTS": "3", "CODA_VOICE__MOSHI__THREADS": "3", "PATH": "/bin"}
    moshi = VoiceConfig.load(one, two, env=env, moshi={"threads": 4}).moshi
    assert (moshi.seed, moshi.top_k, moshi.slots, moshi.threads) == (1, 2, 3, 4)
    assert moshi.device == "auto"


def test_each_setting_knows_where_it_was_made(tmp_path: Path):
    file = tmp_path / "one.yaml"
    file.write_text("mode: moshi_only\nmoshi:\n  seed: 1\n")
    config = VoiceConfig.load(file, env={"CODA_VOICE__AUDIO__CHANNELS": "2"}, moshi__top_k=5)
    assert config.origin_of("moshi.seed") == f"{file}:3"
    assert config.origin_of("audio.channels") == "environment variable CODA_VOICE__AUDIO__CHANNELS"
    assert config.origin_of("moshi.top_k") == "keyword argument"
    assert config.origin_of("moshi.device") == "default"


@pytest.mark.parametrize(
    ("variable", "text", "section", "key", "value"),
    [
        ("AUDIO__VAD_ENABLED", "false", "audio", "vad_enabled", False),
        ("AUDIO__VAD_THRESHOLD", "0.25", "audio", "vad_threshold", 0.25),
        ("VOICE__MOSHI__MODEL_PATH", "a/b", "moshi", "checkpoint", "a/b"),
        ("MOSHI__VRAM_ALLOCATION", "8GB", "moshi", "vram_allocation", 8_000_000_000),
        ("MOSHI__PROMPT", "*be* nice: always", "moshi", "prompt", "*be* nice: always"),
        ("LOGGING__TIMING_LOG", "true", "logging", "timing_log", "moshi_timing.log"),
        ("LOGGING__TIMING_LOG", "my.log", "logging", "timing_log", "my.log"),
        ("MOSHI__SEED", "  ", "moshi", "seed", None),
    ],
)
def test_the_environment(variable: str, text: str, section: str, key: str, value: object):
    config = VoiceConfig.load(env={f"CODA_VOICE__{variable}": text})
    assert getattr(getattr(config, section), key) == value


def test_a_key_without_a_value_keeps_the_default_or_the_earlier_source(tmp_path: Path):
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text("moshi: {seed: 7}\n")
    two.write_text("moshi: {seed: , device: }\naudio:\n")
    config = VoiceConfig.load(one, two, env={})
    assert (config.moshi.seed, config.moshi.device) == (7, "auto")


def test_paths_may_be_given_as_paths(tmp_path: Path):
    config = VoiceConfig.from_dict(
        {"moshi": {"checkpoint": tmp_path}, "logging": {"text_log": tmp_path / "text.log"}}
    )
    assert config.moshi.checkpoint == str(tmp_path)
    assert config.logging.text_log == str(tmp_path / "text.log")


def test_yaml_anchors_and_merges(tmp_path: Path):
    file = tmp_path / "one.yaml"
    file.write_text(
        "voice:\n  moshi: &m {seed: 3, top_k: 9}\n"
        "voice_processing:\n  moshi:\n    <<: *m\n    text_top_k: 4\n"
    )
    moshi = VoiceConfig.load(file, env={}).moshi
    assert (moshi.seed, moshi.top_k, moshi.text_top_k) == (3, 9, 4)


@pytest.mark.parametrize("name", ["moshi_only", "hybrid", "adaptive"])
def test_the_shipped_configurations_load(name: str):
    assert VoiceConfig.load(CONFIGS / f"{name}.yaml", env={}).mode == name


def test_mcp_servers_are_put_together_from_all_sources(tmp_path: Path):
    file = tmp_path / "one.yaml"
    file.write_text(
        "integration:\n  mcp_servers:\n    sums: {command: sums, args: [--quiet], cwd: }\n"
        "    home:\n      url: http://home/mcp\n      headers: {X-Who: coda}\n"
    )
    secret = "CODA_VOICE__INTEGRATION__MCP_SERVERS__HOME__HEADERS__AUTHORIZATION"
    config = VoiceConfig.load(file, env={secret: "Bearer abc"})
    servers = config.integration.mcp_servers
    assert (servers["sums"].command, servers["sums"].args) == ("sums", ["--quiet"])
    assert servers["home"].headers == {"X-Who": "coda", "authorization": "Bearer abc"}
    assert config.origin_of("integration.mcp_servers") == f"{file}:3"
    settings = config.model_dump()
    assert VoiceConfig.from_dict({"voice": settings}).model_dump() == settings
    again = tmp_path / "again.yaml"
    again.write_text(config.to_yaml())
    assert VoiceConfig.load(again, env={}).model_dump() == settings
    with pytest.raises(ConfigurationError, match="keep one of the two"):
        VoiceConfig.from_dict(
            {
                "integration": {"mcp_servers": {"home": "x"}},
                "integration__mcp_servers__home__url": "y",
            }
        )


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8GB", 8_000_000_000),
        ("8 gb", 8_000_000_000),
        ("8GiB", 8 * 2**30),
        ("1.5G", 1_500_000_000),
        ("512MiB", 512 * 2**20),
        (1024, 1024),
        ("0", 0),
    ],
)
def test_sizes(text: object, size: int):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "8 zettas", True, None, -5, "1e3GB"])
def test_what_is_no_size(text: object):
    with pytest.raises(ValueError, match="must be an amount of memory"):
        parse_size(text)


@given(st.integers(min_value=0, max_value=10**15))
def test_a_size_survives_being_written_out(size: int):
    assert parse_size(format_size(size)) == size


def test_the_address_of_a_remote_moshi_by_its_usual_name():
    named = VoiceConfig.load(env={"MOSHI_SERVER_URL": "wss://moshi.example.org"})
    assert named.endpoint == "wss://moshi.example.org"
    assert named.origin_of("endpoint") == "environment variable MOSHI_SERVER_URL"
    ours = {"MOSHI_SERVER_URL": "wss://a.example", "CODA_VOICE__ENDPOINT": "wss://b.example"}
    assert VoiceConfig.load(env=ours).endpoint == "wss://b.example"
