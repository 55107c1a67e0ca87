"""Training in slices of a lent GPU, against a stand-in for the `spaces` package that forks and pickles as it does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from guppy.runs import open_run, worker_of
from lab import gpu
from lab.jobs import Jobs
from lab.orders import Limits

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("space")


@pytest.fixture(scope="module")
def told(root: Path) -> dict[str, Any]:
    environment = {**os.environ, "GUPPY_CHECKPOINTS": str(root), "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "tests.lab.zero_gpu"]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_is_nothing_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    monkeypatch.setenv("GUPPY_CHECKPOINTS", str(tmp_path))
    assert not gpu.available()
    assert list(Jobs(Limits()).drive(["fry-1"])) == []


def test_a_run_is_trained_in_slices(told: dict[str, Any], root: Path):
    assert told["durations"] == [gpu.LOAN] and told["slice"] <= 45
    assert told["started"] == ["fry-1", "queued", 0]  # no worker: training waits for its visitor
    run = open_run(root / "one")
    assert run.status == "finished" and run.steps[-1] == 60 and worker_of(run.path) is None
    steps = [report["step"] for report in told["one"]]
    assert steps == sorted(steps) and steps[-1] == 60 and len(steps) > 3
    assert [report["ended"] for report in told["one"]] == [False] * (len(steps) - 1) + [True]
    assert len(run.steps) > 3  # each slice left a checkpoint beside the planned ones
    assert list(run.metrics.query("kind == 'step'").step) == list(range(1, 61))  # and the seams do not show


def test_twins_take_turns(told: dict[str, Any], root: Path):
    assert {open_run(root / name).status for name in ("left", "right")} == {"finished"}
    assert sum(a["run"] != b["run"] for a, b in pairwise(told["twins"])) >= 2


def test_a_person_can_stop_it(told: dict[str, Any], root: Path):
    assert told["stopped"][-1]["ended"] and open_run(root / "long").status == "stopped"
    stop = open_run(root / "long").manifest["stop"]
    assert open_run(root / "long").last_step == stop["step"] + stop["cooldown_steps"]
    assert set(told["meanwhile"][:-1]) == {"running"}


def test_what_goes_wrong_in_a_slice_is_a_sentence(told: dict[str, Any]):
    kind, words = told["error"]
    assert kind == "GuppyError" and words.endswith(".")
