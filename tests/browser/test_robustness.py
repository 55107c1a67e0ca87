"""What people and machines do wrong: each gets a sentence, nothing is lost, the lab stays up."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Console, Server, serving
from driving import ready
from playwright.sync_api import Page, expect

from guppy.corpus import Corpus
from guppy.runs import files, open_run, worker_of
from tests.lab.tiny import tiny_run

STATUS = ".lab-live .lab-status"
POINTS = "+document.querySelector('.lab-live canvas')?.dataset.points"


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus.from_persona("guppy", rows=600)


@pytest.mark.parametrize(
    "prompt",
    ["", "\x00\x07\u202e\ud800", "<script>document.title='broken into'</script>", "water " * 17_000],
    ids=["empty", "control", "html", "100kB"],
)
def test_any_prompt_is_answered_at_every_step(page: Page, lab: Server, prompt: str):
    page.goto(f"{lab.url}?page=talk&run=tiny")
    ready(page)
    page.evaluate("prompt => lab.set({ prompt })", prompt)
    page.wait_for_function("document.querySelectorAll('.lab-replies tr[data-step]').length === lab.run().steps.length")
    expect(page.locator(".lab-replies tr.pending")).to_have_count(0, timeout=30_000)
    expect(page.locator(".lab-trouble")).to_have_count(0)
    assert "broken" not in page.title()


def test_a_damaged_checkpoint_is_told_in_its_row_and_the_others_answer(page: Page, workshop: Server, console: Console):
    console.allow("400")
    shutil.copytree(workshop.root / "tiny-nomask", workshop.root / "damaged")
    run = open_run(workshop.root / "damaged")
    path = run.step_path(run.steps[1]) / files.WEIGHTS
    path.write_bytes(path.read_bytes()[:1000])
    try:
        page.goto(f"{workshop.url}?page=talk&run=damaged")
        ready(page)
        page.wait_for_function("document.querySelectorAll('.lab-replies tr[data-step]').length > 2")
        expect(page.locator(".lab-replies tr.pending")).to_have_count(0)
        trouble = page.locator(".lab-trouble")
        expect(trouble).to_have_count(1)
        expect(trouble).to_contain_text("can still be opened")
        assert page.locator(".lab-replies .lab-reply").count() == len(run.steps) - 1
    finally:
        shutil.rmtree(workshop.root / "damaged")


def test_a_run_from_the_future_is_listed_and_harms_nobody(page: Page, workshop: Server):
    folder = workshop.root / "future"
    folder.mkdir()
    (folder / files.MANIFEST).write_text('{"format": 2, "name": "<b>future</b>"}')
    try:
        page.goto(f"{workshop.url}?page=train&run=tiny")
        ready(page)
        option = page.locator("#lab-run option[value=future]")
        expect(option).to_be_disabled()
        assert "format" in option.get_attribute("title")
        expect(page.locator(STATUS)).to_have_text("finished")
    finally:
        shutil.rmtree(folder)


def test_a_killed_worker_is_interrupted_and_goes_on(page: Page, workshop: Server, corpus: Corpus):
    path = tiny_run(workshop.root / "killed", corpus, steps=1_000_000).path
    files.write_json(path / files.MANIFEST, open_run(path).manifest | {"status": "stopped"})
    page.goto(f"{workshop.url}?page=train&run=killed")
    ready(page)
    page.locator("#train-resume").click()
    page.wait_for_function(f"{POINTS} > 5", timeout=60_000)
    os.kill(worker_of(path), signal.SIGKILL)
    expect(page.locator(STATUS)).to_have_text("interrupted", timeout=30_000)
    expect(page.locator("#train-resume")).to_be_enabled()
    page.locator("#train-resume").click()
    expect(page.locator(STATUS)).to_have_text("training", timeout=30_000)
    page.locator("#train-stop").click()
    expect(page.locator(STATUS)).to_have_text("stopped", timeout=30_000)
    page.locator("#train-delete").click()
    wait_for(lambda: not path.exists())


def test_a_lab_that_is_ended_ends_its_workers_with_a_checkpoint(tmp_path: Path, corpus: Corpus):
    path = tiny_run(tmp_path / "runs" / "queued", corpus, steps=1_000_000).path  # a lab takes up what is queued
    with serving(tmp_path / "runs", tmp_path / "lab.log") as server:
        wait_for(lambda: len(open_run(path).metrics) > 20)
        server.process.terminate()
        server.process.wait(30)
        assert worker_of(path) is None, server.output()
    run = open_run(path)
    assert run.status == "stopped"
    assert run.last_step == run.metrics.step.max()  # nothing that was learned is lost
