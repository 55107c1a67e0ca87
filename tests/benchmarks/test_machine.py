"""The machine's own numbers, the stopwatch, and parts in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import machine
from benchmarks.harness import measure
from benchmarks.machine import Stopwatch, describe, matmul_peak, peak_memory_mib
from guppy.errors import GuppyError

ROOT = Path(__file__).resolve().parents[2]


def test_the_peak_is_that_of_the_best_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "SIZES", (64, 128, 256))
    monkeypatch.setattr(machine, "SECONDS_A_SIZE", 0.02)
    asked: list[tuple[int, int]] = []

    def seconds(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor, calls: int) -> float:
        asked.append((len(a), calls))
        assert a.dtype == torch.bfloat16
        return {64: 1e-6, 128: 2e-6, 256: 5e-5}[len(a)] * calls  # 128 is the fastest: 2·128³ operations in 2 µs

    monkeypatch.setattr(machine, "_seconds", seconds)
    assert matmul_peak(torch.device("cpu"), torch.bfloat16) == pytest.approx(2 * 128**3 / 2e-6)
    assert {size for size, _ in asked} == {64, 128, 256}
    assert max(calls for size, calls in asked if size == 64) == 10_000, "a reading is long enough for the clock"


def test_a_size_that_takes_too_long_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "SIZES", (32, 1024))
    monkeypatch.setattr(machine, "_seconds", lambda a, b, out, calls: calls * len(a) ** 3 * 1e-6)
    assert matmul_peak(torch.device("cpu"), torch.float32) == pytest.approx(2e6)


def test_a_real_peak_is_plausible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "SIZES", (256,))
    monkeypatch.setattr(machine, "SECONDS_A_SIZE", 0.1)
    assert 1e8 < matmul_peak(torch.device("cpu"), torch.float32) < 1e14


def test_it_says_what_it_ran_on() -> None:
    facts = describe(torch.device("cpu"))
    assert facts["torch"] == torch.__version__ and facts["threads"] == torch.get_num_threads()
    assert facts["cpu"] and facts["cores"] >= 1 and facts["gpu"] is None and facts["dtype"] in ("bfloat16", "float32")


def test_peak_memory_is_the_highest_that_was() -> None:
    before = peak_memory_mib()
    block = np.ones(int((before + 100) * 2**17))  # that many MiB, and all of it used
    high = peak_memory_mib()
    del block
    assert before > 10 and high >= before + 90
    assert peak_memory_mib() >= high - 10, "it does not fall; the kernel counts in its own steps"


def test_a_paused_stopwatch_stands_still() -> None:
    watch = Stopwatch()
    time.sleep(0.02)
    with watch.paused():
        stopped = watch.seconds
        time.sleep(0.1)
        assert watch.seconds == stopped >= 0.02
    assert stopped <= watch.seconds < stopped + 0.09
    with pytest.raises(KeyError), watch.paused():
        raise KeyError
    after = watch.seconds
    time.sleep(0.01)
    assert watch.seconds > after, "an error does not stop it for good"


PARTS = """
import os, sys, time
sys.path.insert(0, {root!r})
from benchmarks.harness import measure, run_main
from guppy.errors import GuppyError

def add(a, b, say):
    say(f"adding {{a}}")
    return {{"sum": a + b, "process": os.getpid()}}

def complain(say):
    raise GuppyError("no water; fill the tank")

def vanish(say):
    os._exit(7)

def sleep(say):
    say(f"process {{os.getpid()}}")
    time.sleep(60)

def main():
    measure(sleep, say=lambda line: print(line, flush=True))

if __name__ == "__main__":
    run_main(main)
"""


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "some_parts.py").write_text(PARTS.format(root=str(ROOT)))
    monkeypatch.syspath_prepend(tmp_path)
    import some_parts

    yield some_parts
    del sys.modules["some_parts"]


def test_a_part_has_its_own_process(parts) -> None:
    said: list[str] = []
    result = measure(parts.add, 2, 3, say=said.append)
    assert result["sum"] == 5 and result["process"] != os.getpid() and said == ["adding 2"]


def test_what_goes_wrong_in_a_part_is_said_here(parts) -> None:
    with pytest.raises(GuppyError, match=r"^no water; fill the tank$"):
        measure(parts.complain, say=print)
    with pytest.raises(GuppyError, match=r"some_parts\.vanish ended with exit code 7"):
        measure(parts.vanish, say=print)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_part_too(parts, tmp_path: Path, number: int, code: int) -> None:
    command = [sys.executable, str(tmp_path / "some_parts.py")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as started:
        part = int(started.stdout.readline().split()[1])
        if number == signal.SIGINT:
            os.killpg(started.pid, number)  # as a terminal does it
        else:
            started.send_signal(number)
        _, complaint = started.communicate(timeout=60)
    assert started.returncode == code and complaint in ("", "interrupted\n")
    with pytest.raises(ProcessLookupError):
        os.kill(part, 0)
