"""Which device computes, and in which arithmetic: decided here, each decision with its reason.

Weights, gradients and optimizer state are float32 always; the dtype is that of the matrix products inside autocast.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from guppy.errors import GuppyError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """A device, the dtype of its matrix products, and why.

    Attributes:
        reason: one clause for a person, such as "compute capability 9.0 multiplies bfloat16".
    """

    device: torch.device
    dtype: torch.dtype
    reason: str

    @property
    def name(self) -> str:
        """The dtype as configs and manifests write it: "bfloat16"."""
        return str(self.dtype).removeprefix("torch.")

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """A context in which matrix products run in `dtype` and what needs range (softmax, losses) in float32."""
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            yield

    def scaler(self) -> torch.amp.GradScaler:
        """Scales the loss so that float16 gradients do not vanish (Micikevicius et al. 2018); does nothing else."""
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)

    @contextmanager
    def deterministic(self) -> Iterator[None]:
        """Inside, kernels that add in any order are exchanged for ones that do not, where the device has such.

        A CPU adds in one order for a given number of threads; CUDA has to be asked."""
        if self.device.type != "cuda":
            yield
            return
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
        fill = torch.utils.deterministic.fill_uninitialized_memory
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])
            torch.utils.deterministic.fill_uninitialized_memory = fill


def pick_device(name: str = "auto") -> torch.device:
    """The named device, or the fastest one here. Raises GuppyError when it is not there."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise GuppyError(f"There is no device {name!r}; choose auto, cpu, cuda or mps.") from None
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present.get(device.type, False):
        raise GuppyError(f"This machine has no {device.type} device; choose auto or cpu.")
    return device


def pick_precision(device: str | torch.device = "auto", dtype: str = "auto") -> Precision:
    """The device and the arithmetic to train with. Raises GuppyError when they do not go together."""
    device = pick_device(str(device))
    if dtype != "auto":
        if dtype == "float16" and device.type != "cuda":
            raise GuppyError("float16 is for CUDA devices; choose float32 or bfloat16 here.")
        return Precision(device, DTYPES[dtype], "as asked")
    if device.type == "cuda":
        return _cuda(device)
    if device.type == "mps":
        return Precision(device, torch.float32, "Metal's autocast gains nothing at these sizes")
    return _cpu(device)


def _cuda(device: torch.device) -> Precision:
    # torch.cuda.is_bf16_supported() also says yes where bfloat16 is only emulated, as on a T4; the capability does not.
    major, minor = torch.cuda.get_device_capability(device)
    if (major, minor) >= (8, 0):
        return Precision(device, torch.bfloat16, f"compute capability {major}.{minor} multiplies bfloat16")
    return Precision(device, torch.float16, f"compute capability {major}.{minor} has float16 but no bfloat16 units")


def _cpu(device: torch.device) -> Precision:
    unit = next((flag for flag in ("amx_bf16", "avx512_bf16") if flag in cpu_flags()), None)
    if unit:
        return Precision(device, torch.bfloat16, f"this CPU multiplies bfloat16 ({unit})")
    return Precision(device, torch.float32, "this CPU has no bfloat16 units, and emulating them is slower")


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The instruction sets the CPU names. Empty where the system does not say (not Linux, not x86)."""
    if platform.system() != "Linux" or not cpuinfo.exists():
        return frozenset()
    for line in cpuinfo.read_text(errors="replace").splitlines():
        if line.startswith("flags"):
            return frozenset(line.split(":", 1)[1].split())
    return frozenset()
