"""A wrong configuration says what is wrong, where it stands, and what was probably meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coda_voice.config import VoiceConfig
from coda_voice.errors import ConfigurationError


def failure(tmp_path: Path, text: str) -> ConfigurationError:
    file = tmp_path / "my.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        VoiceConfig.load(file, env={})
    return caught.value


@pytest.mark.parametrize(
    ("text", "line", "key", "nearest"),
    [
        ("mode: hybrid\nmoshi:\n  devcie: cuda\n", 3, "moshi.devcie", "moshi.device"),
        ("voice:\n  moshi: {modle_path: x}\n", 2, "voice.moshi.modle_path", "moshi.model_path"),
        ("audoi: {sample_rate: 16000}\n", 1, "audoi.sample_rate", "audio.sample_rate"),
        ("mdoe: hybrid\n", 1, "mdoe", "mode"),
        ("moshi:\n  vad_threshold: 0.4\n", 2, "moshi.vad_threshold", "audio.vad_threshold"),
        (
            "\nvoice_processing:\n  external_llm: {modell: x}\n",
            3,
            "voice_processing.external_llm.modell",
            "voice_processing.external_llm.model",
        ),
        ("integration: {memory_enable: true}\n", 1, "integration.memory_enable", "memory_enabled"),
    ],
)
def test_an_unknown_key_names_its_nearest_neighbour_file_and_line(
    tmp_path: Path, text: str, line: int, key: str, nearest: str
):
    error = failure(tmp_path, text)
    assert f"my.yaml:{line}: unknown setting {key!r}; did you mean" in error.message
    assert nearest in error.message.split("did you mean")[1]
    assert (error.context["line"], error.context["key"]) == (line, key)


def test_a_key_like_no_other_gets_no_guess(tmp_path: Path):
    assert failure(tmp_path, "zzzzqqq: 1\n").message.endswith("unknown setting 'zzzzqqq'")


def test_all_unknown_keys_are_named_at_once(tmp_path: Path):
    message = failure(tmp_path, "mdoe: hybrid\naudio: {vad: true}\nmoshi: {dtype: bf16}\n").message
    assert [line.split(":")[1] for line in message.splitlines()] == ["1", "2", "3"]


MCP = "integration:\n mcp_servers:\n  home:\n   "


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("audio:\n  sample_rate: fast\n", 2, "'audio.sample_rate' is 'fast', but must be a whole"),
        ("audio:\n  sample_rate: 100\n", 2, "must be at least 8000"),
        ("audio: {vad_threshold: 1.5}\n", 1, "must be at most 1"),
        ("audio: {vad_threshold: .nan}\n", 1, "must be"),
        ("audio: {vad_enabled: 3}\n", 1, "must be true or false"),
        ("moshi: {slots: true}\n", 1, "must be a whole number"),
        ("moshi: {optimization: q3}\n", 1, "one of 'auto', 'bf16', 'fp16', 'fp32', 'int8'"),
        ("moshi: {device: gpu}\n", 1, "auto, cpu, cuda, cuda:N, mlx or cloud"),
        ("moshi: {checkpoint: [a, b]}\n", 1, "must be text"),
        ("\ntotal_vram: lots\n", 2, "an amount of memory such as 8GB"),
        ("mode: turbo\n", 1, "'moshi_only', 'hybrid', 'adaptive', 'traditional'"),
        ("moshi: cuda\n", 1, "'moshi' is a section and needs settings below it"),
        ("mode: {name: hybrid}\n", 1, "unknown setting 'mode.name'"),
        ("mode: hybrid\nmode: adaptive\n", 2, "'mode' is already set in line 1"),
        ("mode: [hybrid\n", 2, "not valid YAML"),
        ("- mode\n", 1, "a configuration is a mapping of settings"),
        ("mode: !!python/name:os.system x\n", 1, "not valid YAML"),
        ("a: &a\n  b: *a\n", 2, "nested too deep"),
        ("integration:\n  mcp_servers: [a]\n", 2, "is a section and needs settings below it"),
        (f"{MCP}  url: http://a\n     command: b\n", 4, "either a command or a url"),
        (f"{MCP}  comand: b\n", 4, "home.comand' is 'b', but must be left out"),
        (f"{MCP}  command: b\n     args: -v\n", 5, "must be a list"),
        (f"{MCP}  command: b\n     env: {{PORT: 1}}\n", 5, "must be text"),
    ],
)
def test_a_wrong_value_says_where_and_what_is_allowed(
    tmp_path: Path, text: str, line: int, says: str
):
    error = failure(tmp_path, text)
    assert f"my.yaml:{line}:" in error.message
    assert says in error.message


def test_files_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="give the path of a YAML file"):
        VoiceConfig.load(tmp_path / "missing.yaml", env={})
    (tmp_path / "audio.yaml").write_bytes(b"RIFF\xff\xfe\x00\x80WAVE")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        VoiceConfig.load(tmp_path / "audio.yaml", env={})


def test_a_wrong_environment_variable_is_named():
    with pytest.raises(ConfigurationError, match=r"__MOSHI__DEVCIE: .*'moshi\.device'"):
        VoiceConfig.load(env={"CODA_VOICE__MOSHI__DEVCIE": "cpu"})
    with pytest.raises(ConfigurationError, match=r"CODA_VOICE__AUDIO__CHANNELS: .*at most 8"):
        VoiceConfig.load(env={"CODA_VOICE__AUDIO__CHANNELS": "9"})


def test_a_wrong_keyword_argument_is_named():
    with pytest.raises(ConfigurationError, match=r"keyword argument: .*did you mean 'moshi\.seed'"):
        VoiceConfig.load(env={}, moshi={"sede": 1})


ANYTHING = st.recursive(
    # Some native library that another test loads flushes subnormal numbers to zero.
    st.none() | st.booleans() | st.integers() | st.floats(allow_subnormal=False) | st.text(),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.text() | st.sampled_from(["voice", "moshi", "audio", "seed", "mode", "model"]),
            children,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text() | st.sampled_from(["voice", "moshi", "mode"]), ANYTHING))
def test_whatever_is_given_it_loads_or_is_refused_in_words(data: dict[str, object]):
    try:
        config = VoiceConfig.from_dict(data)
    except ConfigurationError as error:
        assert error.message
    else:
        assert VoiceConfig.from_dict({"voice": config.model_dump()}).moshi == config.moshi
