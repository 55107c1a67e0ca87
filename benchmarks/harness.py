"""What the benchmarks' command lines share: mistakes in one line, and parts measured in processes of their own.

So each part has a peak of memory, an allocator and warm kernels of its own, and none profits from the one before.
"""

from __future__ import annotations

import argparse
import multiprocessing
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NoReturn, TypeVar

from guppy.errors import GuppyError

Result = TypeVar("Result")
Say = Callable[[str], None]

INTERRUPTED, TERMINATED = 130, 143


class Parser(argparse.ArgumentParser):
    """An argparse parser whose complaint is a GuppyError, one line."""

    def error(self, message: str) -> NoReturn:
        raise GuppyError(f"{message}; see --help")


def run_main(main: Callable[[], None]) -> None:
    """Run a command. What a person can mend is one line on stderr and exit code 1; Ctrl-C ends it quietly."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        main()
    except GuppyError as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)


def measure(part: Callable[..., Result], *arguments: Any, say: Say) -> Result:
    """Call `part(*arguments, say)` in a new process and return what it returns.

    Args:
        part: a function of a module; it, its arguments and its result have to be picklable.
        say: called here with each line that the part says as it goes.

    Raises:
        GuppyError: as the part raises it, or because its process ended before it was done.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(part, arguments, sender))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: Ctrl-C is for this process, which ends the other
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, before)
    sender.close()
    try:
        while True:
            kind, value = receiver.recv()
            if kind == "done":
                return value
            if kind == "error":
                raise GuppyError(value)
            say(value)
    except EOFError:
        process.join()
        what = f"{part.__module__}.{part.__name__}"
        raise GuppyError(f"the process of {what} ended with exit code {process.exitcode} before it was done") from None
    finally:
        process.terminate()
        process.join()
        receiver.close()


def _child(part: Callable[..., Any], arguments: tuple[Any, ...], sender: Connection) -> None:
    try:
        value = part(*arguments, lambda line: sender.send(("line", line)))
    except GuppyError as error:
        sender.send(("error", str(error)))
    else:
        sender.send(("done", value))
