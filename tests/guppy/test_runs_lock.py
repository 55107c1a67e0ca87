import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from ponds import make_corpus, make_run

from guppy import runs
from guppy.corpus import Corpus
from guppy.errors import GuppyError
from guppy.events import Step
from guppy.runs import files, lock, open_run, resume_run, train_run, training


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


def steps_logged(run) -> list[int]:
    return [row["step"] for row in files.read_rows(run.path / files.METRICS)[0]]


def test_two_workers_do_not_write_one_run(corpus, tmp_path):
    run = make_run(tmp_path / "run", corpus)
    first = training(run, corpus=corpus)
    next(first)
    assert lock.worker_of(run.path) == os.getpid()
    with pytest.raises(GuppyError, match=f"being trained by process {os.getpid()}"):
        train_run(run, corpus=corpus)
    assert len(list(first)) > 10 and open_run(run.path).status == "finished"
    assert lock.worker_of(run.path) is None


def test_a_dead_workers_lock_is_nobodys(corpus, tmp_path):
    run = make_run(tmp_path / "run", corpus, steps=1)
    worker = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    alive = {"pid": worker.pid, "born": lock.birth(worker.pid)}
    (run.path / files.LOCK).write_text(json.dumps(alive))
    files.write_json(run.path / "run.json", run.manifest | {"status": "running"})
    assert lock.worker_of(run.path) == worker.pid and open_run(run.path).status == "running"
    with pytest.raises(GuppyError, match="stop that one first"):
        train_run(run.path, corpus=corpus)
    worker.kill()
    while lock.birth(worker.pid):  # a zombie until it is waited for, and dead all the same
        time.sleep(0.01)
    assert lock.worker_of(run.path) is None and open_run(run.path).status == "interrupted"
    assert train_run(run.path, corpus=corpus).status == "finished"
    worker.communicate()


def test_a_pid_that_went_to_someone_else_holds_nothing(corpus, tmp_path):
    run = make_run(tmp_path / "run", corpus, steps=1)
    (run.path / files.LOCK).write_text(json.dumps({"pid": os.getpid(), "born": "long ago"}))
    assert train_run(run, corpus=corpus).status == "finished"


@pytest.mark.skipif(os.name != "posix" or not shutil.which("ps"), reason="asks ps")
def test_births_where_there_is_no_proc(monkeypatch):
    monkeypatch.setattr(lock.sys, "platform", "darwin")
    worker = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    born = lock.birth(worker.pid)
    assert born and born == lock.birth(worker.pid) and str(time.localtime().tm_year) in born
    worker.kill()
    _until(lambda: lock.birth(worker.pid) is None)
    worker.communicate()
    assert lock.birth(worker.pid) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}'])
def test_a_broken_lock_holds_nothing(corpus, tmp_path, content):
    run = make_run(tmp_path / "run", corpus, steps=1)
    (run.path / files.LOCK).write_text(content)
    assert train_run(run, corpus=corpus).status == "finished"


def test_many_who_want_the_lock_of_a_dead_one_get_it_one_at_a_time(tmp_path):
    (tmp_path / files.LOCK).write_text(json.dumps({"pid": 2**22 + 5, "born": "never"}))
    program = (
        # The package without its __init__, which would import torch four times over.
        "import sys, time, types, pathlib\nsys.modules['guppy.runs'] = package = types.ModuleType('guppy.runs')\n"
        "package.__path__ = ['guppy/runs']\n"
        "from guppy.errors import GuppyError\nfrom guppy.runs.lock import locked\n"
        "run, go = map(pathlib.Path, sys.argv[1:3])\nprint('ready', flush=True)\nsys.stdin.readline()\n"
        "try:\n    with locked(run):\n        (run / 'in').open('x').close()\n        time.sleep(0.3)\n"
        "        (run / 'in').unlink()\n    print('had it')\nexcept GuppyError as e:\n    print('refused')\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path), "-"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen(command, cwd=Path(__file__).parents[2], **pipes) for _ in range(4)]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("\n")
        worker.stdin.flush()
    said = [worker.communicate(timeout=30)[0].strip() for worker in workers]
    assert set(said) <= {"had it", "refused"} and "had it" in said, said
    assert not list(tmp_path.iterdir())


def test_orders_in_the_control_file_are_obeyed(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(runs.write, "POLL_SECONDS", 0.0)
    run = make_run(tmp_path / "run", corpus, steps=100_000)
    worker = threading.Thread(target=train_run, args=(run,), kwargs={"corpus": corpus})
    worker.start()
    _until(lambda: open_run(run.path).manifest["steps_done"] >= 4)
    runs.send(run.path, "pause")
    _until(lambda: open_run(run.path).status == "paused")
    reached = steps_logged(run)[-1]
    time.sleep(0.3)
    assert steps_logged(run)[-1] == reached
    runs.send(run.path, "run")
    _until(lambda: open_run(run.path).status == "running")
    _until(lambda: steps_logged(run)[-1] > reached)
    runs.send(run.path, "stop")
    worker.join(20)
    stopped = open_run(run.path)
    assert stopped.status == "stopped" and stopped.last_step > reached
    assert not (run.path / files.CONTROL).exists()


def test_resuming_does_not_obey_orders_to_an_earlier_worker(corpus, tmp_path):
    run = make_run(tmp_path / "run", corpus, steps=2)
    runs.send(run.path, "stop")
    assert resume_run(run, corpus=corpus).status == "finished"


def test_leaving_a_run_between_checkpoints_is_no_failure(corpus, tmp_path):
    run = make_run(tmp_path / "run", corpus)
    events = training(run, corpus=corpus)
    for event in events:
        if isinstance(event, Step) and event.step == 3:
            break
    events.close()
    assert open_run(run.path).status == "stopped" and lock.worker_of(run.path) is None
    assert resume_run(run, corpus=corpus).status == "finished"


def _until(condition, seconds: float = 20) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.01)
