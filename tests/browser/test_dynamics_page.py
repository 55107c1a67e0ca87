"""The Dynamics page: its numbers are those of the library and of the run's files, and a click goes to a step."""

from __future__ import annotations

import csv
import json
import re

import pytest
import torch
from conftest import Server
from driving import PHONE, ready
from playwright.sync_api import Locator, Page, expect

from guppy.inspect.similarity import similarity
from guppy.inspect.weight_path import weight_path
from guppy.runs import open_run

WAY = "The way through weight space"


def open_dynamics(page: Page, lab: Server, query: str = "") -> Page:
    page.goto(f"{lab.url}?page=dynamics&run=tiny{query}")
    ready(page)
    for title in (WAY, "How alike their weights are", "How alike they read the prompt"):
        expect(figure(page, title)).to_have_attribute("data-painted", re.compile("tiny"))
    return page


def figure(page: Page, title: str) -> Locator:
    return page.locator(".kit-figure", has=page.get_by_role("heading", name=title))


def signed(page: Page, value: float) -> str:
    return page.evaluate("x => lab.signed(x)", value)


def points(page: Page) -> list[list[float]]:
    return figure(page, WAY).evaluate("figure => figure.way().points")


def at(point: list[float]) -> dict[str, float]:
    return {"x": point[0], "y": point[1]}


def cell(page: Page, title: str, row: int, column: int) -> dict[str, float]:
    left, top, w, h = figure(page, title).evaluate(
        "figure => { const { left, top, w, h } = figure.matrix(); return [left, top, w, h]; }"
    )
    return {"x": left + (column + 0.5) * w, "y": top + (row + 0.5) * h}


def test_a_checkpoint_lies_where_the_library_says_and_a_click_goes_there(page: Page, lab: Server) -> None:
    open_dynamics(page, lab)
    path = weight_path(open_run(lab.root / "tiny"))
    drawn = torch.tensor(points(page))
    for axis in (0, 1):
        share = (path.xy[:, axis] - path.xy[0, axis]) / (path.xy[-1, axis] - path.xy[0, axis])
        there = (drawn[:, axis] - drawn[0, axis]) / (drawn[-1, axis] - drawn[0, axis])
        assert torch.allclose(there, share, atol=1e-3)
    i = path.steps.index(8)
    plot = figure(page, WAY).locator(".kit-plot")
    plot.hover(position=at(points(page)[i]))
    x, y = (signed(page, value) for value in path.xy[i].tolist())
    expect(figure(page, WAY).locator(".kit-readout")).to_contain_text(f"Step 8: at {x}, {y}")
    plot.click(position=at(points(page)[i]))
    page.wait_for_url("**step=8*")
    assert page.evaluate("lab.state.step") == 8


def test_how_alike_is_the_librarys_and_a_click_goes_to_the_rows_step(page: Page, lab: Server) -> None:
    open_dynamics(page, lab)
    run = open_run(lab.root / "tiny")
    path = weight_path(run)
    cka = similarity(run, torch.tensor(run.encode_prompt(page.evaluate("lab.state.prompt")))).cka[-1]
    row, column = path.steps.index(4), path.steps.index(20)
    for title, values in (("How alike their weights are", path.cosine), ("How alike they read the prompt", cka)):
        figure(page, title).locator(".kit-plot").hover(position=cell(page, title, row, column))
        said = f"Steps 4 and 20: {'CKA' if values is cka else 'cosine'} {signed(page, values[row, column].item())}"
        expect(figure(page, title).locator(".kit-readout")).to_have_text(said)
    figure(page, title).locator(".kit-plot").click(position=cell(page, title, row, column))
    page.wait_for_function("lab.state.step === 4")


def test_the_loss_around_the_way_is_asked_for_by_a_button(page: Page, lab: Server) -> None:
    open_dynamics(page, lab)
    assert page.evaluate("lab.dynamics.ask('loss-slice').shown") is None
    around = figure(page, WAY)
    around.get_by_role("button", name="Loss around it").click()
    expect(around.get_by_role("status")).to_contain_text("computing")
    page.wait_for_function("lab.dynamics.ask('loss-slice').shown", timeout=60_000)
    expect(around.get_by_role("status")).to_have_text("")
    first, last = points(page)[0], points(page)[-1]
    told = []
    for x, y in (first, last):
        around.locator(".kit-plot").hover(position={"x": x, "y": y + 20})
        told.append(float(around.locator(".kit-readout").inner_text().split("loss ")[1].split()[0]))
    assert told[0] > told[1] + 1  # training went down
    around.get_by_role("button", name="Without the loss").click()
    page.wait_for_function("lab.dynamics.ask('loss-slice').shown === null")


def test_ratios_are_those_of_the_runs_metrics(page: Page, lab: Server) -> None:
    open_dynamics(page, lab, "&v.dynamics.layer=1&v.dynamics.ratio=gradient")
    ratios = figure(page, "How far one step goes").filter(has=page.locator(".kit-plot"))
    with page.expect_download() as download:
        ratios.get_by_role("button", name="CSV").click()
    with open(download.value.path(), newline="", encoding="utf-8") as file:
        saved = {(name, int(step)): float(value) for name, step, value in list(csv.reader(file))[1:]}
    rows = [json.loads(line) for line in (lab.root / "tiny" / "metrics.jsonl").read_text().splitlines()]
    kept = {row["step"]: row["gradient"] for row in rows if row["kind"] == "ratios"}
    assert len(kept) > 10 and {step for _, step in saved} == set(kept)
    for step, gradient in kept.items():
        assert saved["mlp.up", step] == pytest.approx(gradient["blocks.1.mlp.up.weight"])
        assert saved["embed", step] == pytest.approx(gradient["embed.weight"])


def test_a_phone(new_page, lab: Server) -> None:
    page = new_page(viewport=PHONE, has_touch=True)
    open_dynamics(page, lab)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    steps = page.evaluate("lab.run().steps")
    figure(page, WAY).locator(".kit-plot").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    page.wait_for_function("step => lab.state.step === step", arg=steps[-2])
