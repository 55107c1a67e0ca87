"""What visitors wrote or uploaded: kept beside the runs, bounded in size and number, never outside.

    .shelf/own-0123456789abcdef/about.json         what it is
    .shelf/own-0123456789abcdef/persona.yaml       the thing itself, under a name of ours

The id is a hash of the content, so the same thing is kept once. What a run was trained from stays as long as the run,
which can only be resumed with it; of the rest the oldest makes room.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from guppy.errors import GuppyError
from guppy.runs import files, roots

FOLDER = ".shelf"
MOST = 100
LARGEST = 256 * 2**20
"""Bytes of all together."""
_ID = re.compile(r"own-[0-9a-f]{16}")
_ABOUT = "about.json"
_lock = threading.Lock()

Kind = Literal["persona", "rows"]


@dataclass(frozen=True)
class Entry:
    """One thing on the shelf."""

    id: str
    path: Path
    """The persona file, or the file of rows."""
    about: dict[str, Any]

    @property
    def kind(self) -> Kind:
        return self.about["kind"]

    @property
    def name(self) -> str:
        """What its owner calls it; shown, never used as a path."""
        return str(self.about.get("name") or self.id)


def folder() -> Path:
    """Where things are kept: beside a person's own runs."""
    return roots()[0] / FOLDER


def is_id(name: str) -> bool:
    """Whether this is the form of an id."""
    return isinstance(name, str) and _ID.fullmatch(name) is not None


def find(entry_id: str) -> Entry | None:
    """The entry of an id, if it is still here."""
    if not is_id(entry_id):
        return None
    try:
        about = json.loads((folder() / entry_id / _ABOUT).read_text(encoding="utf-8"))
        path = folder() / entry_id / Path(about["file"]).name
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Entry(entry_id, path, about) if path.is_file() else None


def used(entry: Entry) -> None:
    """Note that somebody wants it, so that others make room first."""
    with suppress(OSError):
        (entry.path.parent / _ABOUT).touch()


def id_of(kind: Kind, content: bytes, *also: str) -> str:
    """The id that `put` gives this content; `also` is what else makes it another thing."""
    digest = hashlib.blake2b(json.dumps([kind, *also]).encode(), digest_size=8)
    digest.update(content)
    return f"own-{digest.hexdigest()}"


def put(kind: Kind, about: dict[str, Any], file: str, content: bytes, *also: str) -> Entry:
    """Keep something under a file name of ours. Raises GuppyError when the shelf is full, or cannot be written."""
    entry_id = id_of(kind, content, *also)
    with _lock:
        known = find(entry_id)
        if known is not None and known.path.stat().st_size == len(content):
            used(known)
            return known
        try:
            _make_room(len(content))
            folder().mkdir(parents=True, exist_ok=True)
            with files.whole_directory(folder() / entry_id, replace=True) as draft:
                (draft / file).write_bytes(content)
                files.write_json(draft / _ABOUT, {**about, "kind": kind, "file": file})
        except OSError as error:
            raise GuppyError(f"The lab cannot keep this ({error.strerror}).") from None
    return find(entry_id)


def note(entry: Entry, **more: Any) -> Entry:
    """Write down more about an entry."""
    files.write_json(entry.path.parent / _ABOUT, entry.about | more)
    return find(entry.id)


def remove(entry: Entry) -> None:
    """Take it off the shelf."""
    shutil.rmtree(entry.path.parent, ignore_errors=True)


def _make_room(size: int) -> None:
    here = sorted(folder().glob(f"own-*/{_ABOUT}"), key=lambda path: path.stat().st_mtime)
    sizes = {about.parent: sum(each.stat().st_size for each in about.parent.iterdir()) for about in here}
    in_use = _in_use()
    free = [about.parent for about in here if about.parent.name not in in_use]
    while len(sizes) >= MOST or sum(sizes.values()) + size > LARGEST:
        if not free:
            raise GuppyError("This lab keeps no more data than the runs here need; delete a run on the Train page.")
        oldest = free.pop(0)
        shutil.rmtree(oldest, ignore_errors=True)
        del sizes[oldest]


def _in_use() -> set[str]:
    """The ids that runs were trained from."""
    found = set()
    for manifest in roots()[0].glob(f"*/{files.MANIFEST}"):
        with suppress(OSError):
            found.update(_ID.findall(manifest.read_text(encoding="utf-8", errors="replace")))
    return found
