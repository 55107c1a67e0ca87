"""Corpora kept on disk: a persona is drawn, split and encoded once, not again at every start of a run.

A file is named after the corpus's own hash and checked against it when it is read, so a kept corpus is the corpus or
nothing. Keeping is a convenience: a folder that cannot be written, or was emptied, costs only time.
"""

from __future__ import annotations

import hashlib
import json
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import safetensors
import tokenizers
from safetensors.numpy import save

from guppy import personas
from guppy.batches import Split
from guppy.corpus import PROBES_FILE, Corpus
from guppy.errors import GuppyError
from guppy.runs.files import write_bytes
from guppy.runs.read import roots
from guppy.tokenizer import Tokenizer

FOLDER = ".corpora"
KEPT = 8
# What a corpus is made by: a change to any of these may make another one of the same persona, rows and seed.
_MAKERS = (
    "batches", "corpus", "draws", "grammar", "personas", "rows", "splits", "templates", "tokenizer", "yaml_lines"
)  # fmt: skip


def folder() -> Path:
    """Where corpora are kept: beside a person's own runs."""
    return roots()[0] / FOLDER


def find(sha256: str) -> Corpus | None:
    """The corpus of that hash, if it is kept and whole."""
    path = folder() / f"{sha256}.safetensors"
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            told = json.loads(file.metadata()["corpus"])
            splits = {
                name: Split(file.get_tensor(f"{name}.tokens"), file.get_tensor(f"{name}.offsets"), categories)
                for name, categories in told["categories"].items()
            }
        tokenizer = Tokenizer.load(path.with_suffix(".json"))
        corpus = Corpus(
            told["name"],
            tokenizer,
            splits["train"],
            splits["heldout"],
            told["probes"],
            told["origin"],
            splits.get("composed"),
            told["nats"],
        )
    except Exception:  # whatever is wrong with the file, the corpus can be made again
        return None
    if corpus.sha256 != sha256:
        return None
    with suppress(OSError):
        path.touch()
    return corpus


def keep(corpus: Corpus) -> None:
    """Write a corpus; of many, only the ones used last stay."""
    arrays = {f"{name}.tokens": split.tokens for name, split in corpus.splits.items()}
    arrays |= {f"{name}.offsets": split.offsets for name, split in corpus.splits.items()}
    told = {
        "name": corpus.name,
        "probes": corpus.probes,
        "origin": corpus.describe(),
        "nats": corpus.nats,
        "categories": {name: split.categories for name, split in corpus.splits.items()},
    }
    with suppress(OSError):
        folder().mkdir(parents=True, exist_ok=True)
        arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        path = folder() / f"{corpus.sha256}.safetensors"
        corpus.tokenizer.save(path.with_suffix(".json"))
        write_bytes(path, save(arrays, {"corpus": json.dumps(told)}))
        by_use = sorted(folder().glob("*.safetensors"), key=lambda path: path.stat().st_mtime)
        for old in by_use[:-KEPT]:
            old.unlink(missing_ok=True)
            old.with_suffix(".json").unlink(missing_ok=True)


def find_persona(name: str, rows: int, seed: int) -> Corpus | None:
    """`Corpus.from_persona(name, rows, seed)`, if it was made before by the same code from the same persona."""
    try:
        sha256 = (folder() / _recipe(name, rows, seed)).read_text(encoding="ascii").strip()
    except OSError:
        return None
    return find(sha256)


def from_persona(name: str, rows: int, seed: int) -> Corpus:
    """`Corpus.from_persona(name, rows, seed)`, kept for the next time. Raises GuppyError as that does."""
    corpus = find_persona(name, rows, seed)
    if corpus is None:
        corpus = Corpus.from_persona(name, rows, seed)
        keep(corpus)
        with suppress(OSError):
            write_bytes(folder() / _recipe(name, rows, seed), corpus.sha256.encode())
    return corpus


def _recipe(name: str, rows: int, seed: int) -> str:
    """A file name for how a corpus is made: what is asked for, the persona's own file, and the code."""
    here = Path(__file__).parent
    sources = [*personas.load_persona(name).files, PROBES_FILE, *(here / f"{maker}.py" for maker in _MAKERS)]
    digest = hashlib.sha256(json.dumps([name, rows, seed, tokenizers.__version__]).encode())
    for source in sources:
        digest.update(hashlib.sha256(source.read_bytes()).digest())
    return f"{digest.hexdigest()[:32]}.recipe"


if __name__ == "__main__":
    try:
        from_persona(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    except GuppyError as error:
        sys.exit(str(error))
