"""A ZeroGPU Space in miniature, for test_gpu.py: run as a program, it prints what happened as JSON.

It is a process of its own because `spaces` forks, and a process whose threads have trained cannot be forked safely.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

DURATIONS: list[float] = []


def lend(duration: float) -> Callable[..., Any]:
    """The stand-in for `spaces.GPU`: arguments, yields and errors are pickled, module state does not come back."""
    DURATIONS.append(duration)
    context = multiprocessing.get_context("fork")

    def decorate(function: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        def run(queue: Any, *args: Any) -> None:
            try:
                for value in function(*args):
                    queue.put(("yield", value))
                queue.put(("end", None))
            except Exception as error:
                queue.put(("error", error))

        def call(*args: Any) -> Iterator[Any]:
            queue = context.Queue()
            process = context.Process(target=run, args=(queue, *args))
            process.start()
            while (told := queue.get(timeout=120))[0] == "yield":
                yield told[1]
            process.join()
            if told[0] == "error":
                raise told[1]

        return call

    return decorate


def main() -> None:
    os.environ["SPACES_ZERO_GPU"] = "1"
    sys.modules["spaces"] = types.SimpleNamespace(GPU=lend)
    from guppy.corpus import Corpus
    from guppy.runs import open_run, send
    from lab import gpu
    from lab.jobs import Jobs
    from lab.orders import Limits, Order
    from tests.lab.tiny import tiny_run

    root, jobs = Path(os.environ["GUPPY_CHECKPOINTS"]), Jobs(Limits(threads=1)).open()
    asked = {"checkpoints": 4, "rows": 300, "batch": 4, "context": 32}
    told: dict[str, Any] = {"durations": DURATIONS, "slice": gpu.SLICE}
    gpu.SLICE, gpu.PERIOD = 0.05, 0.02

    fry = jobs.start(Order(steps=100, **asked))
    told["started"] = [fry, open_run(root / fry).status, len(jobs._workers)]

    corpus = Corpus.from_persona("guppy", rows=300)
    for name, steps in {"one": 60, "left": 30, "right": 30, "long": 1_000_000}.items():
        tiny_run(root / name, corpus, steps)
    told["one"] = list(jobs.drive(["one"]))
    told["twins"] = list(jobs.drive(["left", "right"]))

    gpu.SLICE = 60.0
    told["stopped"], told["meanwhile"] = [], []
    for report in jobs.drive(["long"]):
        told["stopped"].append(report)
        told["meanwhile"].append(jobs.status("long", open_run(root / "long").status))
        if report["step"] > 5:
            send(root / "long", "cool")

    tiny_run(root / "broken", corpus, steps=1)
    manifest = (root / "broken" / "run.json").read_bytes()
    (root / "broken" / "run.json").write_bytes(manifest.replace(b'"sha256": "', b'"sha256": "x'))
    try:
        list(jobs.drive(["broken"]))
    except Exception as error:
        told["error"] = [type(error).__name__, str(error)]
    print(json.dumps(told))


if __name__ == "__main__":
    main()
