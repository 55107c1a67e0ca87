"""Training the tuned lens of a checkpoint for a page: in a process of its own, one at a time, and not for ever.

Whoever asks for the one that is being trained follows it; it goes on when nobody does any more.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from guppy.errors import GuppyError
from guppy.runs import find_run
from lab.jobs import let_others_first
from lab.orders import REPOSITORY

LONGEST = 600.0
"""Seconds after which it is given up: many times what `guppy` needs on a slow machine."""
PERIOD = 0.3
"""Seconds between two looks at how far it is."""


class _Work:
    """One lens that is being trained."""

    def __init__(self, path: Path, step: int) -> None:
        self.of = path, step
        self.progress = 0, 0
        self.problem = ""
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        path, step = self.of
        command = [sys.executable, "-m", "guppy.inspect.tuned_lens", str(path), str(step)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        own_group = {} if os.name == "nt" else {"start_new_session": True}
        with subprocess.Popen(command, cwd=REPOSITORY, env=environment, text=True, **pipes, **own_group) as process:
            let_others_first(process.pid)
            watch = threading.Timer(LONGEST, process.kill)
            watch.start()
            for line in process.stdout:
                with suppress(ValueError):  # whatever else a library may print
                    done, of = map(int, line.split())
                    self.progress = done, of
            said = process.stderr.read().strip().splitlines()
            process.wait()
            watch.cancel()
        if process.returncode:
            self.problem = said[-1] if said else f"No tuned lens came of it within {LONGEST:.0f} s; try again."


_lock = threading.Lock()
_work: _Work | None = None


def train(run_id: str, step: int) -> Iterator[tuple[int, int]]:
    """Train the tuned lens of a checkpoint and keep it in the run's folder; how many steps are done, and of how many.

    Raises GuppyError when another one is being trained, or with what went wrong."""
    work = _begin(find_run(run_id), int(step))
    while work.thread.is_alive():
        yield work.progress
        work.thread.join(PERIOD)
    if work.problem:
        raise GuppyError(work.problem)


def _begin(path: Path, step: int) -> _Work:
    global _work
    with _lock:
        if _work is not None and _work.thread.is_alive():
            if _work.of == (path, step):
                return _work
            raise GuppyError("Another tuned lens is being trained; try again in a minute.")
        _work = _Work(path, step)
        _work.thread.start()
        return _work
