"""The Character page: scores over steps, beside their ceiling and floor; and the names of lines in a plot."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from conftest import Server
from driving import PHONE, WIDE, ready
from playwright.sync_api import Page, expect

from guppy.runs.scores import Scores, write_scores

HOW = {"corpus": "a", "rows": 250, "prompts": 200, "temperature": 0.7, "seed": 0}
LINES = "i => JSON.parse(document.querySelectorAll('.lab-scores canvas')[i]?.dataset.lines ?? '[]')"


def row(learned: float) -> dict[str, float]:
    """A model that has learned so much of it, 0 to 1."""
    shares = {
        "in_topic": learned,
        "vocabulary": 0.4 + 0.6 * learned,
        "obsession": 0.5 * learned,
        "strange": 1 - learned,
    }
    kinds = {"exact": 0.25 * learned, "near": 0.25 * learned, "memorised": 0.5 * learned, "composed": 0.5 * learned}
    return (
        shares | kinds | {"new": 1 - learned, "reply_words": 8.0, "loss_heldout": 7 - 6 * learned, "bits_outside": 9.5}
    )


@pytest.fixture(scope="module")
def scored(workshop: Server) -> Iterator[list[int]]:
    """Two runs with scores at all but their last checkpoint; the steps of the first."""
    references = [{"of": "train"} | row(1), {"of": "heldout"} | row(0.9), {"of": "untrained"} | row(0)]
    for name, source in {"scored": "tiny", "scored-fork": "tiny-nomask"}.items():
        shutil.copytree(workshop.root / source, workshop.root / name)
        steps = sorted(int(path.name) for path in (workshop.root / name / "steps").iterdir())
        rows = {step: row(i / len(steps)) for i, step in enumerate(steps[:-1])}
        write_scores(workshop.root / name, Scores(HOW, references, ["flakes", "<b>food</b>"], rows))
        if name == "scored":
            first = steps
    yield first
    for name in ("scored", "scored-fork"):
        shutil.rmtree(workshop.root / name, ignore_errors=True)


def test_a_run_without_scores_offers_to_measure(page: Page, workshop: Server) -> None:
    page.goto(f"{workshop.url}?page=scores&run=tiny")
    ready(page)
    expect(page.locator(".lab-scores .lab-message")).to_contain_text("Nothing of this run has been measured yet")
    expect(page.locator("#scores-measure")).to_be_visible()
    expect(page.locator(".lab-scores-grid")).to_be_hidden()
    expect(page.locator(".lab-scores-numbers")).to_be_hidden()


def test_scores_are_drawn_beside_ceiling_and_floor(page: Page, workshop: Server, scored: list[int]) -> None:
    page.goto(f"{workshop.url}?page=scores&run=scored&b=scored-fork&step={scored[3]}")
    ready(page)
    expect(page.locator(".lab-scores .lab-message")).to_contain_text(f"{len(scored) - 1} of {len(scored)} checkpoints")
    page.wait_for_function(f"({LINES})(0).length === 2")
    assert [text for text, _ in page.evaluate(LINES, 0)] == ["training data 100%", "untrained 0%"]
    assert page.evaluate("document.querySelectorAll('.lab-scores canvas')[0].dataset.points") == str(
        len(scored) - 1 + len(page.evaluate("lab.runs.find((run) => run.id === 'scored-fork').steps")) - 1
    )
    expect(page.locator(".lab-scores-grid section").nth(2)).to_contain_text("flakes, <b>food</b>.")
    expect(page.locator("#scores-measure")).to_be_hidden()
    cells = page.locator("tr[data-score=in_topic] td")
    expected = page.evaluate("x => `${Number((100 * x).toPrecision(3))}%`", 3 / len(scored))
    assert cells.all_inner_texts()[0] == expected and cells.all_inner_texts()[2:] == ["100%", "90%", "0%"]
    page.evaluate("step => lab.set({ step })", scored[-1])
    expect(page.locator("#scores-measure")).to_be_visible()
    expect(page.locator(".lab-scores thead")).to_contain_text(f"at step {scored[-2]}")  # the last one that is known


def test_shares_are_stacked_to_one(page: Page, workshop: Server, scored: list[int]) -> None:
    page.goto(f"{workshop.url}?page=scores&run=scored&b=")
    ready(page)
    stack = page.locator(".lab-scores-grid section").nth(4)
    expect(stack.locator(".lab-legend")).to_have_text("memorisedcomposednew")
    expect(page.locator(".lab-scores-grid section").nth(5)).to_be_hidden()
    with page.expect_download() as download:
        stack.get_by_role("button", name="Save these numbers as a table").click()
    lines = [line.split(",") for line in download.value.path().read_text().splitlines()[1:]]
    shares = [float(value) for name, step, value in lines if step == str(scored[2])]
    assert len(shares) == 3 and sum(shares) == pytest.approx(1)


def test_a_fork_stands_beside_its_parent_unless_told_otherwise(page: Page, workshop: Server, scored: list[int]) -> None:
    page.goto(f"{workshop.url}?page=scores&run=scored")
    ready(page)
    select = page.locator(".lab-scores select")
    expect(select).to_have_value("")
    select.select_option("scored-fork")
    page.wait_for_url("**b=scored-fork**")
    expect(page.locator(".lab-scores .lab-legend").first).to_contain_text("tiny-nomask")
    select.select_option("")
    page.wait_for_function("new URL(location.href).searchParams.get('b') === ''")
    expect(page.locator(".lab-scores .lab-legend").first).not_to_contain_text("tiny-nomask")


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["laptop", "phone"])
def test_names_of_lines_meet_neither_curves_nor_each_other(
    new_page: Callable[..., Page], workshop: Server, scored: list[int], viewport: dict[str, int]
) -> None:
    page = new_page(viewport=viewport)
    for address, canvases in (
        (f"?page=scores&run=scored&step={scored[1]}", ".lab-scores"),
        ("?page=train&run=tiny", ".lab-live"),
    ):
        page.goto(workshop.url + address)
        ready(page)
        page.wait_for_function(f"document.querySelector('{canvases} canvas')?.dataset.points > 0")
        for told in page.locator(f"{canvases} canvas[data-lines]").evaluate_all(
            "all => all.map((each) => each.dataset.lines)"
        ):
            places = [place for _, place in json.loads(told)]
            assert all(below - above >= 13 for above, below in pairwise(places)), told
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    names = [text.rsplit(" ", 1)[0] for text, _ in json.loads(told)]
    whole = ["log V", "unigram entropy", "bigram entropy", "grammar entropy"]
    assert sorted(names) == sorted(whole if viewport is WIDE else ["log V", "unigram", "bigram", "grammar"])
