"""Files that visitors upload: put on the shelf, and checked by a process of their own before anything is trained."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from guppy import corpora
from guppy.corpus import Corpus
from guppy.errors import GuppyError
from lab import shelf

REPOSITORY = Path(__file__).resolve().parent.parent
LARGEST = 16 * 2**20
"""Bytes of a file."""
SUFFIXES = (".jsonl.gz", ".jsonl", ".json", ".csv", ".parquet", ".txt.gz", ".txt", ".md")
TOKENS = {"bpe": "pieces of words", "char": "characters"}
PATIENCE = 120
LONGEST_NAME = 80


class FileError(GuppyError):
    """What is wrong with a file; `place` says in which, and where."""

    def __init__(self, message: str, file: str, line: str | None) -> None:
        super().__init__(message)
        self.place = {"file": file, "line": line}


def bring(name: str, tokens: str, content: bytes) -> shelf.Entry:
    """Check an uploaded file and keep it, with what was found as `about["checked"]`.

    Args:
        name: what its owner calls it. Its ending says how it is read, nothing else does.
        tokens: "bpe" or "char".

    Raises:
        FileError: it cannot be learned from, with its line; or the shelf is full.
    """
    name = Path(name.replace("\\", "/")).name.strip()[-LONGEST_NAME:] or "file.txt"
    suffix = next((each for each in SUFFIXES if name.lower().endswith(each)), None)
    if suffix is None:
        raise FileError(f"This kind of file is not read here; give one that ends in {', '.join(SUFFIXES)}.", name, None)
    if tokens not in TOKENS:
        raise FileError(f"Tokens are {' or '.join(TOKENS)}.", name, None)
    if not content:
        raise FileError("The file is empty; give one with conversations or text in it.", name, None)
    file = f"rows{suffix}"
    entry = shelf.put("rows", {"name": name, "tokens": tokens, "bytes": len(content)}, file, content, file, tokens)
    if "checked" in entry.about:
        return entry
    try:
        return shelf.note(entry, checked=_check(entry, name))
    except GuppyError:
        shelf.remove(entry)
        raise


def corpus_of(entry: shelf.Entry) -> Corpus:
    """The corpus of an uploaded file. Raises GuppyError when it cannot be made any more."""
    kept = kept_corpus(entry)
    if kept is None:
        _check(entry, entry.name)
        kept = kept_corpus(entry)
    if kept is None:  # it could not be kept
        kept = Corpus.from_path(entry.path, entry.about["tokens"])
    return kept


def kept_corpus(entry: shelf.Entry) -> Corpus | None:
    """The corpus of an uploaded file, if it is at hand."""
    return corpora.find(entry.about.get("checked", {}).get("sha256", ""))


def _check(entry: shelf.Entry, name: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "lab.check_worker", str(entry.path), entry.about["tokens"]]
    try:
        ended = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, timeout=PATIENCE, check=False)
        told = json.loads(ended.stdout)
    except subprocess.TimeoutExpired:
        raise FileError("This file takes too long to read; give a part of it.", name, None) from None
    except ValueError:  # it ended without a word: out of memory, most likely
        raise FileError("This file takes more memory than there is; give a part of it.", name, None) from None
    if "error" in told:
        text = told["error"]
        raise FileError(f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith(".") else "."), name, told["line"])
    return told
