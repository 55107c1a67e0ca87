"""What is in a character's corpus, counted once and kept: it takes some ten seconds of a core.

One corpus is counted at a time, by a process of its own; pages ask again until it is done.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import Future
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from guppy.errors import GuppyError
from guppy.personas import PERSONAS_DIR
from guppy.runs import files, roots
from lab.characters import source
from lab.orders import Order

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDER = ".counts"
KEPT = 64
ROWS = Order.rows
"""As many conversations as a run learns from unless it is told otherwise, of the same seed."""
NICENESS = 5
PATIENCE = 300
MOST_WAITING = 12

_turn = threading.Lock()
_lock = threading.Lock()
_running: dict[str, Future[dict[str, Any]]] = {}


def counts(name: str, *, leaky: bool = False) -> dict[str, Any] | None:
    """`guppy.report.report` of a character's corpus, split without leaks or, `leaky`, at random; None: it is being
    counted.

    Raises GuppyError when there is no such character, when it cannot be counted, or when too many wait."""
    persona = source(name)
    key = _key(str(persona), leaky)
    with _lock:
        running = _running.get(key)
        if running is not None and not running.done():
            return None
        if running is not None:
            del _running[key]
            return running.result()
        kept = _read(key)
        if kept is None:
            if len(_running) >= MOST_WAITING:
                for each in [each for each, future in _running.items() if future.done()]:
                    del _running[each]
            if len(_running) >= MOST_WAITING:
                raise GuppyError("Many characters are being counted; ask again in a minute.")
            future = _running[key] = Future()
            # A daemon, unlike an executor's threads: a lab that is closed does not wait for it.
            threading.Thread(target=_work, args=(future, str(persona), leaky, key), name="counts", daemon=True).start()
        return kept


def _work(future: Future[dict[str, Any]], *asked: Any) -> None:
    with _turn:
        try:
            future.set_result(_count(*asked))
        except Exception as error:
            future.set_exception(error)


def _count(persona: str, leaky: bool, key: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "guppy", "data", "--persona", persona, "--rows", str(ROWS), "--json"]
    command += ["--leaky"] if leaky else []
    settings = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=REPOSITORY, env=settings, text=True, **pipes) as process:
        with suppress(AttributeError, OSError):  # whoever looks at the lab comes first
            os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
        try:
            told, complaint = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise GuppyError("This character takes too long to count.") from None
    if process.returncode:
        lines = complaint.strip().splitlines() or ["This character cannot be counted."]
        raise GuppyError(lines[-1].replace(persona, "the persona"))
    _write(key, told)
    return json.loads(told)


def _read(key: str) -> dict[str, Any] | None:
    with suppress(OSError, ValueError):
        return json.loads((_folder() / f"{key}.json").read_text(encoding="utf-8"))
    return None


def _write(key: str, text: str) -> None:
    with suppress(OSError):  # it only costs time
        _folder().mkdir(parents=True, exist_ok=True)
        files.write_bytes(_folder() / f"{key}.json", text.encode())
        for old in sorted(_folder().glob("*.json"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
            old.unlink(missing_ok=True)


def _folder() -> Path:
    return roots()[0] / FOLDER


def _key(persona: str, leaky: bool) -> str:
    """A name for the counts of this persona as it is now, by this code."""
    stamps = [(str(path), path.stat().st_mtime_ns) for path in _files(persona)]
    return hashlib.sha256(json.dumps([stamps, ROWS, leaky, _code()]).encode()).hexdigest()[:32]


def _files(persona: str) -> list[Path]:
    if Path(persona).is_absolute():
        return [Path(persona)]
    return sorted(path for path in PERSONAS_DIR.glob("**/*.yaml") if persona in (path.stem, path.parent.name))


@lru_cache(maxsize=1)
def _code() -> str:
    digest = hashlib.sha256()
    for path in sorted((REPOSITORY / "guppy").glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
