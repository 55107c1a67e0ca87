"""One worker to a run, and how others speak to it. Knows no torch.

The lock is a file that names the process that holds it, pid and time of birth, so that a lock left behind by a
killed worker is known to be nobody's, even after its pid went to someone else. Commands go through `control.json`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

from guppy.errors import GuppyError
from guppy.runs.files import CONTROL, LOCK, UNFINISHED, write_json

Command = Literal["run", "pause", "cool", "stop"]
COMMANDS = get_args(Command)


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold a run for writing. Raises GuppyError when a living process holds it."""
    path, mine = run / LOCK, {"pid": os.getpid(), "born": birth(os.getpid())}
    _acquire(path, mine)
    try:
        yield
    finally:
        if _holder(path) == mine:
            path.unlink(missing_ok=True)


def worker_of(run: Path) -> int | None:
    """The pid of the living process that writes a run, or None."""
    holder = _holder(run / LOCK)
    return holder["pid"] if holder and _alive(holder) else None


def send(run: Path, command: Command) -> None:
    """Tell a run's worker to go on, to wait, to stop after a cool-down, or to stop with its weights as they are; it
    looks about four times a second."""
    write_json(run / CONTROL, {"command": command})


def received(run: Path) -> str | None:
    """The command that waits for the worker, if any."""
    try:
        command = json.loads((run / CONTROL).read_bytes())["command"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return command if command in COMMANDS else None


def clear_command(run: Path) -> None:
    """Forget a command that was meant for an earlier worker."""
    (run / CONTROL).unlink(missing_ok=True)


def birth(pid: int) -> str | None:
    """When a process was born, as the system writes it; None when no such process is alive."""
    if sys.platform == "linux":
        try:
            # The name, in parentheses, may hold anything. After it come the state (field 3) and, as 22nd, starttime.
            fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return None
        return None if fields[0] in "ZX" else f"{boot} {fields[19]}"
    if os.name == "nt":
        query = f"(Get-Process -Id {int(pid)} -ErrorAction Stop).StartTime.Ticks"
        command = ["powershell", "-NoProfile", "-Command", query]
    else:
        command = ["ps", "-o", "stat=,lstart=", "-p", str(int(pid))]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    state, _, born = ("", "", said) if os.name == "nt" else said.partition(" ")
    return None if state.startswith("Z") else born.strip() or None


def _acquire(path: Path, mine: dict[str, object]) -> None:
    # Written beside and linked into place: the lock never exists without its content.
    draft = path.with_name(f"{UNFINISHED}lock-{os.getpid()}")
    draft.write_text(json.dumps(mine))
    try:
        for _ in range(3):
            try:
                _link(draft, path)
                return
            except FileExistsError:
                holder = _holder(path)
                if holder and _alive(holder):
                    message = f"{path.parent} is being trained by process {holder['pid']}; stop that one first."
                    raise GuppyError(message) from None
                _bury(path, holder)
        raise GuppyError(f"{path} changes hands too fast; try again.")
    finally:
        draft.unlink(missing_ok=True)


def _link(draft: Path, path: Path) -> None:
    """Make the lock, unless it is there."""
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: content follows a moment after the name
        with path.open("x") as file:
            file.write(draft.read_text())


def _bury(path: Path, dead: dict[str, object] | None) -> None:
    """Remove a dead worker's lock; but not the one that another has put in its place meanwhile."""
    grave = path.with_name(f"{UNFINISHED}lock-dead-{os.getpid()}")
    try:
        path.rename(grave)
    except FileNotFoundError:
        return
    if _holder(grave) != dead:
        _link(grave, path)
    grave.unlink()


def _holder(path: Path) -> dict[str, object] | None:
    try:
        holder = json.loads(path.read_text())
        return {"pid": int(holder["pid"]), "born": holder["born"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _alive(holder: dict[str, object]) -> bool:
    return birth(holder["pid"]) == holder["born"] is not None
