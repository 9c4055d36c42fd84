"""What a machine can run, for machines of every size and for the one the test runs on."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import psutil
import pynvml
import pytest

from coda_voice.errors import ConfigurationError
from coda_voice.hardware import (
    GB,
    LEVELS,
    Gpu,
    Machine,
    choose_device,
    choose_dtype,
    conversations_that_fit,
    detect_gpu_level,
    nvidia_gpus,
    step_floor_seconds,
    suggest_llm,
    usable_cores,
)
from coda_voice.moshi.capabilities import capabilities_for

MIB = 2**20
MOSHI = capabilities_for("kyutai/moshika-pytorch-bf16")


def gpu(mib: int, *, index: int = 0, free: int | None = None, major: int = 9) -> Gpu:
    total = mib * MIB
    return Gpu(index, "a card", total, total if free is None else free, "570.0", (major, 0))


def machine(*gpus: Gpu, **changes: object) -> Machine:
    bare = Machine("Linux 6", "x86", 4, 16 * GB, 12 * GB, 100 * GB, gpus, gpu_note="no driver")
    return replace(bare, **changes)


def test_this_machine_is_really_measured():
    here = Machine.look()
    assert here.ram_total == psutil.virtual_memory().total
    assert 0 < here.ram_free < here.ram_total
    assert 1 <= here.cores == usable_cores()
    assert here.disk_free > 0
    assert here.gpus or here.gpu_note, "either GPUs, or a word on why there are none"


def test_the_driver_and_nothing_else_says_what_gpus_there_are():
    gpus, note = nvidia_gpus()
    assert bool(gpus) != bool(note)
    for card in gpus:
        assert 0 < card.free <= card.total
        assert card.driver


def answering(monkeypatch: pytest.MonkeyPatch, **answers: object) -> None:
    """Stand in for the driver's library, which a machine without a GPU does not have."""
    normal: dict[str, object] = {
        "nvmlInit": None,
        "nvmlShutdown": None,
        "nvmlSystemGetDriverVersion": b"570.124.06",
        "nvmlDeviceGetCount": 1,
        "nvmlDeviceGetHandleByIndex": "handle",
        "nvmlDeviceGetName": "NVIDIA H200",
        "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=143_771 * MIB, free=140_000 * MIB),
        "nvmlDeviceGetCudaComputeCapability": (9, 0),
        "nvmlDeviceGetMaxClockInfo": 3_201,
        "nvmlDeviceGetMemoryBusWidth": 6_144,
    }
    for name, answer in (normal | answers).items():
        assert hasattr(pynvml, name)

        def reply(*_: object, answer: object = answer) -> object:
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(pynvml, name, reply)


def test_what_the_driver_answers_is_taken_over(monkeypatch: pytest.MonkeyPatch):
    answering(monkeypatch)
    (card,), note = nvidia_gpus()
    assert note == ""
    assert (card.name, card.driver, card.compute) == ("NVIDIA H200", "570.124.06", (9, 0))
    assert (card.total, card.free) == (143_771 * MIB, 140_000 * MIB)
    assert card.bandwidth == pytest.approx(4_900 * GB, rel=0.01)
    assert choose_device("cuda", Machine.look()) == "cuda:0"


def test_a_driver_that_does_not_tell_everything(monkeypatch: pytest.MonkeyPatch):
    answering(monkeypatch, nvmlDeviceGetMemoryBusWidth=pynvml.NVMLError_NotSupported())
    (card,), _ = nvidia_gpus()
    assert card.bandwidth is None
    answering(monkeypatch, nvmlDeviceGetMemoryInfo=pynvml.NVMLError_NoPermission())
    gpus, note = nvidia_gpus()
    assert gpus == ()
    assert "refused to describe its GPUs" in note
    answering(monkeypatch, nvmlDeviceGetCount=0)
    assert nvidia_gpus() == ((), "the NVIDIA driver is there, but sees no GPU")


@pytest.mark.parametrize(
    ("mib", "level", "label"),
    [
        (6_144, 0, "API only"),
        (8_188, 1, "7B"),  # RTX 4060
        (12_288, 2, "14B"),  # RTX 3060
        (16_384, 2, "14B"),
        (24_564, 3, "30B"),  # RTX 4090
        (46_068, 4, "72B IQ4"),  # L40S
        (81_559, 5, "72B Q6"),  # H100
        (143_771, 6, "hybrid"),  # H200
    ],
)
def test_levels_of_real_cards(mib: int, level: int, label: str):
    assert detect_gpu_level(machine(gpu(mib))) == level
    assert suggest_llm(level).label == label


def test_no_gpu_is_level_0_however_much_other_memory_there_is():
    assert detect_gpu_level(machine(ram_total=1_000 * GB)) == 0
    assert suggest_llm(0).model is None


def test_two_cards_count_together_and_what_moshi_takes_is_left_out():
    two = machine(gpu(24_564), gpu(24_564, index=1))
    assert detect_gpu_level(two) == 4
    assert detect_gpu_level(two, reserved=18 * GB) == 3
    assert detect_gpu_level(machine(gpu(24_564)), reserved=30 * GB) == 0


def test_levels_rise_and_each_names_what_it_needs():
    needs = [s.vram_gb for s in LEVELS]
    assert needs == sorted(set(needs))
    assert [s.level for s in LEVELS] == list(range(7))
    assert all(s.model and s.file_gb < s.vram_gb for s in LEVELS[1:])
    with pytest.raises(ConfigurationError, match="from 0 to 6"):
        suggest_llm(7)


@pytest.mark.parametrize(("gigabytes", "conversations"), [(141, 71), (80, 36), (48, 17), (24, 3)])
def test_conversations_that_fit_beside_the_weights(gigabytes: int, conversations: int):
    assert conversations_that_fit(MOSHI, gigabytes * GB) == conversations


def test_nothing_fits_where_the_weights_do_not():
    assert conversations_that_fit(MOSHI, 16 * GB) == 0


def test_the_floor_of_a_step_is_what_the_memory_must_read():
    h200 = replace(gpu(143_771), bandwidth=4_800 * GB)
    assert step_floor_seconds(MOSHI, 32, h200) == pytest.approx(0.0138, abs=0.0002)
    assert step_floor_seconds(MOSHI, 1, gpu(24_564)) is None


def test_auto_takes_the_freest_gpu_or_the_cpu():
    assert choose_device("auto", machine()) == "cpu"
    busy, idle = gpu(24_564, free=GB), gpu(24_564, index=1)
    assert choose_device("auto", machine(busy, idle)) == "cuda:1"
    assert choose_device("cuda", machine(busy, idle)) == "cuda:0"


@pytest.mark.parametrize(
    ("wanted", "there", "says"),
    [
        ("cuda", machine(), "needs an NVIDIA GPU: no driver; use 'cpu' or 'auto'"),
        ("cuda:1", machine(gpu(8_188)), "this machine has cuda:0 to cuda:0"),
        ("mlx", machine(), "needs Apple silicon, and this is Linux 6; use 'auto'"),
        ("mlx", machine(apple_silicon=True), r"pip install 'coda-voice\[mlx\]'"),
        ("tpu", machine(), "use auto, cpu, cuda, cuda:N, mlx or cloud"),
    ],
)
def test_a_device_that_is_not_there(wanted: str, there: Machine, says: str):
    with pytest.raises(ConfigurationError, match=says):
        choose_device(wanted, there)


def test_mlx_where_it_is_installed_and_devices_that_need_no_asking():
    assert choose_device("mlx", machine(apple_silicon=True, mlx=True)) == "mlx"
    assert choose_dtype("auto", "mlx") == "bf16"
    assert choose_device("cpu") == "cpu"
    assert choose_device("cloud") == "cloud"


def test_the_number_format_suits_the_device():
    assert choose_dtype("auto", "cpu") == "fp32"
    assert choose_dtype("auto", "cuda:0", machine(gpu(24_564, major=8))) == "bf16"
    assert choose_dtype("auto", "cuda:0", machine(gpu(16_384, major=7))) == "fp16"
    assert choose_dtype("int8", "cuda:0", machine(gpu(24_564))) == "int8"
    assert choose_dtype("int8", "cpu") == "int8"
    with pytest.raises(ConfigurationError, match="use auto, fp32, bf16"):
        choose_dtype("q3", "cpu")
