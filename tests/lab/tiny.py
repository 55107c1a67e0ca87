"""Runs small enough to be trained in a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from guppy.config import ModelConfig, TrainConfig
from guppy.corpus import Corpus
from guppy.runs import Run, create_run

SHAPE = {"n_ctx": 64, "n_layers": 2, "n_heads": 2, "d_model": 16, "d_mlp": 32}
TRAINING = {"batch_size": 4, "heldout_rows": 8, "sample_tokens": 4}


def tiny_run(path: Path, corpus: Corpus, steps: int, *, checkpoints: int = 3, **options: Any) -> Run:
    """A queued run of a tiny model, for one thread."""
    model = ModelConfig(vocab_size=corpus.tokenizer.padded_vocab_size, **SHAPE)
    config = TrainConfig(steps=steps, checkpoints=checkpoints, **TRAINING)
    return create_run(path, model=model, train=config, corpus=corpus, threads=1, **options)
