"""The files of a run: written whole or not at all, read with suspicion. Knows no torch.

JSON documents are replaced, rows of JSON are appended. A reader never sees half of a document, and ignores a last
row that is not finished yet.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from guppy.errors import GuppyError

MANIFEST, TOKENIZER = "run.json", "tokenizer.json"
METRICS, SAMPLES, SCORES = "metrics.jsonl", "samples.jsonl", "scores.json"
CONTROL, LOCK, STEPS = "control.json", "worker.lock", "steps"
WEIGHTS, TRAINER_TENSORS, TRAINER = "model.safetensors", "trainer.safetensors", "trainer.json"
# What is being written has this prefix; what a killed writer left behind is known by it.
UNFINISHED = ".unfinished-"


def write_bytes(path: Path, data: bytes) -> None:
    """Replace a file by another as one event: a reader, or a power cut, finds the old one or the new one."""
    handle, name = tempfile.mkstemp(prefix=UNFINISHED, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            sync(file)
        os.chmod(name, 0o644)  # mkstemp's files are for their owner only; a run is for whoever reads the folder
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON document as one event."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


@contextmanager
def whole_directory(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """A new directory to fill; at the end of the block it takes the name `path`, or on an error it is gone.

    One that has the name already is replaced if so wished. Raises OSError, such as on a full disk, as usual."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=path.parent))
    old = draft.with_name(draft.name + "-old")
    try:
        draft.chmod(0o755)
        yield draft
        if replace and path.exists():
            path.rename(old)
        draft.rename(path)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    sync_directory(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def disk_error(error: OSError, path: Path) -> GuppyError:
    """What a person should know when a run cannot be written."""
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return GuppyError(f"The disk is full, so {path.name} could not be written; free some space and try again.")
    return GuppyError(f"{path} cannot be written ({error.strerror or error}); mend that and try again.")


def read_json(path: Path, mend: str) -> dict[str, Any]:
    """A JSON object. Raises GuppyError, which ends in `mend`, when it is missing or is something else."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise GuppyError(f"{path} is missing; {mend}.") from None
    except (OSError, ValueError) as error:
        raise GuppyError(f"{path} cannot be read ({_reason(error)}); {mend}.") from None
    if not isinstance(value, dict):
        raise GuppyError(f"{path} is not a JSON object; {mend}.")
    return value


def sync_directory(path: Path) -> None:
    """Make renames in a directory last through a power cut, where the system lets a directory be opened."""
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync(file: BinaryIO) -> None:
    """Wait until what was written to an open file is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def row_bytes(row: dict[str, Any]) -> bytes:
    """A row as one line of JSON. Raises ValueError on a number that JSON does not have."""
    return (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_rows(path: Path, cursor: str = "") -> tuple[list[dict[str, Any]], str, bool]:
    """The finished rows after a cursor ("": from the beginning).

    Returns:
        The rows; the cursor after them; and whether they begin anew, because the file was replaced since (a resumed
        run drops the rows after its checkpoint) or the cursor is none. A missing file has no rows; a line that is no
        JSON object is left out.
    """
    try:
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())
            inode, _, offset = cursor.partition(":")
            known = inode == str(stat.st_ino) and offset.isdecimal() and int(offset) <= stat.st_size
            begin = int(offset) if known else 0
            file.seek(begin)
            data = file.read()
    except FileNotFoundError:
        return [], "", True
    finished = data[: data.rfind(b"\n") + 1]
    rows = [row for line in finished.splitlines() if (row := _row(line)) is not None]
    return rows, f"{stat.st_ino}:{begin + len(finished)}", not known


def drop_rows(path: Path, last_step: int) -> None:
    """Keep only rows up to a step, and no half-written one."""
    rows, _, _ = read_rows(path)
    kept = [row for row in rows if row.get("step", 0) <= last_step]
    text = b"".join(map(row_bytes, kept))
    if not path.exists() or path.read_bytes() != text:
        write_bytes(path, text)


def step_path(run: Path, step: int) -> Path:
    """The folder of a checkpoint: <run>/steps/000512."""
    return run / STEPS / f"{step:06d}"


def steps_in(run: Path) -> list[int]:
    """The steps whose checkpoints are there, in order."""
    try:
        entries = list((run / STEPS).iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(int(e.name) for e in entries if e.name.isdecimal() and (e / WEIGHTS).exists())


def drop_steps(run: Path, last_step: int) -> None:
    """Keep only the checkpoints up to a step."""
    for step in steps_in(run):
        if step > last_step:
            # Gone for every reader at once; then file by file.
            gone = run / STEPS / f"{UNFINISHED}dropped-{step}"
            step_path(run, step).rename(gone)
            shutil.rmtree(gone)


def clear_unfinished(run: Path) -> None:
    """Remove what a killed writer left half-written. Only for the one who holds the run's lock."""
    for folder in (run, run / STEPS, *(step_path(run, step) for step in steps_in(run))):
        for leftover in folder.glob(UNFINISHED + "*") if folder.is_dir() else ():
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "it is no valid JSON"
