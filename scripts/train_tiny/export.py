"""Stage "export": the folder that the loaders open, weights in bfloat16 where they may be.

Layout: config.json, mimi.json, mimi.safetensors, moshi.safetensors, tokenizer.model, coda.json
and coda.safetensors (ours), and stt/ with the same for the transcription model, whose tokenizer
and codec are the parent's.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from moshi.models.lm import LMModel
from safetensors.torch import load_file, save_file

from .dialogue import PROMPT_AFTER, PROMPT_BEFORE
from .encode import SINE_AMPLITUDE, SINE_HZ
from .lm import Talker, lm_config
from .stt import HORIZONS, stt_config
from .tokenizer import EPAD, HEARD_AFTER, PAD

VERSION = "0.15.0"
SAMPLING = {"temp": 0.0, "temp_text": 0.3, "top_k": 50, "top_k_text": 5}


def halve(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights in bfloat16, contiguous."""
    return {
        name: value.detach().to("cpu", torch.bfloat16).contiguous() for name, value in state.items()
    }


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Indented JSON with a final newline."""
    path.write_text(json.dumps(value, indent=1) + "\n")


def export_talker(
    model: Talker, work: Path, codec: Path, constants: dict[str, list[int]], out: Path
) -> None:
    """Write the language model, the codec and the tokenizer."""
    out.mkdir(parents=True, exist_ok=True)
    card = model.lm.text_card
    save_file(halve(model.lm.state_dict()), out / "moshi.safetensors")
    added = {
        "reference_embedding": model.reference_embedding(),
        "transcript_vector": model.transcript - model.marker,
    }
    save_file(halve(added), out / "coda.safetensors")
    for name in ("mimi.json", "mimi.safetensors"):
        shutil.copyfile(codec / name, out / name)
    shutil.copyfile(work / "tokenizer.model", out / "tokenizer.model")
    write_json(
        out / "config.json",
        lm_config(card)
        | dict(
            model_type="moshi",
            moshi_name="moshi.safetensors",
            mimi_name="mimi.safetensors",
            mimi_config_name="mimi.json",
            tokenizer_name="tokenizer.model",
            lm_gen_config=SAMPLING,
            model_id={"name": "coda-tiny", "version": VERSION},
        ),
    )
    write_json(
        out / "coda.json",
        {
            "capabilities": {
                "prompt": "system_tags",
                "frame_sum": "reference_tokens",
                "speaking": True,
            },
            **constants,
            "sine": {"hz": SINE_HZ, "amplitude": SINE_AMPLITUDE},
            "pad": PAD,
            "epad": EPAD,
            "prompt_frames": {"before": PROMPT_BEFORE, "after": PROMPT_AFTER},
            "speaking": {"epad_before_every_word": True, "tail_pad_frames": 10},
            "stt": "stt",
        },
    )


def export_stt(model: LMModel, out: Path) -> None:
    """Write `stt/`."""
    folder = out / "stt"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(halve(model.state_dict()), folder / "model.safetensors")
    write_json(
        folder / "config.json",
        stt_config(model.text_card)
        | dict(
            model_type="stt",
            moshi_name="model.safetensors",
            mimi_name="../mimi.safetensors",
            mimi_config_name="../mimi.json",
            tokenizer_name="../tokenizer.model",
            lm_gen_config={"temp": 0.0, "temp_text": 0.0, "top_k": 1, "top_k_text": 1},
            stt_config={
                "audio_delay_seconds": HEARD_AFTER / 12.5,
                "audio_silence_prefix_seconds": 0.48,  # every clip it learnt from had some before
            },
            model_id={"name": "coda-tiny-stt", "version": VERSION},
        ),
    )
    write_json(
        folder / "coda.json",
        {
            "codec": "..",
            "tokenizer": "..",
            "delay_frames": HEARD_AFTER,
            "pause_heads": {
                "seconds": [h / 12.5 for h in HORIZONS],
                "silent_class": 0,
                "speech_class": 1,
            },
            "pad": PAD,
            "epad": EPAD,
        },
    )


LM_KEYS = frozenset({
    "model_type", "moshi_name", "mimi_name", "mimi_config_name", "tokenizer_name", "lm_gen_config",
    "model_id", "stt_config",
})  # fmt: skip


def open_lm(folder: Path, weights: str) -> tuple[LMModel, dict[str, Any]]:
    """An exported language model in float32, ready to generate, and its config."""
    config = json.loads((folder / "config.json").read_text())
    lm = LMModel(
        **{k: v for k, v in config.items() if k not in LM_KEYS}, dtype=torch.float32, device="cpu"
    )
    lm.load_state_dict({name: value.float() for name, value in load_file(folder / weights).items()})
    return lm.eval(), config
