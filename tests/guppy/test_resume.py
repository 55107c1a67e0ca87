"""Workers that are killed at any moment: real processes, `kill -9`, and the same weights at the end, bit for bit."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ponds import make_corpus, make_run, same

from guppy.corpus import Corpus
from guppy.runs import files, open_run, train_run, worker_of

REPOSITORY = Path(__file__).resolve().parents[2]
STEPS = 600


def worker(path: Path, root: Path) -> subprocess.Popen:
    """`python -m guppy resume`, as the lab starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "guppy", "resume", str(path), "--threads", "1", "--json"],
        cwd=REPOSITORY,
        env={**os.environ, "GUPPY_CHECKPOINTS": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def logged(path: Path) -> int:
    """The last step whose loss is on disk."""
    rows, _, _ = files.read_rows(path / files.METRICS)
    return rows[-1]["step"] if rows else -1


@pytest.fixture
def corpus(tmp_path) -> Corpus:
    return make_corpus(tmp_path)


def test_killed_at_any_moment_it_ends_in_the_same_weights(corpus, tmp_path):
    options = {"steps": STEPS, "checkpoints": 24, "keep_trainer": "last"}
    whole = train_run(make_run(tmp_path / "whole", corpus, **options), corpus=corpus)
    run = make_run(tmp_path / "killed", corpus, **options)
    chance = random.Random(time.time_ns())
    killed_at = []
    for target in (0, 150, 400):
        process = worker(run.path, tmp_path)
        while logged(run.path) < target and process.poll() is None:
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.1))  # in the middle of a step, of a row, of a checkpoint's file
        process.kill()
        process.communicate()
        killed_at.append(logged(run.path))
        assert open_run(run.path).status in ("interrupted", "queued", "finished")
        assert worker_of(run.path) is None
        for step in open_run(run.path).steps[-2:]:
            assert same(open_run(run.path).weights(step), whole.weights(step)), (killed_at, step)
    process = worker(run.path, tmp_path)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    said = json.loads(out)
    ended = open_run(run.path)
    assert said["status"] == ended.status == "finished" and said["step"] == STEPS
    assert ended.steps == whole.steps
    for step in whole.steps:
        assert same(ended.weights(step), whole.weights(step)), (killed_at, step)
    for name in ("trainer.safetensors", "model.safetensors"):
        last = [run.step_path(STEPS) / name for run in (whole, ended)]
        assert last[0].read_bytes() == last[1].read_bytes()
    kept = ["kind", "step", "tokens", "loss", "lr", "grad_norm", "heldout_loss"]
    assert ended.metrics[kept].equals(whole.metrics[kept])
    assert ended.samples.equals(whole.samples)
    assert not list(run.path.rglob(files.UNFINISHED + "*"))


def test_sigterm_stops_with_a_checkpoint(corpus, tmp_path):
    run = make_run(tmp_path / "run", corpus, steps=100_000)
    process = worker(run.path, tmp_path)
    while logged(run.path) < 5:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    said, stopped = json.loads(out), open_run(run.path)
    assert said["status"] == stopped.status == "stopped"
    assert stopped.last_step == said["step"] == logged(run.path) >= 5
    assert "guppy resume" in err and "Traceback" not in err
