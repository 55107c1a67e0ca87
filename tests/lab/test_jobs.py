"""Jobs with real worker processes: they outlive their lab, they can be told to wait, stop and go on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from guppy.corpus import Corpus
from guppy.errors import GuppyError
from guppy.runs import open_run, worker_of
from lab import jobs as jobs_module
from lab.jobs import Jobs
from lab.orders import Limits, Order, has_corpus
from tests.lab.tiny import tiny_run

SMALL = {"rows": 300, "batch": 4, "context": 32}
SHORT = Order(steps=3, checkpoints=3, **SMALL)
LONG = 1_000_000
"""Steps that no test waits for."""


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GUPPY_CHECKPOINTS", str(tmp_path))
    return tmp_path


@pytest.fixture
def new_jobs(own: Path) -> Iterator[Callable[..., Jobs]]:
    opened: list[Jobs] = []

    def open_jobs(**limits: int) -> Jobs:
        opened.append(Jobs(Limits(**{"threads": 2, **limits})).open())
        return opened[-1]

    yield open_jobs
    for each in opened:
        each.close()


@pytest.fixture
def queue(own: Path, corpus: Corpus) -> Callable[..., str]:
    """Queue a run of a tiny model; its id."""

    def queue_run(jobs: Jobs, steps: int, name: str) -> str:
        tiny_run(own / name, corpus, steps)
        jobs.enqueue([name])
        return name

    return queue_run


def status(own: Path, run_id: str) -> str:
    return open_run(own / run_id).status


def test_a_run_is_trained_by_a_worker(own: Path, new_jobs: Callable[..., Jobs]):
    jobs = new_jobs()
    assert not has_corpus(SHORT)
    run_id = jobs.start(SHORT)
    assert run_id == "fry-1" and has_corpus(SHORT)
    assert jobs.status(run_id, "queued") == "running"
    wait_for(lambda: status(own, run_id) == "finished")
    run = open_run(own / run_id)
    assert run.steps[-1] == 3 and run.manifest["threads"] == 2
    assert run.manifest["notes"] == (
        "python -m guppy train --size fry --persona guppy --seed 0 --steps 3 "
        "--context 32 --batch 4 --rows 300 --checkpoints 3 --out fry-1"
    )
    assert jobs.start(SHORT) == "fry-2"


def test_pause_resume_stop_and_delete(own: Path, new_jobs: Callable[..., Jobs], queue: Callable[..., str]):
    jobs = new_jobs()
    run_id = queue(jobs, LONG, "long")
    with pytest.raises(GuppyError, match="just beginning"):
        jobs.pause(run_id)
    wait_for(lambda: status(own, run_id) == "running" and open_run(own / run_id).steps)
    jobs.pause(run_id)
    wait_for(lambda: status(own, run_id) == "paused")
    with pytest.raises(GuppyError, match="paused"):
        jobs.delete(run_id)
    jobs.resume(run_id)
    wait_for(lambda: status(own, run_id) == "running")
    jobs.stop(run_id)
    wait_for(lambda: status(own, run_id) == "stopped" and worker_of(own / run_id) is None)
    run = open_run(own / run_id)
    stop, before = run.manifest["stop"], run.last_step
    assert before == stop["step"] + stop["cooldown_steps"] and stop["step"] in run.steps
    wait_for(lambda: jobs.status(run_id, "stopped") == "stopped")
    jobs.resume(run_id)
    wait_for(lambda: open_run(own / run_id).metrics.step.max() > before)
    assert before not in open_run(own / run_id).steps  # it went on from before the cool-down
    jobs.stop_now(run_id)
    wait_for(lambda: jobs.status(run_id, status(own, run_id)) == "stopped")
    assert open_run(own / run_id).manifest["stop"] is None
    jobs.delete(run_id)
    assert not list(own.glob("*long*"))


def test_what_does_not_fit_in_waits_and_can_be_called_off(
    own: Path, new_jobs: Callable[..., Jobs], queue: Callable[..., str]
):
    jobs = new_jobs(max_jobs=1, max_queue=1)
    first, second, more = queue(jobs, LONG, "first"), queue(jobs, LONG, "second"), queue(jobs, LONG, "more")
    assert jobs.status(second, status(own, second)) == "queued"
    with pytest.raises(GuppyError, match="waiting"):
        jobs.start(SHORT)
    jobs.stop(second)
    jobs.stop(more)
    assert status(own, second) == "stopped" and open_run(own / second).manifest["message"] == "Stopped before it began."
    third = queue(jobs, 3, "third")
    assert jobs.status(third, status(own, third)) == "queued"
    jobs.stop(first)
    wait_for(lambda: status(own, third) == "finished")


def test_a_worker_outlives_its_lab_and_the_next_lab_finds_it(
    own: Path, new_jobs: Callable[..., Jobs], queue: Callable[..., str]
):
    earlier = new_jobs(max_jobs=1)
    living, waiting = queue(earlier, LONG, "living"), queue(earlier, 3, "waiting")
    wait_for(lambda: status(own, living) == "running" and open_run(own / living).steps)
    worker = worker_of(own / living)
    assert os.getsid(worker) == worker != os.getsid(0)  # a terminal that closes takes nobody with it
    assert os.getpriority(os.PRIO_PROCESS, worker) == 5  # whoever looks at the lab comes first
    group = Path(f"/proc/{worker}/autogroup")
    if group.exists():
        assert group.read_text().endswith("nice 5\n")
    earlier._closed.set()  # this lab is gone without a word to its workers

    later = new_jobs(max_jobs=1)
    assert later.status(living, status(own, living)) == "running"
    assert later.status(waiting, status(own, waiting)) == "queued"
    os.kill(worker, signal.SIGKILL)
    earlier._workers[living].wait()
    wait_for(lambda: status(own, living) == "interrupted")
    wait_for(lambda: status(own, waiting) == "finished")  # the queue went on
    later.resume(living)
    wait_for(lambda: status(own, living) == "running")


def test_a_lab_that_closes_stops_its_workers_with_a_checkpoint(
    own: Path, new_jobs: Callable[..., Jobs], queue: Callable[..., str]
):
    jobs = new_jobs(max_jobs=1)
    running, queued = queue(jobs, LONG, "running"), queue(jobs, LONG, "queued")
    wait_for(lambda: open_run(own / running).steps and len(open_run(own / running).metrics) > 20)
    jobs.close()
    assert status(own, running) == "stopped" and worker_of(own / running) is None
    run = open_run(own / running)
    assert run.last_step == run.metrics[run.metrics.kind == "step"].step.max()
    assert status(own, queued) == "queued"


def test_a_worker_that_cannot_begin_says_why(own: Path, new_jobs: Callable[..., Jobs], corpus: Corpus):
    jobs, broken = new_jobs(), "broken"
    tiny_run(own / broken, corpus, steps=3)
    (own / broken / "tokenizer.json").write_text("{")
    jobs.enqueue([broken])
    wait_for(lambda: status(own, broken) == "failed")
    assert "tokenizer.json" in open_run(own / broken).manifest["message"]


def test_twins_share_seed_and_threads(own: Path, new_jobs: Callable[..., Jobs]):
    jobs = new_jobs()
    mask, open_ = (open_run(own / run_id) for run_id in jobs.start_twins(SHORT))
    assert (mask.id, open_.id) == ("twins-1-mask", "twins-1-no-mask")
    assert mask.surgery.causal_mask and not open_.surgery.causal_mask
    same = ("seed", "threads", "train", "model", "tokenizer_sha256", "corpus")
    assert all(mask.manifest[key] == open_.manifest[key] for key in same) and mask.manifest["threads"] == 1
    wait_for(lambda: all(run.steps for run in (mask, open_)))
    first = [run.model(0).state_dict() for run in (mask, open_)]
    assert all((first[0][name] == first[1][name]).all() for name in first[0])
    masses = [run.metrics.query("kind == 'eval'").future_mass.iloc[0] for run in (mask, open_)]
    assert masses[0] == 0 and masses[1] > 0.3


def test_quotas(own: Path, new_jobs: Callable[..., Jobs], queue: Callable[..., str], monkeypatch: pytest.MonkeyPatch):
    jobs = new_jobs(max_runs=1, max_seconds=10)
    with pytest.raises(GuppyError, match="up to 10 s"):
        jobs.start(Order(seconds=11, **SMALL))
    run_id = queue(jobs, LONG, "long")
    with pytest.raises(GuppyError, match="as many as this lab keeps"):
        jobs.start(SHORT)
    with pytest.raises(GuppyError, match="as many as this lab keeps"):
        jobs.start_twins(SHORT)
    wait_for(lambda: status(own, run_id) == "running")
    monkeypatch.setitem(jobs._spent, run_id, 1000.0)  # as if it had run for that long
    wait_for(lambda: "10 s that this lab allows" in open_run(own / run_id).manifest["message"])
    assert "Cooled down over" in open_run(own / run_id).manifest["message"]


@pytest.mark.parametrize("run_id", ["fry", "../escape", "nope", "", "a" * 100])
@pytest.mark.parametrize("action", ["pause", "resume", "stop", "stop_now", "delete"])
def test_only_ones_own_runs_take_orders(
    own: Path, new_jobs: Callable[..., Jobs], monkeypatch: pytest.MonkeyPatch, action: str, run_id: str
):
    jobs = new_jobs()
    with pytest.raises(GuppyError):
        getattr(jobs, action)(run_id)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"size": "whale", "steps": 1}, "no size 'whale'"),
        ({"persona": "../../etc/passwd", "steps": 1}, "no persona"),
        ({"surgery": "no-brain", "steps": 1}, "not a surgery"),
        ({"surgery": "no-head:9.9", "steps": 1}, "no layer 9"),
        ({}, "exactly one"),
        ({"steps": 0}, "steps"),
        ({"steps": 1.5}, "whole number"),
        ({"seconds": -1}, "above 0"),
        ({"seconds": float("nan")}, "above 0"),
        ({"steps": 1, "seed": -1}, "seed"),
        ({"steps": 1, "seed": float("inf")}, "whole number"),
        ({"steps": 1, "context": 4}, "context"),
        ({"steps": 1, "batch": 10_000}, "up to 512 rows"),
        ({"steps": 1, "size": "guppy", "context": 1024}, "up to 64 rows"),  # the width chooses 96
        ({"steps": 1, "lr": float("nan")}, "lr"),
        ({"steps": 1, "rows": 10}, "rows"),
    ],
)
def test_an_impossible_order_is_a_sentence(settings: dict[str, object], words: str):
    with pytest.raises(GuppyError, match=words):
        Order(**settings)


def test_limits_come_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert Limits().max_seconds > 300
    monkeypatch.setenv("SPACE_ID", "someone/space")
    assert Limits().max_seconds == 300 and Limits().max_jobs == 2
    monkeypatch.setenv("GUPPY_MAX_SECONDS", "77")
    assert Limits().max_seconds == 77
    monkeypatch.setenv("GUPPY_MAX_JOBS", "many")
    with pytest.raises(GuppyError, match="GUPPY_MAX_JOBS"):
        Limits()


def test_this_labs_jobs_are_one(own: Path):
    jobs_module.jobs.cache_clear()
    try:
        assert jobs_module.jobs() is jobs_module.jobs()
    finally:
        jobs_module.jobs().close()
        jobs_module.jobs.cache_clear()
