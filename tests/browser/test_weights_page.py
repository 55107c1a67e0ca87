"""The Weights page: its numbers are those of the library on the run's files, for the chosen head, token and matrix."""

from __future__ import annotations

import json

import pytest
import torch
from conftest import Server
from driving import PHONE, ready
from playwright.sync_api import Page, expect

from guppy.inspect.circuits import copying, ov_circuit, positional_qk, qk_circuit
from guppy.inspect.embedding import neighbours
from guppy.inspect.vocabulary import met_tokens
from guppy.inspect.weights import weight_matrices
from guppy.runs import open_run

TOKEN = 300


def open_weights(page: Page, lab: Server, query: str = "") -> Page:
    page.goto(f"{lab.url}?page=weights&run=tiny{query}")
    ready(page)
    painted(page, "Heads that copy")
    page.wait_for_function("lab.vocabulary() !== null")
    return page


def figure(page: Page, title: str):
    return page.locator(".kit-figure", has=page.get_by_role("heading", name=title)).first


def painted(page: Page, title: str) -> None:
    """Wait until a figure shows the step of the time bar."""
    expect(figure(page, title)).to_have_attribute("data-painted", _state(page))


def _state(page: Page) -> str:
    run, step = page.evaluate("[lab.state.run, lab.state.step]")
    return json.dumps([run, step, None], separators=(",", ":"))


def asked(page: Page, what: str) -> dict:
    """What the page's own question was answered."""
    return page.evaluate(
        """what => {
            const { step, facts, arrays, options } = lab.weights.ask(what).shown;
            const plain = Object.fromEntries(Object.entries(arrays).map(([name, { data }]) => [name, [...data]]));
            return { step, facts, arrays: plain, options };
        }""",
        what,
    )


def test_every_number_is_the_librarys(page: Page, lab: Server) -> None:
    open_weights(page, lab, f"&step=40&head=2.1&v.weights.token={TOKEN}")
    painted(page, "Head 2.1: what it writes")
    painted(page, "Nearest to")
    run = open_run(lab.root / "tiny")
    model, met = run.model(40), met_tokens(run)
    assert TOKEN in met.tolist()

    score = copying(model, met).score.flatten().tolist()
    assert asked(page, "copying")["arrays"]["score"] == pytest.approx(score, abs=1e-4)

    told = asked(page, "circuits")
    assert told["options"]["layer"] == 2 and told["options"]["head"] == 1
    best = ov_circuit(model, 2, 1, met).extreme(1)
    assert told["arrays"]["ov_ids"][:2] == best.ids[0].tolist()
    assert told["arrays"]["ov_logit"][0] == pytest.approx(best.value[0].item(), rel=1e-3)

    one = asked(page, "token-circuits")
    row = qk_circuit(model, 2, 1, met).row(TOKEN)
    assert one["facts"]["token"] == TOKEN and one["arrays"]["attends_ids"][0] == met[row.argmax()]
    assert one["arrays"]["attends_score"][0] == pytest.approx(row.max().item(), rel=1e-3)

    near = neighbours(model, TOKEN, tokens=met)
    assert asked(page, "neighbours")["arrays"]["ids"] == near.ids.tolist()
    pattern = positional_qk(model, 2, 1, met).pattern.flatten()
    assert torch.tensor(asked(page, "positional-qk")["arrays"]["pattern"]).sub(pattern).abs().max() < 1e-4
    measured = weight_matrices(model)
    assert asked(page, "weights")["arrays"]["effective_rank"] == pytest.approx(
        measured.effective_rank.tolist(), rel=1e-3
    )


def test_a_click_on_a_head_changes_what_is_below_and_the_address(page: Page, lab: Server) -> None:
    open_weights(page, lab)
    cells = figure(page, "Heads that copy").evaluate(
        "e => { const { left, top, w, h } = e.matrix(); return { left, top, w, h }; }"
    )
    x, y = cells["left"] + 2.5 * cells["w"], cells["top"] + 1.5 * cells["h"]
    figure(page, "Heads that copy").locator(".kit-plot").click(position={"x": x, "y": y})
    expect(page.get_by_role("heading", name="Head 1.2: who looks at whom")).to_be_visible()
    page.wait_for_url("**head=1.2**")
    painted(page, "Head 1.2: who looks at whom")
    assert asked(page, "circuits")["options"]["head"] == 2


def test_a_token_is_found_by_its_text(page: Page, lab: Server) -> None:
    open_weights(page, lab)
    words = page.evaluate("lab.vocabulary()")
    wanted = next(
        i for i, word in enumerate(words) if word.startswith(" ") and word.strip().isalpha() and len(word) > 4
    )
    box = page.get_by_role("combobox", name="Token")
    box.fill(words[wanted].strip())
    box.press("Enter")
    shown = words[wanted].replace(" ", "·")
    expect(page.get_by_role("heading", name=f"Nearest to ‘{shown}’")).to_be_visible()
    assert page.evaluate("lab.weights.token()") == wanted
    box.fill("zebra quagga")
    box.press("Enter")
    expect(page.locator(".weights-token .caption")).to_contain_text("no single token")
    assert page.evaluate("lab.weights.token()") == wanted


def test_it_follows_the_time_bar_without_the_server(page: Page, lab: Server) -> None:
    open_weights(page, lab, "&step=40")
    names = ["copying", "circuits", "token-circuits", "neighbours", "embedding", "positional-qk", "weights"]
    page.wait_for_function(
        "names => names.every(name => lab.weights.ask(name).progress().have === lab.run().steps.length)", arg=names
    )
    page.wait_for_load_state("networkidle")
    requests = []
    page.on("request", lambda request: requests.append(request.url) if "/lab/inspect" in request.url else None)
    page.locator(".lab-timebar .slider").press("Home")
    painted(page, "Every matrix")
    assert asked(page, "weights")["step"] == 0 and not requests


def test_a_phone(new_page, lab: Server) -> None:
    page = new_page(viewport=PHONE, has_touch=True)
    open_weights(page, lab)
    painted(page, "Head 0.0: what it writes")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    plot = figure(page, "Head 0.0: what it writes")
    plot.locator(".kit-plot").focus()
    for _ in range(20):  # past the highest, to the lowest of all
        page.keyboard.press("ArrowDown")
    told = asked(page, "circuits")
    number = page.evaluate("x => lab.signed(x)", told["arrays"]["ov_low_logit"][0])
    assert number.startswith("−")
    expect(plot.locator(".kit-readout")).to_contain_text(f"{number} logit")
