"""Training jobs: one worker process for each running run, a queue, quotas.

Workers are processes of their own, so that no browser can stop them. What they do is on disk; this module starts
them, passes orders on, and notices when one is gone. Where a Space lends its GPU in slices, `lab.gpu` trains instead.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from guppy.errors import GuppyError
from guppy.runs import clear_command, files, find_run, list_runs, open_run, roots, send, summary, worker_of
from guppy.runs.lock import Command, locked
from lab import gpu
from lab.orders import REPOSITORY, Limits, Order, free_number, make_run, twins

TICK = 0.25
LOG = "worker.log"
# A worker is less urgent than whoever looks at the lab.
NICENESS = 5
ACTIVE = ("queued", "running", "paused")


class Jobs:
    """The jobs of one lab; `jobs()` is this lab's."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._lock = threading.RLock()
        self._making = threading.Lock()
        self._workers: dict[str, subprocess.Popen[bytes]] = {}
        self._adopted: set[str] = set()
        """Runs whose worker an earlier lab started."""
        self._driven: set[str] = set()
        """Runs that train in slices of a lent GPU."""
        self._queue: list[str] = []
        self._spent: dict[str, float] = {}
        self._last_words: dict[str, str] = {}
        self._closed = threading.Event()

    # -- the lab's own life ----------------------------------------------------------------------

    def open(self) -> Jobs:
        """Look after jobs from now on, first those that an earlier lab left: its living workers and its queue."""
        with self._lock:
            left = sorted(list_runs(roots()[0]), key=lambda run: run.created)
            self._adopted = {run.id for run in left if worker_of(run.path)}
            self._queue = [run.id for run in left if run.status == "queued" and run.id not in self._adopted]
        threading.Thread(target=self._look_after, name="jobs", daemon=True).start()
        atexit.register(self.close)
        # A Space ends its app with SIGTERM, which skips atexit unless it becomes an ordinary exit.
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        return self

    def close(self, wait: float = 10.0) -> None:
        """Tell every worker to stop with a checkpoint, and wait a while for it. What is queued stays queued."""
        self._closed.set()
        atexit.unregister(self.close)
        with self._lock:
            workers = dict(self._workers)
        for run_id, worker in workers.items():
            self._stop_worker(run_id, worker, "stop")
        ends = time.monotonic() + wait
        for worker in workers.values():
            with suppress(subprocess.TimeoutExpired):
                worker.wait(max(0.0, ends - time.monotonic()))

    def _look_after(self) -> None:
        while not self._closed.wait(TICK):
            with self._lock:
                self._tick()

    # -- what a person asks for ------------------------------------------------------------------

    def start(self, order: Order) -> str:
        """Make a run and queue it; its id. Raises GuppyError when it asks for too much or a quota is used up."""
        with self._making:
            self._check(order, runs=1)
            run = make_run(order, f"{order.size}-{free_number(order.size + '-{}')}")
        self.enqueue([run.id])
        return run.id

    def start_twins(self, order: Order) -> list[str]:
        """Make and queue two runs of one seed that differ only in the causal mask, which the second lacks; their ids.

        Each gets half of the threads, so that they train side by side. Raises GuppyError as `start` does."""
        with self._making:
            self._check(order, runs=2)
            number, threads = free_number("twins-{}"), max(1, self.limits.threads // 2)
            named = zip((f"twins-{number}-mask", f"twins-{number}-no-mask"), twins(order), strict=True)
            runs = [make_run(each, run_id, name=run_id, threads=threads) for run_id, each in named]
        self.enqueue([run.id for run in runs])
        return [run.id for run in runs]

    def drive(self, run_ids: list[str]) -> Iterator[dict[str, Any]]:
        """Train what was started, where training needs the visitor's presence: on a GPU that is lent in slices.

        Yields progress until the runs end. Where workers train, there is nothing to do and nothing is yielded."""
        if not gpu.available():
            return
        with self._lock:
            self._driven.update(run_ids)
        try:
            yield from gpu.drive([find_run(run_id) for run_id in run_ids])
        finally:
            with self._lock:
                self._driven.difference_update(run_ids)

    def pause(self, run_id: str) -> None:
        """Let a running run wait. Raises GuppyError when it does not run."""
        path = self._own(run_id, "running")
        if worker_of(path) is None:
            raise GuppyError("It is just beginning; pause it in a moment.")
        # Waiting would use up a lent GPU.
        send(path, "stop" if gpu.available() else "pause")

    def resume(self, run_id: str) -> None:
        """Let a run go on, from where it waits or from its last checkpoint. Raises GuppyError when it cannot."""
        path = self._own(run_id, "paused", "stopped", "interrupted", "failed")
        if worker_of(path) is not None:
            return send(path, "run")
        seconds, allowed = open_run(path).manifest["seconds"], self.limits.max_seconds
        if seconds >= allowed:
            raise GuppyError(f"This run has had the {allowed} s that this lab allows; start a new one.")
        self._check_queue(1)
        clear_command(path)
        _note(path, "queued")
        self.enqueue([run_id])

    def stop(self, run_id: str) -> None:
        """End a run after a cool-down. Raises GuppyError when it is not under way."""
        self._end(run_id, "cool")

    def stop_now(self, run_id: str) -> None:
        """End a run, or its cool-down, with its weights as they are. Raises GuppyError when it is not under way."""
        self._end(run_id, "stop")

    def _end(self, run_id: str, command: Command) -> None:
        path = self._own(run_id, *ACTIVE)
        with self._lock:
            worker = self._workers.get(run_id)
            if run_id in self._queue:
                self._queue.remove(run_id)
                _note(path, "stopped", "Stopped before it began.")
            elif worker is not None:
                self._stop_worker(run_id, worker, command)
            else:
                send(path, command)

    def delete(self, run_id: str) -> None:
        """Remove a run from the disk. Raises GuppyError for a bundled one, and while it is under way."""
        path = self._own(run_id, "finished", "stopped", "interrupted", "diverged", "failed")
        with locked(path):
            # Gone for every reader at once; then file by file.
            grave = path.with_name(f"{files.UNFINISHED}deleted-{run_id}-{time.time_ns()}")
            path.rename(grave)
        shutil.rmtree(grave, ignore_errors=True)

    def status(self, run_id: str, on_disk: str) -> str:
        """A run's status; one whose worker is still coming up is running, whatever its files say yet."""
        with self._lock:
            worker = self._workers.get(run_id)
            coming = (worker is not None and worker.poll() is None) or run_id in self._driven
        return "running" if coming and on_disk in ("queued", "stopped", "interrupted") else on_disk

    # -- quotas ------------------------------------------------------------------------------------

    def _check(self, order: Order, runs: int) -> None:
        order.check(self.limits)
        here = [path for path in roots()[0].glob(f"*/{files.MANIFEST}") if not summary(path.parent).bundled]
        if len(here) + runs > self.limits.max_runs:
            raise GuppyError(f"There are {len(here)} runs, as many as this lab keeps; delete one on the Train page.")
        self._check_queue(runs)

    def _check_queue(self, runs: int) -> None:
        with self._lock:
            waiting = len(self._queue)
        if waiting + runs > self.limits.max_queue + self.limits.max_jobs:
            raise GuppyError(f"{waiting} runs are waiting already; start this one when some of them are done.")

    def _own(self, run_id: str, *statuses: str) -> Path:
        """The path of a run of a person's own that is in one of the states. Raises GuppyError otherwise."""
        path = find_run(str(run_id))
        run = summary(path)
        if run.bundled:
            raise GuppyError(f"{run_id} came with the lab and stays as it is; start a run of your own.")
        status = self.status(run.id, run.status)
        if status not in statuses:
            raise GuppyError(f"{run_id} is {status}; that cannot be done now.")
        return path

    # -- workers -----------------------------------------------------------------------------------

    def enqueue(self, run_ids: list[str]) -> None:
        """Have runs trained that are queued on disk, as soon as there is room; a lent GPU waits for `drive`."""
        if gpu.available():
            return
        with self._lock:
            self._queue += run_ids
            self._tick()

    def _tick(self) -> None:
        for run_id, worker in list(self._workers.items()):
            if worker.poll() is not None:
                del self._workers[run_id]
                self._bury(run_id, worker)
            else:
                self._watch(run_id)
        self._adopted = {run_id for run_id in self._adopted if _worker_of(run_id)}
        while self._queue and len(self._workers) + len(self._adopted) < self.limits.max_jobs:
            run_id = self._queue.pop(0)
            with suppress(GuppyError):  # deleted, or trained by somebody else meanwhile
                self._launch(run_id, find_run(run_id))

    def _launch(self, run_id: str, path: Path) -> None:
        run = open_run(path)
        # A run keeps its number of threads, because sums over another number differ in the last bit.
        beside = len(self._workers) + len(self._adopted)
        threads = run.manifest.get("threads") or max(1, self.limits.threads // (1 + beside))
        command = [sys.executable, "-m", "guppy", "resume", str(path), "--threads", str(threads)]
        own_group = {"creationflags": 0x200} if os.name == "nt" else {"start_new_session": True}
        with (path / LOG).open("ab") as log:
            worker = subprocess.Popen(
                command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **own_group
            )
        let_others_first(worker.pid)
        self._workers[run_id], self._spent[run_id] = worker, float(run.manifest["seconds"])

    def _watch(self, run_id: str) -> None:
        """Stop a run that has had its time; only a budget of steps can get there."""
        path = find_run(run_id)
        if worker_of(path) is None or open_run(path).manifest["status"] != "running":
            return
        self._spent[run_id] += TICK
        if self._spent[run_id] > 1.1 * self.limits.max_seconds + 30 and run_id not in self._last_words:
            self._last_words[run_id] = f"Stopped after the {self.limits.max_seconds} s that this lab allows."
            send(path, "cool")

    def _stop_worker(self, run_id: str, worker: subprocess.Popen[bytes], command: Command) -> None:
        with suppress(GuppyError, OSError):
            path = find_run(run_id)
            if worker_of(path) is None:  # it is still coming up, and would not see an order
                self._last_words[run_id] = "Stopped before it began."
                worker.terminate()
            else:
                send(path, command)

    def _bury(self, run_id: str, worker: subprocess.Popen[bytes]) -> None:
        """Write down what a worker that is gone could not write itself."""
        self._spent.pop(run_id, None)
        words = self._last_words.pop(run_id, None)
        with suppress(GuppyError, OSError):
            path = find_run(run_id)
            manifest = open_run(path).manifest
            status = manifest["status"]
            if words is not None and status in ("queued", "stopped"):
                _note(path, "stopped", f"{words} {manifest['message']}".strip())
            elif worker.returncode and status == "queued":
                _note(path, "failed", _last_line(path / LOG))


def let_others_first(pid: int) -> None:
    """Give a worker, which leads a session of its own, less of the CPU than the lab and the browser when they ask."""
    if not hasattr(os, "setpriority"):
        return
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, NICENESS)
    # Where Linux shares time between sessions first, niceness counts only within one; this is the session's own.
    with suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(f"{NICENESS}\n")


def _note(path: Path, status: str, message: str = "") -> None:
    """Change a run's status while nobody trains it."""
    with locked(path):
        files.write_json(path / files.MANIFEST, open_run(path).manifest | {"status": status, "message": message})


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1][:500] if lines else "Its worker ended without a word; resume it."


def _worker_of(run_id: str) -> int | None:
    try:
        return worker_of(find_run(run_id))
    except GuppyError:
        return None


@lru_cache(maxsize=1)
def jobs() -> Jobs:
    """This lab's jobs, looked after from the first call on."""
    return Jobs().open()
