"""A lab in a process of its own, as a person starts it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass
class Server:
    """A running lab."""

    url: str
    root: Path
    process: subprocess.Popen[bytes]
    log: Path

    def output(self) -> str:
        return self.log.read_text(errors="replace")


@contextlib.contextmanager
def serving(root: Path, log: Path, **environment: str) -> Iterator[Server]:
    """`python app.py` on a free port with `root` as the folder of one's own runs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {**os.environ, "GUPPY_CHECKPOINTS": str(root), "PORT": str(port), **environment}
    with log.open("wb") as out:
        command = [sys.executable, str(REPOSITORY / "app.py")]
        process = subprocess.Popen(command, cwd=REPOSITORY, env=settings, stdout=out, stderr=subprocess.STDOUT)
    server = Server(f"http://127.0.0.1:{port}/", root, process, log)
    try:
        _wait_until_open(server)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_until_open(server: Server, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if server.process.poll() is not None:
            raise RuntimeError(f"The lab did not start:\n{server.output()}")
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{server.url}lab/runs", timeout=5):
            return
        time.sleep(0.1)
    raise RuntimeError(f"The lab did not open in {seconds} s:\n{server.output()}")
