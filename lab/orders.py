"""What a person asks to be trained, checked, and made into a run."""

from __future__ import annotations

import math
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from guppy import corpora
from guppy.config import ModelConfig, TrainConfig, preset
from guppy.corpus import Corpus
from guppy.errors import GuppyError
from guppy.personas import list_personas
from guppy.runs import Run, create_run, roots
from guppy.surgery import Surgery
from lab import bringing, shelf

REPOSITORY = Path(__file__).resolve().parent.parent
NO_MASK = "no-causal-mask"
# The logits of a larger batch alone would take half a gigabyte, and their gradients as much again.
LARGEST_BATCH = 65_536
LARGEST_CORPUS = 200_000


@dataclass(frozen=True)
class Limits:
    """What one lab allows. A Space is shared by strangers on two cores, so it allows less."""

    max_seconds: int = field(default_factory=lambda: _setting("GUPPY_MAX_SECONDS", 7200, 300))
    """Training time of one run, pauses not counted."""
    max_runs: int = field(default_factory=lambda: _setting("GUPPY_MAX_RUNS", 200, 40))
    """Runs on disk beside the bundled ones."""
    max_jobs: int = field(default_factory=lambda: _setting("GUPPY_MAX_JOBS", 2, 2))
    """Workers at once."""
    max_queue: int = field(default_factory=lambda: _setting("GUPPY_MAX_QUEUE", 20, 8))
    """Runs that wait for a worker."""
    threads: int = field(default_factory=lambda: _setting("GUPPY_THREADS", os.cpu_count() or 1, os.cpu_count() or 1))
    """CPU threads of all workers together."""


def _setting(name: str, here: int, on_a_space: int) -> int:
    """A whole number from the environment. Raises GuppyError when it is something else."""
    text = os.environ.get(name, "")
    if not text:
        return on_a_space if "SPACE_ID" in os.environ else here
    if not (text.isdecimal() and int(text) >= 1):
        raise GuppyError(f"{name} must be a whole number of at least 1, not {text!r}.")
    return int(text)


@dataclass(frozen=True)
class Order:
    """One run to be trained. Raises GuppyError on a setting that cannot be; its budget is `seconds` or `steps`."""

    size: str = "fry"
    persona: str = "guppy"
    data: str | None = None
    """What a visitor wrote or uploaded, by its id on the shelf (`lab.shelf`), instead of the persona."""
    seconds: float | None = None
    steps: int | None = None
    surgery: str = ""
    """In the command line's names, separated by commas."""
    seed: int = 0
    context: int = 128
    lr: float | None = None
    """None: chosen by the model's width, as batch is."""
    batch: int | None = None
    rows: int = 60_000
    """Conversations, training and held-out ones together."""
    checkpoints: int = TrainConfig.checkpoints

    def __post_init__(self) -> None:
        for name in ("steps", "seed", "context", "batch", "rows"):
            value = getattr(self, name)
            if value is not None:
                # Browsers send 3.0 for 3, and 3.5 where somebody typed it.
                _require(math.isfinite(value) and value == int(value), f"{name} must be a whole number, not {value}.")
                object.__setattr__(self, name, int(value))
        _require(self.persona in list_personas(), f"There is no persona {self.persona!r} here.")
        _require(self.data is None or shelf.find(self.data), "This data is no longer here; write or upload it again.")
        _require(0 <= self.seed < 2**31, f"seed must be from 0 to {2**31 - 1}, not {self.seed}.")
        _require(8 <= self.context <= 1024, f"context must be from 8 to 1024 tokens, not {self.context}.")
        _require(self.batch is None or self.batch >= 1, f"batch must be at least 1, not {self.batch}.")
        _require(100 <= self.rows <= LARGEST_CORPUS, f"rows must be from 100 to {LARGEST_CORPUS}, not {self.rows}.")
        _require(self.lr is None or math.isfinite(self.lr), f"lr must be a number, not {self.lr}.")
        _require(self.steps is None or 1 <= self.steps <= 1_000_000, "steps must be from 1 to 1,000,000.")
        largest = LARGEST_BATCH // self.context
        chosen = self.train_config().for_model(self.model_config(vocab_size=64)).batch_size
        _require(chosen <= largest, f"With a context of {self.context} a batch may have up to {largest} rows.")
        self.parsed_surgery()

    def train_config(self) -> TrainConfig:
        return TrainConfig(
            steps=self.steps,
            max_seconds=self.seconds,
            seed=self.seed,
            lr=self.lr,
            batch_size=self.batch,
            checkpoints=self.checkpoints,
        )

    def model_config(self, vocab_size: int) -> ModelConfig:
        return preset(self.size, vocab_size, n_ctx=self.context)

    def parsed_surgery(self) -> Surgery:
        shape = self.model_config(vocab_size=64)
        return Surgery.parse(self.surgery, shape.n_layers, shape.n_heads)

    def check(self, limits: Limits) -> None:
        """Raise GuppyError when it asks for more than this lab allows."""
        allowed = limits.max_seconds
        _require(
            self.seconds is None or self.seconds <= allowed,
            f"This lab trains a run for up to {allowed} s; ask for less.",
        )

    def source(self) -> str:
        """The persona's name, or the path of what a visitor wrote or uploaded."""
        return self.persona if self.data is None else str(self._entry().path)

    @property
    def learns(self) -> str:
        """What people call what it learns."""
        return self.persona if self.data is None else self._entry().name

    def _entry(self) -> shelf.Entry:
        entry = shelf.find(self.data or "")
        _require(entry is not None, "This data is no longer here; write or upload it again.")
        return entry

    @property
    def uploaded(self) -> shelf.Entry | None:
        """The file of rows that it is to learn, if it learns one."""
        entry = None if self.data is None else self._entry()
        return entry if entry is not None and entry.kind == "rows" else None

    def command(self, out: str) -> str:
        """The same run from the command line."""
        budget = f"--steps {self.steps}" if self.steps else f"--max-seconds {self.seconds:g}"
        uploaded = self.uploaded
        kind = "persona" if uploaded is None else "data"
        source = shlex.quote(self.source())
        words = [f"python -m guppy train --size {self.size} --{kind} {source} --seed {self.seed} {budget}"]
        if uploaded is not None and uploaded.about["tokens"] != "bpe":
            words.append(f"--tokenizer {uploaded.about['tokens']}")
        for name in ("surgery", "context", "lr", "batch", "rows", "checkpoints"):
            value = getattr(self, name)
            if value != getattr(Order, name):
                words.append(f"--{name} {value}")
        return " ".join([*words, f"--out {out}"])


def twins(order: Order) -> tuple[Order, Order]:
    """Two orders that differ in nothing but the causal mask, which the second lacks."""
    return order, replace(order, surgery=",".join(filter(None, [order.surgery, NO_MASK])))


def make_run(order: Order, run_id: str, *, name: str = "", threads: int | None = None) -> Run:
    """Write the run of an order, queued. Raises GuppyError when its corpus cannot be made."""
    corpus = make_corpus(order)
    surgery, who = order.parsed_surgery(), order.learns
    return create_run(
        roots()[0] / run_id,
        model=order.model_config(corpus.tokenizer.padded_vocab_size),
        train=order.train_config(),
        corpus=corpus,
        surgery=surgery,
        threads=threads,
        name=name or " · ".join(filter(None, [run_id, "" if who == Order.persona else who, surgery.description])),
        notes=order.command(run_id),
    )


def has_corpus(order: Order) -> bool:
    """Whether the order's corpus is kept from an earlier run, rather than to be made, which takes seconds."""
    return _kept(order) is not None


def make_corpus(order: Order) -> Corpus:
    """The order's corpus. One that was never made is made by another process: it takes seconds of pure computing,
    in which this one would answer nobody."""
    if order.uploaded is not None:
        return bringing.corpus_of(order.uploaded)
    kept = _kept(order)
    if kept is not None:
        return kept
    asked = (order.source(), order.rows, order.seed)
    command = [sys.executable, "-m", "guppy.corpora", *map(str, asked)]
    made = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if made.returncode:
        raise GuppyError(made.stderr.strip().splitlines()[-1] if made.stderr.strip() else "The data cannot be made.")
    return corpora.from_persona(*asked)


def _kept(order: Order) -> Corpus | None:
    if order.uploaded is not None:
        return bringing.kept_corpus(order.uploaded)
    return corpora.find_persona(order.source(), order.rows, order.seed)


def free_number(pattern: str) -> int:
    """The smallest number from 1 that makes a new run id of each of the pattern's forms, such as "fry-{}"."""
    taken = {path.name for root in roots() if root.is_dir() for path in root.iterdir()}
    number = 1
    while any(name == pattern.format(number) or name.startswith(pattern.format(number) + "-") for name in taken):
        number += 1
    return number


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise GuppyError(message)
