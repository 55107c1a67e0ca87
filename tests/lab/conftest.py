"""A folder of runs, trained here in a second by the real code."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from starlette.applications import Starlette
from starlette.testclient import TestClient

from guppy.config import ModelConfig, TrainConfig
from guppy.corpus import Corpus
from guppy.runs import create_run, train_run
from guppy.surgery import Surgery

SHAPE = {"n_ctx": 64, "n_layers": 2, "n_heads": 2, "d_model": 16, "d_mlp": 32}


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    return Corpus.from_persona("guppy", rows=600)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, corpus: Corpus) -> Path:
    """`tiny`, 8 steps, and `open`, the same without its causal mask. Copied for each test that changes them."""
    root = tmp_path_factory.mktemp("runs")
    threads = torch.get_num_threads()
    model = ModelConfig(vocab_size=corpus.tokenizer.padded_vocab_size, **SHAPE)
    config = TrainConfig(steps=8, batch_size=4, checkpoints=5, heldout_rows=8, sample_tokens=4)
    for name, surgery in (("tiny", Surgery()), ("open", Surgery(causal_mask=False))):
        train_run(create_run(root / name, model=model, train=config, corpus=corpus, surgery=surgery, threads=1))
    torch.set_num_threads(threads)
    return root


@pytest.fixture
def root(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person's own folder of runs with a fresh copy of the trained ones."""
    shutil.copytree(trained, tmp_path / "runs")
    monkeypatch.setenv("GUPPY_CHECKPOINTS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def client(root: Path) -> Iterator[TestClient]:
    from lab import api

    with TestClient(Starlette(routes=api.ROUTES), raise_server_exceptions=False) as client:
        yield client
