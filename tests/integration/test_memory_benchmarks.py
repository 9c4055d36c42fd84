"""The benchmarks of memory measure what they say: each part once, in small."""

from __future__ import annotations

import numpy as np

from coda_voice.moshi.frames import FRAME_SAMPLES
from scripts.benchmark_memory import quality_bars, search_bars
from scripts.benchmarks import memory_search
from scripts.benchmarks.exchange import Streamed, around
from scripts.benchmarks.memories import vectors
from scripts.benchmarks.report import Row


def test_a_search_is_measured_with_its_embedding_and_beside_writes(monkeypatch) -> None:
    monkeypatch.setattr(memory_search, "OTHERS", 1)
    monkeypatch.setattr(memory_search, "OF_EACH", 20)
    monkeypatch.setattr(memory_search, "QUERIES", 40)
    monkeypatch.setattr(memory_search, "WRITE_EVERY", 0.02)
    row = memory_search.measure(200, queries=20)
    assert row["recall_at_10"] == row["recall_at_10_after"] == 1.0
    assert 0 < row["embedding_p50_ms"] < row["search_p50_ms"] <= row["search_p95_ms"]
    assert row["writes_beside"] > 0 and row["writing_p95_ms"] > 0
    assert [bar["holds"] for bar in search_bars(row)] == [True, True, True]


def test_times_are_held_against_their_bars_only_where_upkeep_ran() -> None:
    row: Row = {
        "memories": 100_000, "recall_at_10": 0.99, "recall_at_10_after": 0.97,
        "recall_at_10_unlike": 0.98,
        "writing_p50_ms": 14.0, "writing_p95_ms": 41.0, "upkeeps_beside": 5,
    }  # fmt: skip
    assert [bar["holds"] for bar in search_bars(row)] == [True, True, False, True, False]
    row["upkeeps_beside"] = 1
    assert [bar["holds"] for bar in search_bars(row)] == [True, True, False, None, None]


def test_single_adds_are_compared_with_a_fresh_store_and_users_are_kept_apart(monkeypatch) -> None:
    row = memory_search.single_adds(25, queries=5)
    assert row["ratio"] == row["p95_after_ms"] / row["p95_fresh_ms"] > 0
    monkeypatch.setattr(memory_search, "OTHERS", 3)
    monkeypatch.setattr(memory_search, "OF_EACH", 20)
    apart = memory_search.isolation(10)
    assert apart["hits"] == 10 * 15 and apart["hits_of_others"] == 0


def test_a_ranking_that_is_no_better_alone_is_said_to_be_none() -> None:
    def row(ranking: str, found: float) -> Row:
        return {
            "ranking": ranking, "memories": 217, "questions": 180, "session_recall_at_5": found,
            "newest_first": 0.96,
        }  # fmt: skip

    bars = quality_bars([row("hybrid", 0.97), row("vector", 0.97), row("words", 0.5)])
    assert [bar["holds"] for bar in bars] == [True, True, True, True, False, True]


def test_made_up_vectors_have_near_ones_and_far_ones() -> None:
    some = vectors(2_000, 384, 1)
    assert np.allclose(np.linalg.norm(some, axis=1), 1, atol=1e-5)
    near = np.sort(some @ vectors(1, 384, 2)[0])
    assert near[-10] > 0.6 and abs(np.median(near)) < 0.1


def test_late_frames_and_clicks_are_told_from_those_that_were_there_before() -> None:
    speech = np.sin(np.arange(20 * FRAME_SAMPLES) / 40).astype(np.float32) / 4
    frames = list(speech.reshape(20, FRAME_SAMPLES))
    sent = [float(n) for n in range(20)]
    heard = [at + (0.09 if n in (2, 6, 18) else 0.03) for n, at in enumerate(sent)]
    quiet = around(Streamed(5, sent, heard, frames), swapped_at=8)
    assert (quiet.late_during, quiet.late_otherwise) == (1, 2)
    assert round(quiet.worst_ms_during) == 90 and not quiet.clicks
    frames[8] = frames[8] + 0.5
    assert around(Streamed(5, sent, heard, frames), swapped_at=8).clicks
    never = around(Streamed(5, sent, heard, frames[:19]), swapped_at=None)
    assert never.frames_sent - never.frames_out == 1 and not never.clicks
