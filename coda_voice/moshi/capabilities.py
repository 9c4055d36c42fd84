"""What a checkpoint can do, as a record: nobody asks for a checkpoint's name in an ``if``.

``capabilities_for(name_or_folder)`` gives the record of a known checkpoint or of a folder
on disk. A folder says what it can do in ``coda.json`` beside its ``config.json``; without
one it is judged by its ``config.json`` and what cannot be told is assumed absent.

Sizes are in GB (10⁹ bytes). Facts and where they come from: shapes from the ``config.json``
of each repository and moshi 0.2.13's loader defaults; file sizes from the repositories'
listings; key/value bytes from the shapes (frames × layers × 2 × dim × 2 bytes in bf16);
prompt order and codes from NVIDIA's PersonaPlex loader.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, cast

from coda_voice.errors import ModelLoadingError
from coda_voice.moshi.json_fields import Fields, read_json

PromptKind = Literal["none", "system_tags"]
FrameSum = Literal["none", "reference_tokens", "streaming_sum"]
TranscriberKind = Literal["none", "kyutai_stt"]
Backend = Literal["torch", "mlx"]
PromptPart = Literal["voice", "text"]

TINY = "coda-tiny"
"""The name of the checkpoint that ships in the package."""
TINY_FOLDER = Path(__file__).parent.parent / "tiny"

MIMI_SILENCE = (948, 243, 1178, 546, 1736, 1030, 1978, 2008)
"""Codes of silence of Kyutai's Mimi (the agent's audio while a prompt is read)."""
MIMI_SINE = (430, 1268, 381, 1611, 1095, 1495, 56, 472)
"""Codes of a 440 Hz sine of Kyutai's Mimi (the user's audio while a prompt is read)."""

TTS_VOICE = "hf://kyutai/tts-voices/vctk/p226_023.wav.1e68beda@240.safetensors"
"""The voice that comes with Kyutai's synthesizer (a file of another repository)."""


@dataclass(frozen=True, slots=True)
class PromptLayout:
    """How a prompt is laid out in frames: before, voice, between, text, after.

    The silent frames ``between`` stand in front of the text whether a voice prompt came
    before them or not.
    """

    order: tuple[PromptPart, ...] = ("voice", "text")
    silence_before: int = 0
    silence_between: int = 0
    silence_after: int = 0


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a checkpoint can do, what it is shaped like, and what it costs."""

    name: str
    summary: str = ""
    backend: Backend = "torch"
    prompt: PromptKind = "none"
    prompt_layout: PromptLayout = field(default_factory=PromptLayout)
    voice_prompt: bool = False
    frame_sum: FrameSum = "none"
    speaking: bool = True
    """Whether words forced into its monologue are spoken."""
    lead_every_word: bool = False
    """Whether each forced word needs an EPAD before it."""
    tail_pad_frames: int = 0
    """PADs to force after the last forced word, while it sounds."""
    transcriber: TranscriberKind = "none"
    """Not "none": it writes down what it hears, or brings a model that does."""
    transcriber_folder: str = ""
    """Where that model lies, inside its folder; empty: the checkpoint is the transcriber."""
    text_vocabulary: int = 32_000
    synthesizes: bool = False
    """Whether it reads a given text aloud, and listens to nobody."""
    agent_codebooks: int = 8
    user_codebooks: int = 8
    context_frames: int = 3_000
    silence_codes: tuple[int, ...] | None = None
    """None: not known, the engine encodes digital silence itself."""
    sine_codes: tuple[int, ...] | None = None
    """None: not known, the engine encodes a 440 Hz sine itself."""
    pad_token: int = 3
    epad_token: int = 0
    depformer_steps_stored: int = 8
    depformer_steps: int = 8
    """Steps to load: those beyond predict the user's stream, which is given."""
    gated: bool = False
    """Whether the hub asks for a licence to be accepted first."""
    licence: str = ""
    files: tuple[str, ...] = ()
    """Files to fetch where the repository has no ``config.json`` that names them."""
    extra_files: tuple[str, ...] = ()
    """Files to fetch beyond those that ``config.json`` names."""
    download_gb: float = 0.0
    weights_gb: float = 0.0
    """On the device once loaded, codec included."""
    kv_gb: float = 0.0
    """Keys and values of one conversation with full context."""
    min_vram_gb: float = 0.0
    """The smallest GPU (on Apple silicon: memory) that carries one conversation; 0: a CPU
    keeps up with it."""

    @property
    def converses(self) -> bool:
        """Whether one can talk with it (a transcriber only listens, a synthesizer only reads)."""
        return self.agent_codebooks > 0 and not self.synthesizes

    @property
    def licence_url(self) -> str:
        """Where its licence is shown, and accepted if it must be."""
        return "" if self.name == TINY else f"https://huggingface.co/{self.name}"


_MOSHI_FILES = (
    "model.safetensors",
    "tokenizer-e351c8d8-checkpoint125.safetensors",
    "tokenizer_spm_32k_3.model",
)
_MOSHI = Capabilities(
    name="",
    summary="Moshi 7B",
    silence_codes=MIMI_SILENCE,
    sine_codes=MIMI_SINE,
    licence="CC-BY-4.0",
    files=_MOSHI_FILES,
    download_gb=15.8,
    weights_gb=15.8,
    kv_gb=1.57,
    min_vram_gb=24.0,
)


def _moshi_q8(name: str) -> Capabilities:
    return replace(
        _MOSHI,
        name=name,
        summary="Moshi 7B, weights in int8",
        files=("model.q8.safetensors", *_MOSHI_FILES[1:]),
        download_gb=8.4,
        weights_gb=8.4,
        min_vram_gb=16.0,
    )


_HUB_CHECKPOINTS = (
    replace(_MOSHI, name="kyutai/moshika-pytorch-bf16", summary="Moshi 7B, female voice"),
    replace(_MOSHI, name="kyutai/moshiko-pytorch-bf16", summary="Moshi 7B, male voice"),
    _moshi_q8("kyutai/moshika-pytorch-q8"),
    _moshi_q8("kyutai/moshiko-pytorch-q8"),
    replace(
        _MOSHI,
        name="nvidia/personaplex-7b-v1",
        summary="Moshi 7B with role and voice prompts",
        prompt="system_tags",
        prompt_layout=PromptLayout(silence_between=6, silence_after=6),
        voice_prompt=True,
        depformer_steps_stored=16,
        gated=True,
        licence="NVIDIA Open Model License",
        extra_files=("voices.tgz",),
        download_gb=17.2,
    ),
    Capabilities(
        name="kyutai/stt-1b-en_fr",
        summary="streaming transcription, 0.5 s delay, with pause heads",
        speaking=False,
        transcriber="kyutai_stt",
        text_vocabulary=8_000,
        agent_codebooks=0,
        user_codebooks=32,
        context_frames=750,
        depformer_steps_stored=0,
        depformer_steps=0,
        licence="CC-BY-4.0",
        download_gb=2.4,
        weights_gb=2.4,
        kv_gb=0.1,
        min_vram_gb=4.0,
    ),
    Capabilities(
        name="kyutai/tts-1.6b-en_fr",
        summary="reads text aloud: another voice for scripts",
        speaking=False,
        synthesizes=True,
        text_vocabulary=8_000,
        agent_codebooks=32,
        user_codebooks=0,
        depformer_steps_stored=32,
        depformer_steps=32,
        licence="CC-BY-4.0",
        extra_files=(TTS_VOICE,),
        download_gb=4.1,
        weights_gb=4.1,
        kv_gb=0.1,
        min_vram_gb=6.0,
    ),
    replace(
        _MOSHI,
        name="kyutai/moshika-rag-pytorch-bf16",
        summary="MoshiRAG 8B; needs its own reference encoder",
        frame_sum="streaming_sum",
        download_gb=16.5,
        weights_gb=16.5,
    ),
    replace(
        _MOSHI,
        name="kyutai/moshika-mlx-q4",
        summary="Moshi 7B for Apple silicon, 4 bits",
        backend="mlx",
        files=("model.q4.safetensors", *_MOSHI_FILES[1:]),
        download_gb=5.2,
        weights_gb=5.2,
        min_vram_gb=8.0,
    ),
    replace(
        _MOSHI,
        name="kyutai/moshika-mlx-q8",
        summary="Moshi 7B for Apple silicon, 8 bits",
        backend="mlx",
        files=("model.q8.safetensors", *_MOSHI_FILES[1:]),
        download_gb=8.6,
        weights_gb=8.6,
        min_vram_gb=12.0,
    ),
)


@functools.cache
def known_checkpoints() -> Mapping[str, Capabilities]:
    """Every checkpoint known by name, coda-tiny first (read from its own folder)."""
    tiny = replace(capabilities_of(TINY_FOLDER), name=TINY, summary="a miniature that ships")
    return {c.name: c for c in (tiny, *_HUB_CHECKPOINTS)}


def capabilities_for(name_or_folder: str | Path) -> Capabilities:
    """Give the record of a checkpoint known by name, or of a folder on disk.

    Raises ModelLoadingError, naming the nearest known checkpoint, for anything else.
    """
    known = known_checkpoints().get(str(name_or_folder))
    if known is not None:
        return known
    folder = Path(name_or_folder).expanduser()
    if folder.is_dir():
        return capabilities_of(folder)
    raise unknown_checkpoint(str(name_or_folder))


def unknown_checkpoint(name: str) -> ModelLoadingError:
    """Make the error for a name that is neither a known checkpoint nor a folder."""
    names = list(known_checkpoints())
    short = {n.rsplit("/", 1)[-1]: n for n in names}
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    near = near or [short[n] for n in difflib.get_close_matches(name, list(short), 1, 0.5)]
    hint = f"did you mean {near[0]!r}? " if near else ""
    return ModelLoadingError(
        f"{name!r} is neither a known checkpoint nor a folder; {hint}known: {', '.join(names)}",
        error_code="unknown_checkpoint",
        checkpoint=name,
        nearest=near[0] if near else None,
    )


def capabilities_of(folder: str | Path) -> Capabilities:
    """Give the record of the checkpoint in ``folder``, from its ``coda.json`` and ``config.json``.

    ``config.json`` gives the shape (``n_q``, ``dep_q``, ``context``, …; a folder without
    one is taken for the original Moshi 7B, as the moshi package does), ``coda.json`` what
    it was trained to take. Raises ModelLoadingError where either is no valid JSON object.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ModelLoadingError(f"{folder} is not a folder", checkpoint=str(folder))
    record = replace(_from_config(folder / "config.json"), name=str(folder))
    extras = read_json(folder / "coda.json")
    if extras is not None:
        record = _with_extras(record, Fields(folder / "coda.json", extras))
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e9
    return replace(record, download_gb=size, weights_gb=size or record.weights_gb)


def _from_config(path: Path) -> Capabilities:
    config = read_json(path)
    if config is None:
        return replace(_MOSHI, summary="Moshi 7B (no config.json)")
    if config.get("model_type") == "personaplex":
        return next(c for c in _HUB_CHECKPOINTS if c.voice_prompt)
    fields = Fields(path, config)
    codebooks, stored = fields.integer("n_q", 16), fields.integer("dep_q", 8)
    # A depformer with a step for every codebook also predicts the user's half.
    synthesizes = bool(config.get("tts_config"))
    steps = codebooks // 2 if 0 < stored == codebooks and not synthesizes else stored
    # These names are keys that moshi's own configurations carry.
    is_transcriber = stored == 0 or bool(config.get("stt_config"))
    steps = 0 if is_transcriber else steps
    layers, dim = fields.integer("num_layers", 32), fields.integer("dim", 4096)
    context = fields.integer("context", 3_000)
    fuser = config.get("fuser")
    card = fields.integer("card", 2_048)
    return Capabilities(
        name="",
        summary="a folder on disk",
        frame_sum=(
            "streaming_sum" if isinstance(fuser, Mapping) and "streaming_sum" in fuser else "none"
        ),
        speaking=not (is_transcriber or synthesizes),
        synthesizes=synthesizes,
        transcriber="kyutai_stt" if is_transcriber else "none",
        text_vocabulary=fields.integer("text_card", 32_000),
        agent_codebooks=steps,
        user_codebooks=codebooks - steps,
        context_frames=context,
        silence_codes=MIMI_SILENCE if card == 2_048 and "mimi_config_name" not in config else None,
        sine_codes=MIMI_SINE if card == 2_048 and "mimi_config_name" not in config else None,
        pad_token=fields.integer("existing_text_padding_id", 3),
        depformer_steps_stored=stored,
        depformer_steps=steps,
        kv_gb=context * layers * 2 * dim * 2 / 1e9,
        # Below a tenth of Moshi's width a CPU keeps up.
        min_vram_gb=0.0 if dim <= 512 else _MOSHI.min_vram_gb * (dim / 4096) ** 2,
    )


def _with_extras(record: Capabilities, extras: Fields) -> Capabilities:
    can = extras.section("capabilities")
    frames = extras.section("prompt_frames")
    speaking = extras.section("speaking")
    prompt = can.choice("prompt", ("none", "system_tags"), record.prompt)
    frame_sum = can.choice(
        "frame_sum", ("none", "reference_tokens", "streaming_sum"), record.frame_sum
    )
    transcriber = extras.text("stt", record.transcriber_folder)
    return replace(
        record,
        transcriber="kyutai_stt" if transcriber else record.transcriber,
        transcriber_folder=transcriber,
        prompt=cast(PromptKind, prompt),
        prompt_layout=PromptLayout(
            silence_before=frames.integer("before", record.prompt_layout.silence_before),
            silence_between=frames.integer("between", record.prompt_layout.silence_between),
            silence_after=frames.integer("after", record.prompt_layout.silence_after),
        ),
        voice_prompt=can.flag("voice_prompt", record.voice_prompt),
        frame_sum=cast(FrameSum, frame_sum),
        speaking=can.flag("speaking", record.speaking),
        lead_every_word=speaking.flag("epad_before_every_word", record.lead_every_word),
        tail_pad_frames=speaking.integer("tail_pad_frames", record.tail_pad_frames),
        silence_codes=extras.codes("silence_codes", record.silence_codes),
        sine_codes=extras.codes("sine_codes", record.sine_codes),
        pad_token=extras.integer("pad", record.pad_token),
        epad_token=extras.integer("epad", record.epad_token),
    )
