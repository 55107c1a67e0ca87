"""The Learning page: a lesson, a batch and the price of context in the library's own numbers."""

from __future__ import annotations

import pytest
import torch
from conftest import Console, Server
from driving import PHONE, ready
from playwright.sync_api import Page, expect

from guppy.inspect import questions
from guppy.inspect.eaten import meal
from guppy.runs import open_run

PROMPT = "are you hungry?"
LESSON = ".lab-learning-lesson"
EATEN = ".lab-learning-eaten"


def open_learning(page: Page, lab: Server, query: str = "", run: str = "tiny") -> Page:
    page.goto(f"{lab.url}?page=learning&run={run}{query}")
    ready(page)
    page.wait_for_function("document.querySelectorAll('.lab-learning-context [data-painted]').length === 3")
    return page


def bars(page: Page, title: str, filename: str) -> list[list[str]]:
    """What a figure saves as CSV."""
    figure = page.locator(".kit-figure", has=page.get_by_role("heading", name=title, exact=True))
    with page.expect_download() as saved:
        figure.get_by_role("button", name="CSV").click()
    assert saved.value.suggested_filename == filename
    return [line.split(",") for line in saved.value.path().read_text().splitlines()]


def test_a_lesson_is_given_on_the_button_and_shows_the_librarys_numbers(page: Page, lab: Server) -> None:
    open_learning(page, lab, "&step=40")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/lesson" in request.url else None)
    page.get_by_label("What should follow the prompt").fill("a lamp")
    page.locator(LESSON).get_by_role("button", name="3", exact=True).click()
    expect(page.locator(f"{LESSON} .kit-figure").first).to_be_hidden()
    assert not asked
    page.get_by_role("button", name="Teach it").click()
    run = open_run(lab.root / "tiny")
    told = questions.ask(run, "lesson", prompt=PROMPT, step=40, reply="a lamp", updates=3, share=0.1)
    before, after = (page.evaluate("x => lab.number(x)", loss) for loss in (told.loss_before, told.loss_after))
    said = page.locator(f"{LESSON} .learning-said")
    expect(said).to_contain_text(f"from {before} to {after} nats per token")
    expect(said).to_contain_text("went on from the moments that the checkpoint kept. The run is untouched.")
    rows = bars(page, "How far each matrix moved", "tiny-step-40-lesson.csv")[1:]
    assert [f"{name}.weight" for name, *_ in rows] == told.matrices
    assert [float(value) for _, value, *_ in rows] == pytest.approx((100 * told.update).tolist(), rel=1e-2)
    replies = page.locator(".learning-replies > div")
    expect(replies).to_have_count(len(told.probes))
    same = [one == other for one, other in zip(told.replies_before, told.replies_after, strict=True)]
    assert [text == "the same" for text in replies.locator("dd:last-child").all_text_contents()] == same
    assert len(asked) == 1
    page.evaluate("lab.set({ prompt: 'hello' })")
    expect(page.locator(f"{LESSON} .kit-figure").first).to_be_hidden()
    assert len(asked) == 1, "another prompt is not taught by itself"


def test_a_batch_in_tokens_and_losses(page: Page, lab: Server) -> None:
    open_learning(page, lab, "&step=40")
    page.get_by_role("spinbutton", name="Step").fill("3")
    page.get_by_role("spinbutton", name="Step").press("Enter")
    told = meal(open_run(lab.root / "tiny"), 3)
    said = page.locator(f"{EATEN} .learning-said")
    expect(said).to_contain_text(f"The batch of step 3: {len(told.tokens)} rows.")
    before, after = (page.evaluate("x => lab.number(x)", each.nanmean().item()) for each in (told.before, told.after))
    expect(said).to_contain_text(f"cost {before} nats at step {told.before_step} and {after} at step {told.after_step}")
    shown = page.locator(".learning-row").first.locator(".chip")
    assert shown.count() == len(told.tokens[0])
    moved = (told.after - told.before).nan_to_num()
    _, value, *_ = bars(page, "The tokens that moved most", "tiny-batch-3.csv")[1]
    assert abs(float(value)) == pytest.approx(moved.abs().max().item(), rel=1e-3)
    shown.nth(4).hover()
    number = page.evaluate("x => lab.number(x)", told.before[0, 4].item())
    expect(page.locator(f"{EATEN} .kit-readout").nth(1)).to_contain_text(f"(row 1, position 4): {number} nats before")
    page.get_by_role("button", name="The step that made this checkpoint").click()
    expect(said).to_contain_text("The batch of step 40:")


def test_a_batch_that_is_gone_says_so(page: Page, lab: Server, console: Console) -> None:
    console.allow("400")
    open_learning(page, lab, "&v.learning.made=41")
    expect(page.locator(f"{EATEN} .learning-said")).to_have_text(
        "Run tiny has learned in steps 1 to 40, not in step 41."
    )


def test_the_price_of_context_is_the_librarys(page: Page, lab: Server) -> None:
    open_learning(page, lab, "&step=40")
    told = questions.ask(open_run(lab.root / "tiny"), "context-price", prompt=PROMPT, step=40)
    rows = bars(page, "Loss of each token under each window", "tiny-step-40-context-price.csv")[1:]
    shown = torch.tensor([[float(value) for value in row[-(told.nats.shape[1] - 1) :]] for row in rows])
    torch.testing.assert_close(shown, told.nats[:, 1:], rtol=1e-3, atol=1e-3)
    means = bars(page, "Mean loss by window", "tiny-step-40-context-price.csv")[1:]
    assert [float(value) for *_, value in means] == pytest.approx(told.nats[:, 1:].mean(1).tolist(), rel=1e-3)


def test_a_phone_and_a_run_without_its_mask(new_page, lab: Server) -> None:
    page = new_page(viewport=PHONE, has_touch=True)
    open_learning(page, lab, run="tiny-nomask")
    expect(page.locator(".lab-learning-context")).to_contain_text("say nothing of context")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
