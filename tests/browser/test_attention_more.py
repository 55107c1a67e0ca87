"""What the Attention page shows beside patterns: its numbers are those that the run's own files give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from driving import PHONE, painted
from playwright.sync_api import Page, expect

import guppy.inspect

PROMPT = "are you hungry?"


def answer(root: Path, what: str, step: int = 40, **options: object):
    prompt = None if what == "heads" else PROMPT
    return guppy.inspect.ask(root / "tiny", what, prompt=prompt, step=step, **options)


def bring(page: Page, name: str) -> None:
    """Scroll a figure of the page into the window and wait until it is painted."""
    page.locator(f".lab-attention-{name}").scroll_into_view_if_needed()
    page.wait_for_function("name => document.querySelector(`.lab-attention-${name} canvas`)?.height > 100", arg=name)


def shown(page: Page, layer: int, head: int) -> np.ndarray:
    numbers = page.evaluate("([l, h]) => [...lab.attention.picture().values(l, h)].map(String)", [layer, head])
    side = int(len(numbers) ** 0.5)
    return np.array([float(number.replace("Infinity", "inf")) for number in numbers]).reshape(side, side)


@pytest.mark.parametrize("what", ["scores", "value-weighted", "rollout"])
def test_the_wall_shows_what_is_chosen(page: Page, lab, runs_root: Path, what: str) -> None:
    page.goto(f"{lab.url}?page=attention&run=tiny&step=40&head=1.1&v.attention.show={what}")
    page.wait_for_function("name => window.lab?.attention.picture()?.name === name", arg=what)
    painted(page)
    found = answer(runs_root, what)
    name = {"scores": "scores", "value-weighted": "norms", "rollout": "layers"}[what]
    expected = getattr(found, name)[1] if what == "rollout" else getattr(found, name)[1, 1]
    np.testing.assert_allclose(shown(page, 1, 1), expected.numpy(), rtol=2e-3, atol=1e-4)
    assert page.locator(".thumb").count() == (8 if what == "rollout" else 16)
    with page.expect_download() as wanted:
        page.locator(".lab-wall").get_by_role("button", name="NPZ").click()
    assert wanted.value.suggested_filename == f"tiny-step-40-{what}.npz"
    with np.load(wanted.value.path()) as kept:
        np.testing.assert_allclose(kept[name], getattr(found, name).numpy(), rtol=1e-4, atol=1e-5)
    page.locator(".lab-wall .kit-segments").get_by_text("Pattern", exact=True).click()
    page.wait_for_function("lab.attention.picture()?.name === 'pattern'")
    assert page.locator(".thumb").count() == 16


def test_a_masked_score_says_so(page: Page, lab) -> None:
    page.goto(f"{lab.url}?page=attention&run=tiny&step=40&head=1.1&cell=2.9&v.attention.show=scores")
    expect(page.locator(".lab-head .readout")).to_contain_text("the mask makes its score −∞")


def test_the_stages_are_those_of_the_pinned_cell(page: Page, lab, runs_root: Path) -> None:
    page.goto(f"{lab.url}?page=attention&run=tiny&step=40&head=1.3&cell=6.4")
    painted(page)
    bring(page, "stages")
    found = answer(runs_root, "cell", layer=1, head=3, query=6, key=4)
    title = page.locator(".lab-attention-stages h2")
    expect(title).to_contain_text("layer 1, head 3")
    with page.expect_download() as wanted:
        page.locator(".lab-attention-stages").get_by_role("button", name="CSV").click()
    rows = [line.split(",") for line in wanted.value.path().read_text(encoding="utf-8").splitlines()]
    facts = {name: value for name, index, value in rows if index == ""}
    assert float(facts["dot"]) == pytest.approx(found.dot, rel=1e-4)
    assert float(facts["probability"]) == pytest.approx(found.probability, rel=1e-4)
    terms = [float(value) for name, index, value in rows if name == "products" and index.isdigit()]
    assert sum(terms) == pytest.approx(found.dot, rel=1e-4)


def test_kinds_stand_on_the_wall_and_in_the_table(page: Page, lab, runs_root: Path) -> None:
    page.goto(f"{lab.url}?page=attention&run=tiny&step=40")
    painted(page)
    page.wait_for_function("lab.attention.kinds().shown?.step === 40")
    found = answer(runs_root, "heads")
    assert page.evaluate("lab.attention.kinds().shown.facts.labels") == found.labels
    badges = page.locator(".thumb .badge")
    short = [page.evaluate("kind => lab.attention.shortKind(kind)", kind) for row in found.labels for kind in row]
    assert badges.all_inner_texts() == short
    bring(page, "kinds")
    kind = found.kinds.index("previous token")
    expected = found.score[kind, 2, 1].item()
    assert page.evaluate("i => lab.attention.kinds().shown.at('score', i, 2, 1)", kind) == pytest.approx(
        expected, rel=1e-5
    )
    bring(page, "development")
    page.wait_for_function("lab.attention.kinds().progress().have === lab.run().steps.length")


def test_arcs_hide_and_solo_heads(page: Page, lab) -> None:
    page.goto(f"{lab.url}?page=attention&run=tiny&step=40&head=2.0")
    painted(page)
    bring(page, "arcs")
    heads = page.locator(".arc-head")
    expect(heads).to_have_count(4)
    heads.nth(1).click()
    expect(heads.nth(1)).to_have_attribute("aria-pressed", "false")
    page.wait_for_url("**v.attention.hidden=1**")
    heads.nth(2).dblclick()
    assert [heads.nth(i).get_attribute("aria-pressed") for i in range(4)] == ["false", "false", "true", "false"]
    heads.nth(2).dblclick()
    assert [heads.nth(i).get_attribute("aria-pressed") for i in range(4)] == ["true"] * 4
    expect(page.locator(".lab-attention-arcs h2")).to_contain_text("layer 2")


def test_flow_follows_the_pinned_query(page: Page, lab, runs_root: Path) -> None:
    page.goto(f"{lab.url}?page=attention&run=tiny&step=40&head=1.3&cell=6.4")
    painted(page)
    page.locator(".lab-attention-flow").scroll_into_view_if_needed()
    expect(page.locator(".lab-attention-flow h2")).to_contain_text("position 6")
    found = answer(runs_root, "flow", query=6)
    with page.expect_download() as wanted:
        page.locator(".lab-attention-flow").get_by_role("button", name="CSV").click()
    rows = wanted.value.path().read_text(encoding="utf-8").splitlines()
    assert float(rows[1].rsplit(",", found.flow.shape[0])[1]) == pytest.approx(found.rollout[0].item(), rel=1e-4)
    assert float(rows[2].rsplit(",", found.flow.shape[0])[1]) == pytest.approx(found.flow[0].item(), rel=1e-4)


def test_on_a_phone_nothing_is_wider_than_the_screen(new_page: Callable[..., Page], lab) -> None:
    phone = new_page(viewport=PHONE, has_touch=True)
    phone.goto(f"{lab.url}?page=attention&run=tiny-nomask&head=1.0&cell=3.5")
    painted(phone)
    for name in ("arcs", "kinds", "stages", "development", "flow"):
        bring(phone, name)
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
