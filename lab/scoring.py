"""Measuring a checkpoint's scores for a page: in a process of its own, one at a time, and not for ever.

It reads the corpus and answers some two hundred prompts: seconds of pure computing, in which this process would
answer nobody. What it measures is kept in the run's folder, where the pages find it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading

from guppy.errors import GuppyError
from guppy.runs import find_run
from guppy.runs.scores import read_scores
from lab.jobs import let_others_first
from lab.orders import REPOSITORY

LONGEST = 300.0
"""Seconds after which a measurement is given up: many times what `guppy` needs on a slow machine."""
_turn = threading.Lock()


def measure(run_id: str, step: int) -> None:
    """Measure a checkpoint as `python -m guppy eval RUN --steps STEP` does, and keep it.

    Raises GuppyError when another one is being measured, when it takes too long, or with what the command said."""
    path = find_run(run_id)
    if not _turn.acquire(blocking=False):
        raise GuppyError("Another checkpoint is being measured; try again in half a minute.")
    try:
        command = [sys.executable, "-m", "guppy", "eval", str(path), "--steps", str(int(step)), "--json"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        own_group = {} if os.name == "nt" else {"start_new_session": True}
        with subprocess.Popen(command, cwd=REPOSITORY, env=environment, text=True, **pipes, **own_group) as process:
            let_others_first(process.pid)
            try:
                _, said = process.communicate(timeout=LONGEST)
            except subprocess.TimeoutExpired:
                process.kill()
                raise GuppyError(f"Measuring took longer than {LONGEST:.0f} s and was given up.") from None
    finally:
        _turn.release()
    kept = read_scores(path)
    if process.returncode or kept is None or step not in kept.rows:
        words = said.strip().splitlines()
        raise GuppyError(words[-1].removeprefix("error: ") if words else "It could not be measured; try again.")
