"""A pond is too small for a fish, but real: a corpus of a few hundred rows and a network that learns it in seconds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from guppy.config import ModelConfig, TrainConfig
from guppy.corpus import Corpus
from guppy.events import Checkpoint, Event
from guppy.runs import Run, create_run
from guppy.train import train

COLOURS = ["red", "blue", "green", "gold", "black", "white", "grey", "pink"]
THINGS = ["snail", "plant", "stone", "light", "bubble", "flake", "net", "glass", "pump", "moon", "leaf", "sand"]


def write_pairs(path: Path, rows: int = 400) -> Path:
    lines = []
    for i in range(rows):
        colour, thing = COLOURS[i % 8], THINGS[i // 8 % 12]
        lines.append({"input": f"is the {thing} {colour}, {i}?", "output": f"i see {i} {colour} {thing}s."})
    path.write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    return path


def make_corpus(folder: Path) -> Corpus:
    return Corpus.from_path(write_pairs(folder / "pairs.jsonl"), "char")


def model_config(corpus: Corpus, **changes: Any) -> ModelConfig:
    sizes = {"n_ctx": 24, "n_layers": 2, "n_heads": 2, "d_model": 16, "d_mlp": 32}
    return ModelConfig(corpus.tokenizer.padded_vocab_size, **{**sizes, **changes})


def train_config(**changes: Any) -> TrainConfig:
    settings = {"batch_size": 8, "checkpoints": 6, "heldout_rows": 8, "sample_tokens": 4}
    settings |= {"dtype": "float32", "lr": 3e-3}
    if not {"tokens", "max_seconds"} & set(changes):
        settings["steps"] = 20
    return TrainConfig(**{**settings, **changes})


def make_run(
    path: Path, corpus: Corpus, *, surgery: Any = None, model: dict[str, Any] | None = None, **train: Any
) -> Run:
    """A queued run."""
    settings = {key: train.pop(key) for key in ("keep_trainer", "threads", "name", "notes") if key in train}
    return create_run(
        path,
        model=model_config(corpus, **(model or {})),
        train=train_config(**train),
        corpus=corpus,
        surgery=surgery,
        device="cpu",
        **{"threads": 1, **settings},
    )


def events_of(
    corpus: Corpus, config: TrainConfig, *, model: dict[str, Any] | None = None, **more: Any
) -> Iterator[Event]:
    return train(model_config(corpus, **(model or {})), config, corpus, device="cpu", **more)


def checkpoints_of(events: Iterator[Event]) -> dict[int, Checkpoint]:
    return {event.step: event for event in events if isinstance(event, Checkpoint)}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of tensors are equal bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
