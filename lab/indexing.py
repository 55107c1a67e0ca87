"""Building a neuron index for a page: in a process of its own, one at a time, and not for ever.

It reads every text of a corpus: minutes of pure computing. The index is kept in the run's folder, where every page
finds it; while it is built, any page may ask how far it is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import Any

from guppy.errors import GuppyError
from guppy.inspect.neuron_index import about_index
from guppy.runs import Run, find_run
from lab import models
from lab.jobs import let_others_first
from lab.orders import REPOSITORY

LONGEST = 1800.0
"""Seconds after which an index is given up: many times what `guppy` needs on a slow machine."""
_lock = threading.Lock()


@dataclass
class _Job:
    """An index that is being built, or how the last one ended."""

    run: str
    step: int
    process: subprocess.Popen[str]
    done: int = 0
    of: int = 0
    """Tokens read, and in all; 0 while the data are being read."""
    said: str = ""
    stopped: bool = False

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def told(self) -> dict[str, Any]:
        error = None
        if not self.running and self.process.returncode and not self.stopped:
            error = self.said or "The index could not be built; try again."
        return {"run": self.run, "step": self.step, "running": self.running, "done": self.done, "of": self.of} | {
            "error": error
        }


_last: _Job | None = None


def state(run_id: str, step: int) -> dict[str, Any]:
    """`index`: what is known of the checkpoint's index, None if it is not built; `job`: the one that is being built, of
    whatever run, or how this checkpoint's ended. Raises GuppyError when there is no such checkpoint."""
    about, job = about_index(models.get_run(run_id), step), _last
    mine = job is not None and (job.running or (job.run, job.step) == (run_id, step))
    return {"index": about, "job": job.told() if mine and job else None}


def start(run_id: str, step: int) -> None:
    """Begin to build a checkpoint's index.

    Raises GuppyError when there is no such checkpoint, or while another index is being built."""
    global _last
    run = models.get_run(run_id)
    run.step_path(step)
    with _lock:
        if _last is not None and _last.running:
            if (_last.run, _last.step) == (run_id, step):
                return
            raise GuppyError(f"The index of step {_last.step} of {_last.run} is being built; wait for it, or stop it.")
        _last = _Job(run_id, step, _process(run, step))
        threading.Thread(target=_follow, args=(_last,), name="neuron index", daemon=True).start()


def stop(run_id: str, step: int) -> None:
    """End the building of this checkpoint's index, if it is under way; nothing of it is kept."""
    with _lock:
        if _last is not None and _last.running and (_last.run, _last.step) == (run_id, step):
            _last.stopped = True
            _last.process.terminate()


def _process(run: Run, step: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "guppy.inspect.neuron_index", str(find_run(run.id)), str(step)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
    own_group = {} if os.name == "nt" else {"start_new_session": True}
    process = subprocess.Popen(command, cwd=REPOSITORY, text=True, **pipes, **own_group)
    let_others_first(process.pid)
    return process


def _follow(job: _Job) -> None:
    """Hear how far it is, and end it when it takes too long. A lab that closes closes the pipe, which ends it too."""
    late = threading.Timer(LONGEST, _give_up, (job,))
    late.daemon = True
    late.start()
    for line in job.process.stdout or ():
        try:
            told = json.loads(line)
            job.done, job.of = int(told["done"]), int(told["of"])
        except (ValueError, TypeError, KeyError):
            job.said = job.said if job.stopped else line.strip() or job.said
    job.process.wait()
    late.cancel()


def _give_up(job: _Job) -> None:
    job.process.kill()
    job.said = f"Building the index took longer than {LONGEST:.0f} s and was given up."
