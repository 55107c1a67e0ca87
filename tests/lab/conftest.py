"""A folder of runs, trained here in a second by the real code."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from starlette.applications import Starlette
from starlette.testclient import TestClient

from guppy.corpus import Corpus
from guppy.runs import train_run
from guppy.surgery import Surgery
from tests.lab.tiny import tiny_run


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    return Corpus.from_persona("guppy", rows=600)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, corpus: Corpus) -> Path:
    """`tiny`, 8 steps, and `open`, the same without its causal mask. Copied for each test that changes them."""
    root = tmp_path_factory.mktemp("runs")
    threads = torch.get_num_threads()
    for name, surgery in (("tiny", Surgery()), ("open", Surgery(causal_mask=False))):
        train_run(tiny_run(root / name, corpus, steps=8, checkpoints=5, surgery=surgery))
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
