"""The Mask page: twins with and without the causal mask."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest
from conftest import Server
from driving import ready
from playwright.sync_api import Page, expect

from guppy.runs import files, open_run


@pytest.fixture(scope="module")
def twins(workshop: Server) -> Iterator[dict[str, str]]:
    """A finished pair: `tiny` and its fork without the mask, under the twins' names."""
    ids = {"tiny": "twins-7-mask", "tiny-nomask": "twins-7-no-mask"}
    for source, target in ids.items():
        shutil.copytree(workshop.root / source, workshop.root / target)
        manifest = open_run(workshop.root / target).manifest
        files.write_json(workshop.root / target / files.MANIFEST, manifest | {"id": target, "name": target})
    yield ids
    for target in ids.values():
        shutil.rmtree(workshop.root / target, ignore_errors=True)


def test_the_latest_twins_are_there_on_opening(page: Page, workshop: Server, twins: dict[str, str]):
    page.goto(f"{workshop.url}?page=mask")
    ready(page)
    expect(page.locator(".lab-mask .lab-message")).to_contain_text("The twins are done")
    told = [page.request.get(f"{workshop.url}lab/run/{run}").json() for run in twins.values()]
    training, evaluated = (
        [sum(row["kind"] == kind for row in each["rows"]) for each in told] for kind in ("step", "eval")
    )
    points = "i => +document.querySelectorAll('.lab-mask canvas')[i]?.dataset.points"
    page.wait_for_function(f"([i, n]) => ({points})(i) === n", arg=[0, sum(training) + sum(evaluated)])
    page.wait_for_function(f"([i, n]) => ({points})(i) === n", arg=[1, sum(evaluated)])
    replies = page.locator(".lab-twin").all()
    assert len(replies) == 2 and all(side.locator(".lab-reply").count() for side in replies)
    # The sentence compares the twins at one step.
    step = min(max(row["step"] for row in each["rows"]) for each in told)
    expect(page.locator(".lab-mask .lab-message")).to_contain_text(f"at step {step} ")
    masked = [row["masked_loss"] for row in told[1]["rows"] if row["kind"] == "eval" and row["step"] <= step][-1]
    shown = page.evaluate("lab.number", masked)
    expect(page.locator(".lab-mask .lab-message")).to_contain_text(f"with the mask put back it is at {shown}.")


@pytest.mark.parametrize("side", ["with", "without"])
def test_a_twin_opens_on_the_attention_page(page: Page, workshop: Server, twins: dict[str, str], side: str):
    page.goto(f"{workshop.url}?page=mask&run=tiny")
    ready(page)
    page.get_by_role("button", name=f"Look inside the twin {side} the mask").click()
    page.wait_for_function("lab.state.page === 'attention'")
    assert page.evaluate("lab.state.run") == ("twins-7-mask" if side == "with" else "twins-7-no-mask")


def test_a_click_on_the_curve_moves_the_time_bar_of_a_twin(page: Page, workshop: Server, twins: dict[str, str]):
    page.goto(f"{workshop.url}?page=mask&run=tiny")
    ready(page)
    canvas = page.locator(".lab-mask canvas").first
    page.wait_for_function("+document.querySelector('.lab-mask canvas')?.dataset.points > 0")
    canvas.focus()
    canvas.press("Home")
    canvas.press("Enter")
    page.wait_for_function("lab.state.run === 'twins-7-no-mask'")


def test_the_button_trains_twins_side_by_side(page: Page, workshop: Server, new_page: Callable[..., Page]):
    page.goto(f"{workshop.url}?page=mask&run=tiny")
    ready(page)
    page.locator("#mask-train").click()
    page.wait_for_function("/^twins-\\d+-no-mask$/.test(lab.state.run)", timeout=60_000)
    name = page.evaluate("lab.state.run").removesuffix("-no-mask")
    runs = {side: open_run(workshop.root / f"{name}-{side}") for side in ("mask", "no-mask")}
    assert [run.surgery.names for run in runs.values()] == [[], ["no-causal-mask"]]
    assert {run.manifest["corpus"]["rows"] for run in runs.values()} == {60_000}
    expect(page.locator("#mask-train")).to_be_disabled()
    expect(page.locator(".lab-mask .lab-message")).to_contain_text("The twins are training: at step", timeout=60_000)
    for run in runs:
        page.evaluate("([page, run]) => lab.set({ page, run })", ["train", f"{name}-{run}"])
        page.locator("#train-stop").click()
        expect(page.locator(".lab-live .lab-status")).to_have_text("stopped", timeout=60_000)
        page.locator("#train-delete").click()
        page.wait_for_function("run => !lab.runs.some(({id}) => id === run)", arg=f"{name}-{run}")
