"""What this machine is: devices, memory, and what follows for Moshi and an LLM beside it.

``Machine.look()`` measures (psutil for the machine, NVML for NVIDIA GPUs); everything else
is arithmetic on such a snapshot, so that it can be asked about any machine. Without an
NVIDIA driver there is no GPU in the snapshot: nothing is guessed. Sizes are in bytes, or
in GB (10⁹ bytes) where a name says so.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import psutil

from coda_voice.errors import ConfigurationError

if TYPE_CHECKING:
    from coda_voice.moshi.capabilities import Capabilities

GB = 1_000_000_000
USABLE = 0.92
"""Share of a GPU's memory that can be planned with; the rest is driver, display, splinters."""
RUNTIME_GB = 1.0
"""A round figure for CUDA context, CUDA graphs and scratch buffers of a process."""

MLX_MISSING = (
    "device 'mlx' needs Apple's MLX, which is not installed: pip install 'coda-voice[mlx]'; or use "
    "'auto'"
)

Dtype = Literal["fp32", "bf16", "fp16", "int8"]
"""Number formats of weights."""
Level = Literal[0, 1, 2, 3, 4, 5, 6]


@dataclass(frozen=True, slots=True)
class Gpu:
    """One NVIDIA GPU as its driver describes it; memory in bytes."""

    index: int
    name: str
    total: int
    free: int
    driver: str
    compute: tuple[int, int] = (0, 0)
    """Compute capability, (9, 0) for Hopper; bf16 needs (8, 0)."""
    bandwidth: int | None = None
    """Bytes a second, from memory clock and bus width; None where the driver does not say."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A snapshot of the machine; memory and disk in bytes."""

    system: str
    processor: str
    cores: int
    """Cores this process may use."""
    ram_total: int
    ram_free: int
    disk_free: int
    """Where checkpoints are downloaded to."""
    gpus: tuple[Gpu, ...] = ()
    apple_silicon: bool = False
    mlx: bool = False
    """Whether Apple's MLX is installed; it also computes on a CPU under Linux."""
    gpu_note: str = ""
    """Why there are no GPUs, in words."""

    @classmethod
    def look(cls, gpus: Callable[[], tuple[tuple[Gpu, ...], str]] | None = None) -> Machine:
        """Measure this machine; ``gpus`` replaces the question to NVML."""
        found, note = (gpus or nvidia_gpus)()
        memory = psutil.virtual_memory()
        return cls(
            system=f"{platform.system()} {platform.release()}",
            processor=_processor(),
            cores=usable_cores(),
            ram_total=memory.total,
            ram_free=memory.available,
            disk_free=shutil.disk_usage(existing_parent(hub_cache())).free,
            gpus=found,
            apple_silicon=platform.system() == "Darwin" and platform.machine() == "arm64",
            mlx=importlib.util.find_spec("mlx") is not None,
            gpu_note=note,
        )

    @property
    def vram_total(self) -> int:
        """Memory of all GPUs together."""
        return sum(gpu.total for gpu in self.gpus)


def nvidia_gpus() -> tuple[tuple[Gpu, ...], str]:
    """Ask NVML for the GPUs; with a word on why there are none, if there are none."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return (), f"no NVIDIA driver answers ({error})"
    try:
        driver = _text(pynvml.nvmlSystemGetDriverVersion())
        count = pynvml.nvmlDeviceGetCount()
        gpus = tuple(_gpu(index, driver) for index in range(count))
        return gpus, "" if gpus else "the NVIDIA driver is there, but sees no GPU"
    except pynvml.NVMLError as error:
        return (), f"the NVIDIA driver refused to describe its GPUs ({error})"
    finally:
        pynvml.nvmlShutdown()


def _gpu(index: int, driver: str) -> Gpu:
    import pynvml

    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    try:
        megahertz = pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_MEM)
        # Two transfers a clock, as NVML counts the clocks of GDDR and HBM alike.
        bandwidth = megahertz * 1_000_000 * 2 * pynvml.nvmlDeviceGetMemoryBusWidth(handle) // 8
    except pynvml.NVMLError:
        bandwidth = None
    return Gpu(
        index=index,
        name=_text(pynvml.nvmlDeviceGetName(handle)),
        total=int(memory.total),
        free=int(memory.free),
        driver=driver,
        compute=(major, minor),
        bandwidth=bandwidth,
    )


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def usable_cores() -> int:
    """Count the cores this process may use (its affinity, not the machine's total)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def hub_cache() -> Path:
    """Name the folder that huggingface_hub keeps downloads in."""
    home = os.environ.get("HF_HOME") or Path("~/.cache/huggingface").expanduser()
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")


def existing_parent(path: Path) -> Path:
    """Find the nearest folder above ``path`` (or itself) that is already there."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


# --- which device, which number format -------------------------------------------------


def choose_device(wanted: str = "auto", machine: Machine | None = None) -> str:
    """Settle ``auto | cpu | cuda | cuda:N | mlx | cloud`` for this machine.

    ``auto`` takes the GPU with the most free memory, else the CPU; the others are checked.
    Raises ConfigurationError where the machine has no such device.
    """
    if wanted in ("cpu", "cloud"):
        return wanted
    machine = machine or Machine.look()
    if wanted == "auto":
        best = max(machine.gpus, key=lambda gpu: gpu.free, default=None)
        return "cpu" if best is None else f"cuda:{best.index}"
    if wanted == "mlx":
        if machine.mlx:
            return wanted
        if machine.apple_silicon:
            raise ConfigurationError(MLX_MISSING, device=wanted)
        raise ConfigurationError(
            f"device 'mlx' needs Apple silicon, and this is {machine.system}; use 'auto' "
            "with a checkpoint for torch",
            device=wanted,
        )
    match = re.fullmatch(r"cuda(?::(\d+))?", wanted)
    if match is None:
        raise ConfigurationError(
            f"device {wanted!r} is unknown; use auto, cpu, cuda, cuda:N, mlx or cloud",
            device=wanted,
        )
    if not machine.gpus:
        raise ConfigurationError(
            f"device {wanted!r} needs an NVIDIA GPU: {machine.gpu_note or 'there is none'}; "
            "use 'cpu' or 'auto'",
            device=wanted,
        )
    index = int(match[1] or 0)
    if index not in {gpu.index for gpu in machine.gpus}:
        raise ConfigurationError(
            f"device {wanted!r} is not there: this machine has cuda:0 to "
            f"cuda:{len(machine.gpus) - 1}",
            device=wanted,
        )
    return f"cuda:{index}"


def choose_dtype(
    wanted: Literal["auto"] | Dtype = "auto", device: str = "cpu", machine: Machine | None = None
) -> Dtype:
    """Settle the number format of the weights: ``fp32 | bf16 | fp16 | int8``.

    ``auto`` is fp32 on a CPU (16-bit arithmetic is slow there), bf16 on GPUs that compute in
    it (Ampere and later) and on MLX, fp16 on older ones. ``int8`` needs a GPU (bitsandbytes
    kernels) or MLX. Raises ConfigurationError for what cannot work.
    """
    if wanted not in ("auto", "fp32", "bf16", "fp16", "int8"):
        raise ConfigurationError(
            f"number format {wanted!r} is unknown; use auto, fp32, bf16, fp16 or int8", dtype=wanted
        )
    if wanted != "auto":
        return wanted
    if device == "mlx":
        return "bf16"
    if not device.startswith("cuda"):
        return "fp32"
    index = int(device.partition(":")[2] or 0)
    machine = machine or Machine.look()
    compute = next((gpu.compute for gpu in machine.gpus if gpu.index == index), (8, 0))
    return "bf16" if compute >= (8, 0) else "fp16"


# --- conversations that fit --------------------------------------------------------------


def conversations_that_fit(capabilities: Capabilities, memory: int) -> int:
    """Count the conversations with full context that fit into ``memory`` bytes beside the weights.

    Weights are loaded once, keys and values once a conversation; with the facts of Moshi 7B
    this gives 71 on 141 GB, 36 on 80 GB, 17 on 48 GB, 3 on 24 GB.
    """
    room = memory / GB * USABLE - RUNTIME_GB - capabilities.weights_gb
    if room <= 0 or capabilities.kv_gb <= 0:
        return 0
    return int(room / capabilities.kv_gb)


def step_floor_seconds(capabilities: Capabilities, conversations: int, gpu: Gpu) -> float | None:
    """Give the time below which no step can be: everything read once at the memory's speed.

    A step reads all weights and every conversation's keys and values. None where the
    driver does not tell the bandwidth.
    """
    if not gpu.bandwidth:
        return None
    read_gb = capabilities.weights_gb + conversations * capabilities.kv_gb
    return read_gb * GB / gpu.bandwidth


def conversations_in_time(capabilities: Capabilities, gpu: Gpu, seconds: float) -> int | None:
    """Count the conversations whose floor (``step_floor_seconds``) stays within ``seconds``.

    None where the driver does not tell the bandwidth.
    """
    if not gpu.bandwidth or capabilities.kv_gb <= 0:
        return None
    return max(
        0, int((seconds * gpu.bandwidth / GB - capabilities.weights_gb) / capabilities.kv_gb)
    )


# --- the LLM beside Moshi ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LlmSuggestion:
    """An LLM for a level, and what it takes.

    ``file_gb`` is the size of its weights file; ``kv_gb`` keys and values of 8192 tokens
    (2 × layers × KV heads × 128 × 2 bytes a token).
    """

    level: Level
    label: str
    model: str | None
    """The name Ollama knows it by; None: nothing local."""
    file_gb: float = 0.0
    kv_gb: float = 0.0
    beside_moshi_gb: float = 0.0
    """What Moshi 7B itself takes on the same GPU, where the level counts it in."""

    @property
    def vram_gb(self) -> float:
        """The GPU memory from which the level is reached."""
        if self.model is None:
            return 0.0
        return (self.file_gb + self.kv_gb + RUNTIME_GB + self.beside_moshi_gb) / USABLE


LEVELS: tuple[LlmSuggestion, ...] = (
    LlmSuggestion(0, "API only", None),
    # Qwen3 8B, 14B, 30B-A3B: 36, 40, 48 layers with 8, 8, 4 KV heads; Q4_K_M files.
    LlmSuggestion(1, "7B", "qwen3:8b", 5.2, 1.21),
    LlmSuggestion(2, "14B", "qwen3:14b", 9.3, 1.34),
    LlmSuggestion(3, "30B", "qwen3:30b-a3b", 19.0, 0.81),
    # Qwen2.5 72B: 80 layers, 8 KV heads.
    LlmSuggestion(4, "72B IQ4", "hf.co/bartowski/Qwen2.5-72B-Instruct-GGUF:IQ4_XS", 39.7, 2.68),
    LlmSuggestion(5, "72B Q6", "qwen2.5:72b-instruct-q6_K", 64.4, 2.68),
    # Everything on one machine: the 72B, Moshi 7B (15.8 + 1.57 GB) and its runtime.
    LlmSuggestion(6, "hybrid", "qwen2.5:72b-instruct-q6_K", 64.4, 2.68, 15.8 + 1.57 + RUNTIME_GB),
)
"""The seven levels of GPUs: API only; 7B; 14B; 30B; 72B IQ4; 72B Q6; hybrid."""


def detect_gpu_level(machine: Machine | None = None, reserved: int = 0) -> Level:
    """Give the level, 0–6, that the memory of this machine's GPUs reaches.

    ``reserved`` bytes (what Moshi takes, say) are left out of the reckoning. An LLM may be
    spread over several GPUs, so their memory counts together. No GPU: level 0.
    """
    machine = machine or Machine.look()
    available = (machine.vram_total - reserved) / GB
    return max(s.level for s in LEVELS if s.model is None or available >= s.vram_gb)


def suggest_llm(level: int) -> LlmSuggestion:
    """Give the LLM that a level suggests. Raises ConfigurationError beyond 0–6."""
    if not 0 <= level < len(LEVELS):
        raise ConfigurationError(f"GPU levels go from 0 to {len(LEVELS) - 1}, not {level}")
    return LEVELS[level]
