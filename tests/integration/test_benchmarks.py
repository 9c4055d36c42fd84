"""The benchmarks measure what they say: each part run once, in small."""

from __future__ import annotations

import json

import numpy as np
import prometheus_client
import pytest
import torch
from prometheus_client import CollectorRegistry, generate_latest

from coda_voice.moshi.checkpoint import load_models
from coda_voice.moshi.engine import Engine
from coda_voice.moshi.frames import Word
from scripts.benchmarks import big, histograms, listening, paced, questions, single, sockets
from tests.integration.speech import DATA, spoken


def test_one_conversation_is_compared_with_a_bare_loop_on_the_same_frames() -> None:
    result = single.compare_one_conversation(spoken("hello")[:15], rounds=1)
    assert result["frames"] == 15
    assert result["engine_ms_per_frame"] > 0 and result["bare_ms_per_frame"] > 0


def test_a_prefilled_prompt_is_several_times_faster_than_a_stepped_one() -> None:
    result = single.compare_prefill(frames=100, rounds=1)
    assert result["times_faster"] > 3


def test_paced_sessions_lose_nothing_that_is_not_counted() -> None:
    torch.set_num_threads(1)
    result = paced.run_paced(load_models("coda-tiny", "cpu"), 2, 1.6, spoken("hello"), threads=1)
    assert result["frames"] == 40
    assert result["frames_missing_worst"] <= result["frames_dropped"]
    assert 0 < result["tick_p50_ms"] <= result["tick_p99_ms"] <= result["tick_max_ms"]


def test_the_gpu_part_runs_on_any_model() -> None:
    """What it would do on a GPU, on the CPU with coda-tiny: the code is not left untried."""
    result = big.run_big(load_models("coda-tiny", "cpu"), slots=2, ticks=3, bandwidth=1e10)
    assert result["conversations"] == 2
    assert result["tick_p50_ms"] > 0 and result["floor_ms"] > 0


def test_the_transcribers_cost_is_measured_turn_about() -> None:
    cost = listening.measure_cost(load_models("coda-tiny", "cpu"), 1, spoken("hello")[:6], 1)
    # Which of the two is the quicker depends, with so few frames, on what else the machine does.
    with_it, without = cost["tick_ms_with"], cost["tick_ms_without"]
    assert min(with_it, without, cost["flush_ms"]) > 0
    assert cost["ratio"] == pytest.approx(with_it / without)
    assert cost["real_time_factor"] == pytest.approx(with_it / 80)


def test_word_errors_are_counted_against_what_was_said() -> None:
    heard = tuple(Word(text, 0.0, 0.1) for text in ["what", "was", "the", "name"])
    assert listening.word_error_rate("What is your name", heard) == 0.5
    assert listening.word_error_rate("stop, please", ()) == 1.0


def test_the_server_is_measured_over_its_sockets_with_one_more_refused_beside() -> None:
    row = sockets.run_server(2, 3.0, spoken("hello"), threads=1)
    # Where the machine is busy frames are dropped; then it is said, and no bar is kept.
    assert row["complaints"] or row["frames_missing"] == 0
    assert row["refused_with"] == ["slots_full"] and row["refused_after_ms_worst"] > 0
    assert row["server_frames"] > 0
    assert row["server_added_p99_ms"] > 0 and row["server_total_p99_ms"] > 0
    assert row["real_time_factor_worst"] > 0
    assert sockets.bars(row)["no frame missing"] == (row["complaints"] == 0)


def test_a_histogram_is_read_back_and_what_was_before_is_taken_off() -> None:
    registry = CollectorRegistry()
    histogram = prometheus_client.Histogram(
        "way", "way", ["stage"], buckets=(0.01, 0.02, 0.04), registry=registry
    )
    histogram.labels("total").observe(0.005)
    early = generate_latest(registry).decode()
    for seconds in (0.015, 0.015, 0.03, 9.0):
        histogram.labels("total").observe(seconds)
    histogram.labels("send").observe(0.005)
    late = generate_latest(registry).decode()
    way = histograms.read(late, "way", stage="total") - histograms.read(early, "way", stage="total")
    assert way.count == 4 and way.share_over(0.02) == 0.5
    assert way.quantile_ms(0.25) == pytest.approx(15.0)
    assert way.quantile_ms(0.99) == pytest.approx(40.0), "the last bound that is known"
    assert histograms.read(late, "nothing").quantile_ms(0.5) is None


def test_a_telephone_takes_the_high_tones_and_keeps_the_length() -> None:
    time = np.arange(24_000) / 24_000
    low, high = (np.sin(2 * np.pi * f * time).astype(np.float32) / 2 for f in (1_000, 6_000))
    for tone, kept in ((low, True), (high, False)):
        heard = questions.telephone(tone)
        assert abs(len(heard) - len(tone)) <= 3
        assert (float(np.std(heard[4_000:-4_000])) > 0.2) == kept


async def test_the_open_questions_are_answered_by_counting(engine: Engine) -> None:
    facts = json.loads((DATA / "spoken.json").read_text())
    recordings = questions.recordings(DATA, {"hello": facts["hello"]})
    band = questions.telephone_band(engine, recordings)
    assert band["words"] == 1 and band["recordings"] == 1
    assert 0 <= band["word_error_rate_wide"] <= 2
    stop = questions.recordings(DATA, {"stop": facts["stop"]})[0][0]
    greeting = recordings[0][0]
    stopped = await questions.interruptions(engine, greeting, stop, rounds=1)
    assert stopped["rounds"] == 1 and 0 <= stopped["answered"] <= 1
    assert stopped["interrupted_while_speaking"] <= stopped["answered"]
    assert stopped["interrupted_while_speaking"] == 1, "else it tells nothing of interruptions"
