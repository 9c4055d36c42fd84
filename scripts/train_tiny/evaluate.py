"""All bars of coda-tiny as one table and as JSON: `python -m scripts.train_tiny.run evaluate`.

The judge is PocketSphinx with trigram models of the domain. Texts are held out; the users' voices
are ones that no model of ours was trained on (a festival HTS voice, two espeak-ng variants), half
of them clean, half in random recording conditions.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from coda_voice.moshi.checkpoint import load_models

from . import bars_conversation, bars_listening, bars_naming, bars_recall, bars_speech
from .clips import ClipStore
from .codec import load_mimi
from .corpus import vocabularies
from .encode import Codes, encode_noise, encode_quiet, encode_user
from .export import SAMPLING, open_lm
from .judge import Judge, domain_sentences, write_language_model
from .synthesis import UserLine, synthesize_held_out
from .tokenizer import load_tokenizer

__all__ = ["Bar", "Bench", "evaluate"]


@dataclass(frozen=True)
class Bar:
    """One line of the table; `least` or `most` is the bar where there is one."""

    name: str
    value: float
    least: float | None = None
    most: float | None = None
    count: int = 0

    @property
    def holds(self) -> bool | None:
        """Whether the bar holds; None for a figure without a bar."""
        if self.least is None and self.most is None:
            return None
        return (self.least is None or self.value >= self.least) and (
            self.most is None or self.value <= self.most
        )


class Bench:
    """The exported models, the judge and the held-out recordings.

    Another `variant` than 0 has other texts, questions and recordings: to choose among versions
    by, while the card tells of those that nothing was chosen by.
    """

    def __init__(self, folder: Path, work: Path, variant: int = 0) -> None:
        torch.set_num_threads(1)
        if variant:
            work = work / f"variant{variant}"
            work.mkdir(parents=True, exist_ok=True)
        self.folder, self.work, self.variant = folder, work, variant
        self.lm, _ = open_lm(folder, "moshi.safetensors")
        self.stt = (
            open_lm(folder / "stt", "model.safetensors")[0] if (folder / "stt").exists() else None
        )
        self.mimi = load_mimi(folder).eval()
        self.tokenizer = load_tokenizer(folder)
        models = load_models(folder, "cpu")
        assert models.reference_embedding is not None
        self.reference = models.reference_embedding
        self.transcript = models.transcript_embedding
        constants = json.loads((folder / "coda.json").read_text())
        self.silence = np.array(constants["silence_codes"])
        self.sine = np.array(constants["sine_codes"])
        self.sampling = dict(SAMPLING)
        self.words, self.held = vocabularies()
        self.lines: list[UserLine] = synthesize_held_out(work, seed=991 + variant)
        store = ClipStore(work, "held")
        if not (work / "held.codes").exists():
            encode_user(self.mimi, store, seed=77).save(work / "held.codes")
            encode_noise(self.mimi, 24, seed=78).save(work / "held_noise.codes")
        self.user = Codes.load(work / "held.codes")
        self.noise = Codes.load(work / "held_noise.codes")
        if not (work / "held_quiet.codes").exists():
            encode_quiet(self.mimi, store, 40, seed=79).save(work / "held_quiet.codes")
        self.quiet = Codes.load(work / "held_quiet.codes")
        self.judge = Judge(
            self._model("domain", domain_sentences(20_000, self.words + self.held, 5))
        )

    def _model(self, name: str, sentences: list[str]) -> Path:
        path = self.work / f"{name}.arpa"
        if not path.exists():
            write_language_model(path, sentences)
        return path

    @torch.no_grad()
    def decode(self, codes: np.ndarray) -> np.ndarray:
        """PCM [frames x 1920] of codes [8, frames]; unfinished frames become silence."""
        known = np.where(codes < 0, self.silence[:, None], codes)
        return self.mimi.decode(torch.from_numpy(known)[None].long())[0, 0].numpy()


def table(bars: list[Bar]) -> str:
    """The bars as text."""
    lines = [f"{'figure':<58}{'value':>9}{'bar':>10}{'n':>6}"]
    for bar in bars:
        limit = (
            f"≥ {bar.least:g}"
            if bar.least is not None
            else f"≤ {bar.most:g}"
            if bar.most is not None
            else ""
        )
        mark = {True: " ok", False: " MISSED", None: ""}[bar.holds]
        lines.append(f"{bar.name:<58}{bar.value:>9.3f}{limit:>10}{bar.count:>6}{mark}")
    return "\n".join(lines)


def evaluate(
    folder: Path, work: Path, report: Path, only: str = "", scale: float = 1.0, variant: int = 0
) -> list[Bar]:
    """Measure, print and write; `only` holds letters of `SECTIONS`, `scale` is their size.

    The card of the model is written by variant 0 alone, of which `report` tells; another one's
    figures are put beside it.
    """
    bench = Bench(folder, work, variant)
    if variant:
        report = report.with_stem(f"{report.stem}_variant{variant}")
    bars: list[Bar] = []
    for letter, section in SECTIONS.items():
        if only and letter not in only:
            continue
        begun = time.monotonic()
        bars += [Bar(**row) for row in section(bench, scale)]
        print(f"section {letter} took {time.monotonic() - begun:.0f} s", flush=True)
    print(table(bars))
    version = json.loads((folder / "config.json").read_text())["model_id"]
    rows = [bar.__dict__ | {"holds": bar.holds} for bar in bars]
    if only and report.exists():  # keep what other sections measured earlier
        new = {row["name"] for row in rows}
        old = json.loads(report.read_text())["bars"]
        rows = sorted(
            rows + [row for row in old if row["name"] not in new], key=lambda r: r["name"][0]
        )
    result: dict[str, Any] = {
        "model": version,
        "bars": rows,
    }
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps(result, indent=1) + "\n")
    if variant == 0:
        known = [Bar(**{k: row[k] for k in Bar.__annotations__}) for row in rows]
        write_card(folder / "README.md", known)
    return bars


def write_card(path: Path, bars: list[Bar]) -> None:
    """Put the figures between the marks of the model card, where there is one with marks."""
    begin, end = "<!-- figures -->\n", "<!-- end of figures -->"
    text = path.read_text() if path.exists() else ""
    if begin not in text or end not in text:
        return
    rows = ["| figure | value | bar | n | |", "|---|---|---|---|---|"]
    for bar in bars:
        limit = f"≥ {bar.least:g}" if bar.least is not None else ""
        limit = f"≤ {bar.most:g}" if bar.most is not None else limit
        mark = {True: "holds", False: "missed", None: ""}[bar.holds]
        rows.append(f"| {bar.name} | {bar.value:.3f} | {limit} | {bar.count} | {mark} |")
    head, rest = text.split(begin, 1)
    tail = rest.split(end, 1)[1]
    path.write_text(head + begin + "\n".join(rows) + "\n" + end + tail)


SECTIONS: dict[str, Callable[[Bench, float], list[dict[str, Any]]]] = {
    "c": bars_speech.codec_bars,
    "s": bars_speech.speaking_bars,
    "a": bars_conversation.answer_bars,
    "n": bars_naming.naming_bars,
    "t": bars_listening.transcription_bars,
    "p": bars_conversation.prompt_bars,
    "m": bars_recall.recall_bars,
    "f": bars_conversation.reference_bars,
    "i": bars_conversation.interruption_bars,
    "q": bars_conversation.quiet_bars,
    "r": bars_listening.speed_bars,
}
