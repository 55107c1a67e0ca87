"""A run on disk: open it, list them, make one, train it, go on with it, fork it.

`files` names and writes its files, `lock` keeps writers apart, `tensors` guards weights, `scores` keeps what was
measured of them, `read` opens runs, `write` trains them, `fork` makes new runs of old ones.
"""

from guppy.runs.files import read_rows
from guppy.runs.fork import bundle, fork
from guppy.runs.lock import clear_command, send, worker_of
from guppy.runs.read import Run, RunSummary, find_run, list_runs, open_run, roots, summary
from guppy.runs.write import corpus_of, create_run, resume_run, train_run, training

__all__ = [
    "Run",
    "RunSummary",
    "bundle",
    "clear_command",
    "corpus_of",
    "create_run",
    "find_run",
    "fork",
    "list_runs",
    "open_run",
    "read_rows",
    "resume_run",
    "roots",
    "send",
    "summary",
    "train_run",
    "training",
    "worker_of",
]
