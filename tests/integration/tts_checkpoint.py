"""A miniature of Kyutai's TTS in its own file format, with random weights and coda-tiny's codec.

The configuration has every part that kyutai/tts-1.6b-en_fr has (second text stream, shared
depformer weights, conditions summed and attended to, an audio delay), only small. What it
says is noise; when, and for which word, is decided by the moshi package's own code.
"""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from moshi.models import loaders
from safetensors.torch import save_file

from coda_voice.moshi.capabilities import TINY_FOLDER

SIGNATURE, EPOCH = "abad1dea", 7
SUFFIX = f".{SIGNATURE}@{EPOCH}.safetensors"
SPEAKER_DIM = 24
CODEBOOKS = 4
AUDIO_DELAY_FRAMES = 4

LM: dict[str, Any] = {
    "dim": 64,
    "text_card": 1200,
    "existing_text_padding_id": 3,
    "n_q": CODEBOOKS,
    "dep_q": CODEBOOKS,
    "card": 512,
    "num_heads": 2,
    "num_layers": 1,
    "hidden_scale": 4.125,
    "causal": True,
    "layer_scale": None,
    "context": 200,
    "max_period": 10000,
    "gating": "silu",
    "norm": "rms_norm_f32",
    "positional_embedding": "rope",
    "depformer_dim": 32,
    "depformer_dim_feedforward": 96,
    "depformer_num_heads": 2,
    "depformer_num_layers": 1,
    "depformer_layer_scale": None,
    "depformer_multi_linear": True,
    "depformer_context": CODEBOOKS,
    "depformer_max_period": 10000,
    "depformer_gating": "silu",
    "depformer_pos_emb": "none",
    "depformer_weights_per_step": True,
    "depformer_weights_per_step_schedule": [0, 1, 2, 2],
    "depformer_low_rank_embeddings": 16,
    "demux_second_stream": True,
    "delays": [0, 0, *[2] * (CODEBOOKS - 1)],
    "cross_attention": True,
    "conditioners": {
        "speaker_wavs": {"type": "tensor", "tensor": {"dim": SPEAKER_DIM}},
        "control": {
            "type": "lut",
            "lut": {"n_bins": 2, "dim": 8, "tokenizer": "noop", "possible_values": ["ok", "bad"]},
        },
        "cfg": {
            "type": "lut",
            "lut": {
                "n_bins": 3,
                "dim": 8,
                "tokenizer": "noop",
                "possible_values": ["1.0", "2.0", "3.0"],
            },
        },
    },
    "fuser": {
        "cross_attention_pos_emb": True,
        "cross_attention_pos_emb_scale": 1,
        "sum": ["control", "cfg"],
        "prepend": [],
        "cross": ["speaker_wavs"],
    },
}


def write_tts_checkpoint(folder: Path, **changes: Any) -> Path:
    """Write the miniature into ``folder``; ``changes``: keys of its config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    config = copy.deepcopy(LM) | {
        "model_type": "tts",
        "moshi_name": f"tts_{SIGNATURE}@{EPOCH}.safetensors",
        "mimi_name": "mimi.safetensors",
        "mimi_config_name": "mimi.json",
        "tokenizer_name": "tokenizer.model",
        "tts_config": {"audio_delay": AUDIO_DELAY_FRAMES / 12.5, "second_stream_ahead": 2},
        "model_id": {"sig": SIGNATURE, "epoch": EPOCH},
    }
    config |= changes
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    for name in ("mimi.safetensors", "mimi.json", "tokenizer.model"):
        shutil.copyfile(TINY_FOLDER / name, folder / name)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        shape = {key: value for key, value in config.items() if key in LM}
        lm = loaders.get_moshi_lm(None, copy.deepcopy(shape), dtype=torch.float32)
        state = {key: value.contiguous().clone() for key, value in lm.state_dict().items()}
        save_file(state, folder / config["moshi_name"])
        voices = folder / "voices" / "studio"
        voices.mkdir(parents=True)
        for name in ("anna", "bert"):
            sample = torch.randn(1, SPEAKER_DIM, 10)
            save_file({"speaker_wavs": sample}, voices / f"{name}.wav{SUFFIX}")
    return folder
