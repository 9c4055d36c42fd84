"""Each setting either acts or is reported as having no effect: the two tables are honest."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from coda_voice.config import ACTS, NO_EFFECT, VoiceConfig, leaves
from tests.unit.test_config_shapes import CODA_SECTION, PIECES

ROOT = Path(__file__).parents[2]


def test_every_setting_is_in_exactly_one_table():
    assert set(leaves(VoiceConfig)) == set(ACTS) | set(NO_EFFECT)
    assert not set(ACTS) & set(NO_EFFECT)


@pytest.mark.parametrize(("key", "module"), ACTS.items())
def test_what_is_said_to_act_is_really_read_there(key: str, module: str):
    leaf = key.rsplit(".", 1)[-1]
    source = (ROOT / module).read_text(encoding="utf-8")
    assert re.search(rf"\.{leaf}\b", source), f"{module} does not read {key}"


def test_every_reason_is_a_sentence_of_its_own():
    for key, idle in NO_EFFECT.items():
        assert len(idle.reason.split()) >= 5, key


def test_codas_section_reports_all_that_it_asks_for_in_vain():
    config = VoiceConfig.from_dict(yaml.safe_load(CODA_SECTION))
    reported = dict(config.settings_without_effect())
    for key in (
        "dynamic_allocation",
        "fallback_whisper_model",
        "moshi.vram_allocation",
    ):
        assert reported[key]
    for key in (
        "conversation_mode",
        "external_llm.model",
        "moshi.checkpoint",
        "audio.vad_threshold",
        "moshi.max_conversation_length",
    ):
        assert key not in reported


def test_what_was_not_set_is_not_reported():
    assert VoiceConfig().settings_without_effect() == []
    assert VoiceConfig.load(env={}).settings_without_effect() == []


def test_asking_for_what_happens_anyway_is_not_reported():
    config = VoiceConfig.from_dict(
        {
            "dynamic_allocation": False,
            "enable_traditional_pipeline": False,
            "moshi": {"inner_monologue_enabled": True, "external_llm_enabled": False},
        }
    )
    assert config.settings_without_effect() == []
    contrary = VoiceConfig.from_dict({"moshi": {"inner_monologue_enabled": False}})
    assert [s for s, _ in contrary.settings_without_effect()] == ["moshi.inner_monologue_enabled"]


def test_settings_made_in_code_are_reported_as_well():
    assert VoiceConfig(fallback_tts_model="xtts_v2").settings_without_effect()


def test_the_reference_names_every_setting():
    text = (ROOT / "docs/reference/configuration.md").read_text(encoding="utf-8")
    missing = [key for key in leaves(VoiceConfig) if f"`{key}`" not in text]
    assert not missing


def test_a_setting_overruled_by_a_more_specific_name_is_reported():
    pieces = yaml.safe_load(PIECES) | {"voice": {"model": "kyutai/moshika-mlx-q4"}}
    reported = dict(VoiceConfig.from_dict(pieces).settings_without_effect())
    assert "kyutai/moshika-pytorch-bf16" in reported["voice.model"]


@pytest.mark.parametrize("derived", ["effective_device", "conversation_limit_seconds"])
def test_what_is_derived_from_settings_is_really_used(derived: str):
    readers = [
        path
        for path in (ROOT / "coda_voice").rglob("*.py")
        if path.parent.name != "config" and f".{derived}" in path.read_text(encoding="utf-8")
    ]
    assert readers
