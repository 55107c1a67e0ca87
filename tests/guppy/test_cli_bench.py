"""`python -m guppy bench …` starts a program of benchmarks/ and passes everything on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# In place of a benchmark: says how it was started; with "wait" it waits for Ctrl-C.
ECHO = """
import json, os, sys, time
try:
    print(json.dumps({"arguments": sys.argv[1:], "folder": os.getcwd()}), flush=True)
    if sys.argv[1:] == ["wait"]:
        time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.3)
    print("interrupted", file=sys.stderr)
    sys.exit(130)
sys.exit(7 if sys.argv[1:] else 0)
"""


def command(folder: Path, *arguments: str) -> list[str]:
    """The command line of guppy, with the benchmarks of a folder."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import pathlib, guppy.cli, guppy.cli_bench\n"
        f"guppy.cli_bench.ROOT = pathlib.Path({str(folder)!r})\n"
        "guppy.cli.main()"
    )
    return [sys.executable, "-c", code, "bench", *arguments]


@pytest.fixture
def echo(tmp_path: Path) -> Path:
    folder = tmp_path / "lab"
    (folder / "benchmarks").mkdir(parents=True)
    (folder / "benchmarks" / "train.py").write_text(ECHO)
    return folder


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["--reference", "../fish", "--json", "-"], ["--", "-x"]])
def test_options_and_exit_code_are_passed_on(echo: Path, tmp_path: Path, arguments: list[str]) -> None:
    done = subprocess.run(command(echo, "train", *arguments), capture_output=True, text=True, cwd=tmp_path, check=False)
    told = json.loads(done.stdout)
    assert done.returncode == 7 and done.stderr == ""
    assert told["arguments"] == [argument for argument in arguments if argument != "--"]
    assert Path(told["folder"]) == tmp_path, "relative paths mean what they say to the caller"


def test_success_is_success(echo: Path) -> None:
    assert subprocess.run(command(echo, "train"), capture_output=True, check=False).returncode == 0


def test_a_missing_benchmark_is_one_line(echo: Path) -> None:
    done = subprocess.run(command(echo, "growth"), capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == "error: there is no benchmarks/growth.py beside guppy/; take both from one checkout\n"


def test_ctrl_c_lets_the_benchmark_end_by_itself(echo: Path) -> None:
    with subprocess.Popen(
        command(echo, "train", "wait"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as started:
        started.stdout.readline()
        os.killpg(started.pid, signal.SIGINT)  # as a terminal does it
        _, complaint = started.communicate(timeout=60)
    assert started.returncode == 130 and complaint == "interrupted\n"


def test_help_lists_the_benchmarks(echo: Path) -> None:
    done = subprocess.run(command(echo, "--help"), capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert all(f" {name} " in done.stdout for name in ("train", "shakespeare", "growth", "hooks"))


def test_the_real_one_says_a_mistake_in_one_line(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    call = [sys.executable, "-m", "guppy", "bench", "train", "--reference", "nothing"]
    done = subprocess.run(call, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(f"error: there is no folder {tmp_path.resolve() / 'nothing'};")
    assert len(done.stderr.splitlines()) == 1
