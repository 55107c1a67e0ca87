"""The Train page: runs are started, watched, told to wait, and removed, by several people at once."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable

import pytest
from conftest import Server
from driving import ready
from playwright.sync_api import Page, expect

STATUS = ".lab-live .lab-status"
POINTS = "+document.querySelector('.lab-live canvas')?.dataset.points"


@pytest.fixture
def train(page: Page, workshop: Server) -> Page:
    page.goto(f"{workshop.url}?page=train&run=tiny")
    return ready(page)


def fill(page: Page, steps: int) -> None:
    """Ask for a small run; the settings under Advanced are there for everyone."""
    page.locator("#train-unit").get_by_label("steps").check()
    expect(page.locator("#train-amount input")).to_have_value("400")
    page.locator("#train-amount input").fill(str(steps))
    page.locator("#train-advanced button").first.click()
    for name, value in {"rows": 300, "batch": 4, "context": 32}.items():
        page.locator(f"#train-{name} input").fill(str(value))


def start(page: Page, steps: int) -> str:
    """Start a small run; its id, as soon as the page looks at it."""
    fill(page, steps)
    before = page.evaluate("lab.state.run")
    page.locator("#train-start").click()
    page.wait_for_function("before => lab.state.run !== before", arg=before)
    return page.evaluate("lab.state.run")


def rows(page: Page, server: Server, run: str) -> list[dict]:
    return page.request.get(f"{server.url}lab/run/{run}").json()["rows"]


def test_a_run_from_start_to_finish(train: Page, workshop: Server):
    run = start(train, steps=4)
    assert re.fullmatch(r"fry-\d+", run)
    expect(train.locator(STATUS)).to_have_text("finished", timeout=60_000)
    told = [row for row in rows(train, workshop, run) if row["kind"] != "ratios"]
    train.wait_for_function(f"{POINTS} === {len(told)}")  # every loss on disk is on the curve
    expect(train.locator(".lab-live .lab-numbers")).to_contain_text("held-out loss")
    replies = train.locator(".lab-samples-history tbody tr")
    steps = [row["step"] for row in told if row["kind"] == "eval"]
    assert [int(step) for step in replies.locator("button").all_inner_texts()] == steps[::-1]
    expect(replies.first).to_have_class("current")
    for action, enabled in {"pause": False, "resume": False, "stop": False, "stop-now": False, "delete": True}.items():
        expect(train.locator(f"#train-{action}")).to_be_enabled(enabled=enabled)


def test_closing_the_page_stops_nothing_and_others_see_the_same(
    train: Page, workshop: Server, new_page: Callable[..., Page]
):
    run = start(train, steps=1_000_000)
    train.wait_for_function(f"{POINTS} > 5", timeout=60_000)
    second = new_page()
    second.goto(f"{workshop.url}?page=train&run={run}")
    ready(second)
    expect(second.locator(STATUS)).to_have_text("training")
    train.close()
    seen = second.evaluate(POINTS)
    second.wait_for_function(f"{POINTS} > {seen + 5}", timeout=30_000)

    second.locator("#train-pause").click()
    expect(second.locator(STATUS)).to_have_text("paused", timeout=30_000)
    third = new_page()
    third.goto(f"{workshop.url}?page=train&run={run}")
    expect(ready(third).locator(STATUS)).to_have_text("paused")
    second.locator("#train-resume").click()
    expect(third.locator(STATUS)).to_have_text("training", timeout=30_000)
    expect(third.locator(".lab-ways")).to_contain_text("Stop lets the learning rate fall to zero first")
    third.locator("#train-stop").click()
    for page in (second, third):
        expect(page.locator(STATUS)).to_have_text("stopped", timeout=30_000)
        expect(page.locator(".lab-live .lab-message").first).to_contain_text("Cooled down over")
    second.locator("#train-delete").click()
    for page in (second, third):
        page.wait_for_function("run => lab.state.run !== run && !lab.runs.some(({id}) => id === run)", arg=run)


@pytest.mark.parametrize(
    ("surgery", "words"), [("no-brain", "is not a surgery"), ("no-head:9.0", "There is no layer 9")]
)
def test_impossible_settings_are_a_sentence(train: Page, surgery: str, words: str):
    fill(train, steps=4)
    before = train.evaluate("lab.runs.length")
    train.locator("#train-more textarea, #train-more input").first.fill(surgery)
    train.locator("#train-start").click()
    expect(train.locator("#lab-toasts")).to_contain_text(words)
    assert train.evaluate("lab.runs.length") == before


def test_the_hand_reads_the_curve_and_a_click_moves_the_time_bar(train: Page, workshop: Server):
    told = {row["step"]: row for row in rows(train, workshop, "tiny") if row["kind"] == "step"}
    canvas, readout = train.locator(".lab-live canvas"), train.locator(".lab-live .lab-chart-readout")
    train.wait_for_function(f"{POINTS} > 0")
    box = canvas.bounding_box()
    canvas.hover(position={"x": box["width"] / 2, "y": box["height"] / 2})
    expect(readout).to_be_visible()
    step = int(readout.locator(".lab-chart-step").inner_text().removeprefix("step "))
    assert 10 < step < 30
    value = train.evaluate("lab.number", told[step]["loss"])
    expect(readout.locator(".lab-chart-row").first).to_contain_text(value)
    expect(readout).to_contain_text("perplexity")
    canvas.click(position={"x": box["width"] / 2, "y": box["height"] / 2})
    # The time bar is logarithmic, and so is what is near on it.
    nearest = min(train.evaluate("lab.run().steps"), key=lambda each: abs(math.log2((1 + each) / (1 + step))))
    train.wait_for_function("step => lab.state.step === step", arg=nearest)


def test_the_keyboard_reads_the_curve(train: Page):
    train.wait_for_function(f"{POINTS} > 0")
    canvas, step = train.locator(".lab-live canvas"), train.locator(".lab-live .lab-chart-step")
    canvas.focus()
    canvas.press("Home")
    expect(step).to_have_text("step 0")
    canvas.press("ArrowRight")
    canvas.press("ArrowRight")
    expect(step).to_have_text("step 2")
    canvas.press("Enter")
    assert train.evaluate("lab.state.step") == 2
    canvas.press("Escape")
    expect(step).to_be_hidden()


def test_log_steps_draw_anew(train: Page):
    train.wait_for_function(f"{POINTS} > 0")
    picture = "document.querySelector('.lab-live canvas').toDataURL()"
    before = train.evaluate(picture)
    train.locator(".lab-live").get_by_label("log steps").check()
    train.wait_for_function(f"before => {picture} !== before", arg=before)


def test_the_curve_can_be_taken_home(train: Page, workshop: Server):
    train.wait_for_function(f"{POINTS} > 0")
    with train.expect_download() as download:
        train.get_by_role("button", name="Save these numbers as a table").click()
    assert download.value.suggested_filename == "tiny loss.csv"
    table = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
    told = rows(train, workshop, "tiny")
    for name, kind, column in (("training", "step", "loss"), ("held-out", "eval", "heldout_loss")):
        saved = [(int(row["step"]), float(row["value"])) for row in table if row["series"] == name]
        assert saved == [(row["step"], row[column]) for row in told if row["kind"] == kind]
    assert {row["series"] for row in table} >= {"log V", "unigram entropy", "bigram entropy"}
    with train.expect_download() as download:
        train.get_by_role("button", name="Save this chart as a picture").click()
    assert download.value.path().read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_samples_follow_the_time_bar(train: Page, workshop: Server):
    samples = train.request.get(f"{workshop.url}lab/run/tiny").json()["samples"]
    for step in (0, 40):
        train.evaluate("step => lab.set({ step })", step)
        expect(train.locator(".lab-samples h3").first).to_have_text(f"What it says at step {step}")
        texts = train.locator(".lab-samples-now .lab-reply").all_text_contents()
        expected = [
            sample["text"].replace("\n", "↵\u200b") or "(nothing)" for sample in samples if sample["step"] == step
        ]
        assert texts == expected


def test_bundled_runs_take_no_orders(train: Page):
    bundled = train.evaluate("lab.runs.find((run) => run.bundled && !run.error)?.id")
    if bundled is None:
        pytest.skip("no run is bundled yet")
    train.evaluate("run => lab.set({ run })", bundled)
    for action in ("pause", "resume", "stop", "stop-now", "delete"):
        expect(train.locator(f"#train-{action}")).to_be_disabled()
