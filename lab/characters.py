"""Characters as the Data page shows them: what they are, what they say. Drawn by processes of their own."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from guppy.errors import GuppyError
from guppy.personas import list_personas
from lab import shelf

REPOSITORY = Path(__file__).resolve().parent.parent
WORKERS = 2
PATIENCE = 8.0
"""Seconds that one answer may take; the largest persona that may be written takes one."""
MOST_SAMPLES = 24
MOST_CHARACTERS = 200_000
"""Of a written persona, in bytes of UTF-8."""


class PersonaError(GuppyError):
    """What is wrong with a written persona; `place` says in which line."""

    def __init__(self, message: str, line: int | None) -> None:
        super().__init__(message)
        self.place = {"line": line}


class _Worker:
    """A process that draws. One request at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """Its answer; None if it gave none in time, or ended."""
        process = self._process
        if process is None or process.poll() is not None:
            command = [sys.executable, "-m", "lab.draw_worker"]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            process = self._process = subprocess.Popen(command, cwd=REPOSITORY, **pipes)
        timer = threading.Timer(PATIENCE, process.kill)
        timer.start()
        line = b""
        with suppress(OSError):
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        timer.cancel()
        if not line.endswith(b"\n"):
            process.kill()
            process.wait()  # so that the next request finds it gone
            return None
        return json.loads(line)


@lru_cache(maxsize=1)
def _workers() -> queue.Queue[_Worker]:
    """Those that have nothing to do."""
    idle: queue.LifoQueue[_Worker] = queue.LifoQueue()  # the one used last has the most at hand
    for _ in range(WORKERS):
        idle.put(_Worker())
    return idle


def _ask(request: dict[str, Any]) -> dict[str, Any]:
    idle = _workers()
    worker = idle.get()
    try:
        answer = worker.ask(request)
    finally:
        idle.put(worker)
    if answer is None:
        raise PersonaError("This persona takes too long to draw from; make it smaller.", None)
    if "error" in answer:
        raise PersonaError(_sentence(answer["error"]), answer["line"])
    return answer


def describe(name: str, *, count: int = 12, seed: int = 0, topic: str | None = None) -> dict[str, Any]:
    """`about` and `samples` of a persona that came with the lab, or of a written one by its id.

    Raises GuppyError when there is none, or no such topic in it."""
    count, seed = min(max(count, 0), MOST_SAMPLES), abs(seed) % 2**31
    asked = {"persona": str(source(name)), "count": count, "seed": seed}
    return _ask(asked | ({} if topic is None else {"topic": topic}))


def preview(text: str, *, count: int = 8, seed: int = 0, split: bool = False) -> dict[str, Any]:
    """`about` and `samples` of a persona that is being written.

    Raises PersonaError, with its line, on a mistake; with `split` also when nothing of it could be held out."""
    if not text.strip():
        raise PersonaError("Nothing is written yet; a persona needs a name and topics.", None)
    if len(text.encode("utf-8", "surrogatepass")) > MOST_CHARACTERS:
        raise PersonaError(f"A persona may have up to {MOST_CHARACTERS // 1000} kB; this is longer.", None)
    count, seed = min(max(count, 0), MOST_SAMPLES), abs(seed) % 2**31
    return _ask({"text": text, "count": count, "seed": seed, "split": split})


def keep(text: str) -> shelf.Entry:
    """Put a written persona on the shelf, once it can be trained on. Raises GuppyError as `preview` does."""
    name = preview(text, count=0, split=True)["about"]["name"]
    return shelf.put("persona", {"name": name}, "persona.yaml", text.encode("utf-8", "surrogatepass"))


def source(name: str) -> str | Path:
    """What `load_persona` takes for a character's name or id. Raises GuppyError when there is none."""
    if name in list_personas():
        return name
    entry = shelf.find(name)
    if entry is None or entry.kind != "persona":
        raise GuppyError(f"There is no character {name[:80]!r} here.")
    return entry.path


def _sentence(text: str) -> str:
    """With a capital and a full stop, which the library's messages go without."""
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "?", "!")) else f"{text}."
