"""Figures come from measurements; where there are none, there is no figure."""

import pytest

from coda_voice.analytics import Analytics, CpuMeter, Mean, milliseconds, vram_used_gb
from coda_voice.moshi.frames import StageTimes


def test_nothing_measured_is_nothing_reported():
    report = Analytics().report(device="cpu", active=0)
    for name in ("average_latency_ms", "moshi_latency_ms", "llm_latency_ms", "turn_latency_ms"):
        assert getattr(report, name) is None
    assert report.audio_quality is None and report.vram_usage is None
    assert report.error_rate == 0.0


def test_latencies_are_means_and_turns_a_median():
    figures = Analytics()
    for queued in (0.010, 0.030):
        figures.latencies.add(StageTimes(queued=queued, encode=0.01, model=0.02, decode=0.01))
    figures.turn_latencies.extend([0.2, 0.3, 5.0])
    figures.quality.add(0.5)
    figures.calls, figures.failed_calls = 8, 2
    report = figures.report(device=None, active=3)
    assert report.average_latency_ms == pytest.approx(60.0)
    assert report.moshi_latency_ms == pytest.approx(40.0)
    assert report.turn_latency_ms == pytest.approx(300.0)
    assert (report.audio_quality, report.error_rate, report.active_conversations) == (0.5, 0.25, 3)


def test_memory_of_turn_latencies_is_bounded():
    figures = Analytics()
    figures.turn_latencies.extend(float(n) for n in range(100_000))
    assert len(figures.turn_latencies) == 1024


def test_no_vram_is_invented():
    assert vram_used_gb("cpu") is None and vram_used_gb(None) is None


def test_cpu_share_rises_with_work():
    meter = CpuMeter()
    total = 0
    for n in range(2_000_000):
        total += n
    share = meter.read()
    assert share is not None and 0 < share <= 100


def test_an_empty_mean_is_none():
    mean = Mean()
    assert mean.value is None and milliseconds(mean.value) is None
    mean.add(2.0)
    assert milliseconds(mean.value) == 2000.0
