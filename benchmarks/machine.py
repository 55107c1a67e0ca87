"""What a machine is and what it can do at most: its name, its matrix product, its memory, its clock."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from guppy.precision import pick_precision

# Square matrices. The largest are for GPUs: a size that would take too long here is left out.
SIZES = (1024, 1536, 2048, 3072, 4096, 8192)
SECONDS_A_SIZE = 0.4
REPEATS = 5
# One reading of the clock covers at least so much work, so that starting a kernel is no part of it.
SECONDS_A_READING = 0.01


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """The most floating-point operations a second that a matrix product reaches here: 2n³ operations for n × n.

    The best of several sizes, each the median of repeats after a warm-up; about two seconds in all.
    """
    best = 0.0
    for size in SIZES:
        operations = 2.0 * size**3
        if best and operations / best * (REPEATS + 1) > 4 * SECONDS_A_SIZE:
            break
        a, b, out = (torch.randn(size, size, device=device).to(dtype) for _ in range(3))
        _seconds(a, b, out, 1)
        once = _seconds(a, b, out, 1)
        calls = max(1, round(SECONDS_A_READING / once))
        readings = max(REPEATS, min(200, round(SECONDS_A_SIZE / (calls * once))))
        median = statistics.median(_seconds(a, b, out, calls) / calls for _ in range(readings))
        best = max(best, operations / median)
    return best


def _seconds(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor, calls: int) -> float:
    synchronize(a.device)
    began = time.perf_counter()
    for _ in range(calls):
        torch.mm(a, b, out=out)
    synchronize(a.device)
    return time.perf_counter() - began


def synchronize(device: torch.device) -> None:
    """Wait until a device has done what it was given; a CPU always has."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def describe(device: torch.device) -> dict[str, Any]:
    """The machine and the versions that numbers were measured with; `dtype` is that of our matrix products here."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "gpu": gpu,
        "dtype": pick_precision(device).name,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def peak_memory_mib() -> float:
    """The most memory that this process held so far, MiB: on the GPU if it used one, else resident in RAM."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status")
    if status.exists():
        # Linux lets ru_maxrss begin with what the process that started this one held; VmHWM begins with exec.
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 1024)


class Stopwatch:
    """Wall seconds since it was made, without those spent inside `paused()`."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._stopped: float | None = None

    @property
    def seconds(self) -> float:
        """Stands still inside `paused()`."""
        return (self._stopped or time.perf_counter()) - self._began

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What happens inside is not counted. Not to be nested."""
        self._stopped = time.perf_counter()
        try:
            yield
        finally:
            self._began += time.perf_counter() - self._stopped
            self._stopped = None
