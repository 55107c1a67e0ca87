import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from guppy import precision
from guppy.errors import GuppyError
from guppy.precision import Precision, cpu_flags, pick_device, pick_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("flags", "dtype", "word"),
    [
        ({"avx2", "avx512_bf16"}, torch.bfloat16, "avx512_bf16"),
        ({"amx_bf16", "avx512_bf16"}, torch.bfloat16, "amx_bf16"),
        ({"avx2", "avx512f"}, torch.float32, "no bfloat16 units"),
        (set(), torch.float32, "no bfloat16 units"),
    ],
)
def test_a_cpu_uses_bfloat16_only_with_units_for_it(monkeypatch, flags, dtype, word):
    monkeypatch.setattr(precision, "cpu_flags", lambda: frozenset(flags))
    chosen = pick_precision("cpu")
    assert (chosen.device, chosen.dtype) == (CPU, dtype)
    assert word in chosen.reason


@pytest.mark.parametrize(
    ("capability", "dtype"), [((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((12, 0), torch.bfloat16)]
)
def test_cuda_goes_by_compute_capability(monkeypatch, capability, dtype):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    # What torch says on a T4, where bfloat16 is only emulated.
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    chosen = pick_precision("auto")
    assert (chosen.device.type, chosen.dtype) == ("cuda", dtype)
    assert f"{capability[0]}.{capability[1]}" in chosen.reason


def test_only_float16_scales_its_loss():
    for dtype in precision.DTYPES.values():
        assert Precision(CPU, dtype, "").scaler().is_enabled() == (dtype == torch.float16)


def test_metal_trains_in_float32(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    chosen = pick_precision("auto")
    assert (chosen.device.type, chosen.dtype) == ("mps", torch.float32)


def test_autocast_multiplies_in_its_dtype_and_keeps_losses_exact():
    a, q = torch.randn(4, 4), torch.randn(1, 1, 4, 4)
    with Precision(CPU, torch.bfloat16, "").autocast():
        assert (a @ a).dtype == torch.bfloat16
        assert F.scaled_dot_product_attention(q, q, q).dtype == torch.bfloat16
        assert F.cross_entropy(a @ a, torch.arange(4)).dtype == torch.float32
    with Precision(CPU, torch.float32, "").autocast():
        assert (a @ a).dtype == torch.float32
    assert (a @ a).dtype == torch.float32


def test_names_are_the_configs():
    assert [Precision(CPU, dtype, "").name for dtype in precision.DTYPES.values()] == list(precision.DTYPES)


def test_what_is_not_there_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(GuppyError, match="no cuda device; choose auto or cpu"):
        pick_device("cuda")
    with pytest.raises(GuppyError, match="no device 'toaster'"):
        pick_device("toaster")
    with pytest.raises(GuppyError, match="float16 is for CUDA"):
        pick_precision("cpu", "float16")


def test_flags_are_read_from_linux(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(precision.platform, "system", lambda: "Linux")
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu avx2 avx512_bf16\nbugs\t: none\n")
    assert cpu_flags(tmp_path / "cpuinfo") == {"fpu", "avx2", "avx512_bf16"}
    assert cpu_flags(tmp_path / "missing") == frozenset()


def test_deterministic_kernels_are_asked_for_on_cuda_only_and_given_back():
    before = torch.are_deterministic_algorithms_enabled()
    with Precision(CPU, torch.float32, "").deterministic():
        assert torch.are_deterministic_algorithms_enabled() == before
    with Precision(torch.device("cuda"), torch.float32, "").deterministic():
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert torch.are_deterministic_algorithms_enabled() == before


@pytest.mark.parametrize(("given", "spins"), [({}, "8000"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")])
def test_waiting_threads_spin_for_a_little_while(given: dict[str, str], spins: str):
    """OpenMP reads the count when torch is loaded, so it has to be set before that; a person's own wish comes first."""
    program = "import guppy, os, sys; print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_WAIT", "GOMP_"))}
    said = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        env=environment | given,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.split() == [spins, "False"]
