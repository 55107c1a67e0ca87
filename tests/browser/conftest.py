"""A real Chromium on a real lab: `python app.py` in a process of its own, over runs trained here in seconds."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from driving import WIDE
from playwright.sync_api import Browser, Page, expect, sync_playwright
from serving import Server, serving

from guppy.config import TrainConfig, preset
from guppy.corpus import Corpus
from guppy.runs import create_run, fork, train_run
from guppy.surgery import Surgery

# Other work may share the machine: patience costs a passing test nothing.
expect.set_options(timeout=20_000)


@pytest.fixture(scope="session")
def runs_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two finished runs: `tiny` (a fry, 40 steps, 24 checkpoints) and its fork `tiny-nomask`."""
    root = tmp_path_factory.mktemp("checkpoints")
    corpus = Corpus.from_persona("guppy", rows=2000)
    model = preset("fry", corpus.tokenizer.padded_vocab_size)
    config = TrainConfig(steps=40, batch_size=8, checkpoints=24, heldout_rows=8, sample_tokens=4)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        tiny = train_run(create_run(root / "tiny", model=model, train=config, corpus=corpus, threads=1))
        unmasked = Surgery(causal_mask=False)
        train_run(fork(tiny, 4, out=root / "tiny-nomask", surgery=unmasked, steps=6, checkpoints=4))
    finally:
        torch.set_num_threads(before)
    return root


@pytest.fixture(scope="session")
def lab(runs_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One lab for the session, over `runs_root`."""
    with serving(runs_root, tmp_path_factory.mktemp("lab") / "lab.log") as server:
        yield server


# Not for the session: while playwright is open, asyncio.run() fails in every test that comes after.
@pytest.fixture(scope="session")
def workshop(runs_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Another lab, over a copy of `runs_root`, for tests that start and delete runs."""
    root = tmp_path_factory.mktemp("workshop") / "checkpoints"
    shutil.copytree(runs_root, root)
    with serving(root, root.with_name("lab.log")) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    path = os.environ.get("CHROMIUM_PATH") or next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.fail("The browser tests need Chromium: `make test` finds or installs one, or set CHROMIUM_PATH.")
    with sync_playwright() as playwright:
        # Chromium's sandbox does not start for root; nothing but the lab itself is opened here.
        running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


@dataclass
class Console:
    """What a page complained about. `allow(pattern)` names what a test provokes on purpose."""

    errors: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)

    def allow(self, pattern: str) -> None:
        self.allowed.append(pattern)

    def unexpected(self) -> list[str]:
        return [error for error in self.errors if not any(re.search(pattern, error) for pattern in self.allowed)]

    def listen(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.errors.append(f"uncaught: {error}"))
        page.on("console", lambda line: self.errors.append(line.text) if line.type == "error" else None)


@pytest.fixture
def console() -> Console:
    return Console()


@pytest.fixture
def new_page(browser: Browser, console: Console) -> Iterator[Callable[..., Page]]:
    """Open pages: new_page(viewport=…, color_scheme=…, has_touch=…). Fails when one of them logs an error."""
    contexts = []

    def open_page(**options: object) -> Page:
        context = browser.new_context(**{"viewport": WIDE, **options})
        contexts.append(context)
        page = context.new_page()
        console.listen(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not console.unexpected(), console.unexpected()


@pytest.fixture
def page(new_page: Callable[..., Page]) -> Page:
    """One page on a laptop's screen."""
    return new_page()
