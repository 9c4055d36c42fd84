"""What is known of each checkpoint, and what a folder tells about itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from coda_voice.errors import ModelLoadingError
from coda_voice.moshi.capabilities import (
    MIMI_SILENCE,
    TINY_FOLDER,
    capabilities_for,
    capabilities_of,
    known_checkpoints,
)

MOSHI_SHAPE = {"dim": 4096, "n_q": 16, "dep_q": 8, "card": 2048, "num_layers": 32, "context": 3000}


def folder_with(path: Path, config: object, coda: object = None) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    if coda is not None:
        (path / "coda.json").write_text(json.dumps(coda))
    return path


def test_every_checkpoint_of_the_design_is_known():
    assert set(known_checkpoints()) >= {
        "coda-tiny",
        "kyutai/moshika-pytorch-bf16",
        "kyutai/moshiko-pytorch-bf16",
        "kyutai/moshika-pytorch-q8",
        "nvidia/personaplex-7b-v1",
        "kyutai/stt-1b-en_fr",
        "kyutai/moshika-rag-pytorch-bf16",
        "kyutai/moshika-mlx-q4",
        "kyutai/moshika-mlx-q8",
    }


def test_coda_tiny_tells_what_it_can_itself():
    tiny = capabilities_for("coda-tiny")
    shape = json.loads((TINY_FOLDER / "config.json").read_text())
    extras = json.loads((TINY_FOLDER / "coda.json").read_text())
    assert (tiny.prompt, tiny.frame_sum) == ("system_tags", "reference_tokens")
    assert tiny.context_frames == shape["context"]
    assert tiny.text_vocabulary == shape["text_card"]
    assert list(tiny.silence_codes or ()) == extras["silence_codes"]
    assert tiny.prompt_layout.silence_after == extras["prompt_frames"]["after"]
    assert (tiny.agent_codebooks, tiny.user_codebooks, tiny.depformer_steps) == (8, 8, 8)
    assert tiny.converses
    assert (tiny.transcriber, tiny.transcriber_folder) == ("kyutai_stt", extras["stt"])


def test_personaplex_loads_half_of_its_depformer():
    record = capabilities_for("nvidia/personaplex-7b-v1")
    assert (record.depformer_steps_stored, record.depformer_steps) == (16, 8)
    assert record.voice_prompt
    assert record.gated
    layout = record.prompt_layout
    assert layout.order == ("voice", "text")
    assert (layout.silence_before, layout.silence_between, layout.silence_after) == (0, 6, 6)
    assert (record.silence_codes or ())[:2] == (948, 243)


def test_a_folder_of_moshis_shape(tmp_path: Path):
    record = capabilities_of(folder_with(tmp_path / "mine", MOSHI_SHAPE))
    assert (record.agent_codebooks, record.user_codebooks) == (8, 8)
    assert record.kv_gb == pytest.approx(1.57, abs=0.01)
    assert record.silence_codes == MIMI_SILENCE
    assert (record.prompt, record.frame_sum, record.voice_prompt) == ("none", "none", False)


def test_a_depformer_with_a_step_for_every_codebook_is_cut_in_half(tmp_path: Path):
    record = capabilities_of(folder_with(tmp_path / "mine", MOSHI_SHAPE | {"dep_q": 16}))
    assert (record.depformer_steps_stored, record.depformer_steps) == (16, 8)
    assert (record.agent_codebooks, record.user_codebooks) == (8, 8)


def test_a_folder_that_transcribes(tmp_path: Path):
    config = {"n_q": 32, "dep_q": 0, "card": 2048, "stt_config": {"audio_delay_seconds": 0.5}}
    record = capabilities_of(folder_with(tmp_path / "stt", config))
    assert not record.converses
    assert (record.user_codebooks, record.depformer_steps) == (32, 0)
    assert (record.transcriber, record.transcriber_folder) == ("kyutai_stt", "")
    assert capabilities_of(folder_with(tmp_path / "mine", MOSHI_SHAPE)).transcriber == "none"


def test_a_streaming_sum_is_seen_in_the_fuser(tmp_path: Path):
    config = MOSHI_SHAPE | {"fuser": {"streaming_sum": ["reference"]}}
    assert capabilities_of(folder_with(tmp_path / "rag", config)).frame_sum == "streaming_sum"


def test_personaplex_in_a_folder(tmp_path: Path):
    record = capabilities_of(folder_with(tmp_path / "p", {"model_type": "personaplex"}))
    assert (record.prompt, record.depformer_steps_stored) == ("system_tags", 16)
    assert record.name == str(tmp_path / "p")


def test_a_codec_of_its_own_has_silence_of_its_own(tmp_path: Path):
    config = MOSHI_SHAPE | {"mimi_config_name": "mimi.json"}
    assert capabilities_of(folder_with(tmp_path / "mine", config)).silence_codes is None


def test_a_copy_of_coda_tiny_is_as_good_as_its_name(tmp_path: Path):
    copy = tmp_path / "copy"
    shutil.copytree(TINY_FOLDER, copy)
    by_name, by_folder = capabilities_for("coda-tiny"), capabilities_for(copy)
    assert by_folder.prompt == by_name.prompt
    assert by_folder.silence_codes == by_name.silence_codes


@pytest.mark.parametrize(
    ("config", "coda", "says"),
    [
        ({"n_q": "many"}, None, "'n_q' is 'many', but must be a whole number"),
        ({"dep_q": -1}, None, "'dep_q' is -1"),
        ([], None, "must hold a JSON object"),
        ({}, {"capabilities": {"prompt": "loud"}}, "one of none, system_tags"),
        ({}, {"capabilities": ["prompt"]}, "'capabilities' is"),
        ({}, {"silence_codes": [1, "2"]}, "a list of codes"),
        ({}, {"capabilities": {"speaking": 1}}, "true or false"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(
    tmp_path: Path, config: object, coda: object, says: str
):
    with pytest.raises(ModelLoadingError) as caught:
        capabilities_of(folder_with(tmp_path / "mine", config, coda))
    assert says in caught.value.message
    assert ".json" in caught.value.message


def test_a_truncated_configuration(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"n_q": 16, "dep')
    with pytest.raises(ModelLoadingError, match="fetch the checkpoint again"):
        capabilities_of(tmp_path)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("moshiko-pytorch-bf16", "kyutai/moshiko-pytorch-bf16"),
        ("nvidia/personaplex", "nvidia/personaplex-7b-v1"),
        ("coda-tony", "coda-tiny"),
    ],
)
def test_an_unknown_name_gets_its_nearest_neighbour(name: str, near: str):
    with pytest.raises(ModelLoadingError, match=f"did you mean '{near}'"):
        capabilities_for(name)


def test_a_name_like_no_other_gets_the_whole_list():
    with pytest.raises(ModelLoadingError, match="known: coda-tiny, kyutai/") as caught:
        capabilities_for("zzz")
    assert "did you mean" not in caught.value.message


def test_a_folder_that_reads_aloud(tmp_path: Path):
    config = {"n_q": 32, "dep_q": 32, "card": 2048, "tts_config": {"audio_delay": 1.28}}
    record = capabilities_of(folder_with(tmp_path / "tts", config))
    assert (record.synthesizes, record.converses, record.speaking) == (True, False, False)
    assert (record.agent_codebooks, record.depformer_steps) == (32, 32), "not cut in half"
    known = capabilities_for("kyutai/tts-1.6b-en_fr")
    assert (known.synthesizes, known.converses) == (True, False)
