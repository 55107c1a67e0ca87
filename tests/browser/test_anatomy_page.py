"""The Anatomy page: its numbers are those of the run's files, and a click shows arithmetic that adds up to them."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from driving import PHONE
from playwright.sync_api import Page, expect

from guppy import open_run, record

PROMPT = "are you hungry?"


def recorded(lab, run: str, step: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Everything that passes the hook points, and the logits, from the run's files."""
    opened = open_run(lab.root / run)
    model = opened.model(step)
    ids = torch.tensor([opened.encode_prompt(PROMPT)])
    with torch.no_grad(), record(model, ["*"]) as tape:
        logits = model(ids)
    return {name: value[0].numpy() for name, value in tape.items()}, logits[0].numpy()


def opened(page: Page, lab, query: str) -> Page:
    page.goto(f"{lab.url}?page=anatomy&{query}")
    return walked(page)


def walked(page: Page, **state: object) -> Page:
    """Wait until the walk shows what the page is asked for."""
    page.wait_for_function(
        """wanted => {
            const walk = document.querySelector(".lab-anatomy");
            if (!window.lab?.anatomy?.q?.shown || walk.classList.contains("waiting")) return false;
            const [run, step, prompt, layer, head, pos] = JSON.parse(walk.dataset.painted ?? "[]");
            const now = { run, step, prompt, layer, head, pos };
            if (Object.entries(wanted).some(([key, value]) => now[key] !== value)) return false;
            return run === lab.state.run && step === lab.state.step && prompt === lab.state.prompt;
        }""",
        arg=state,
    )
    return page


def number(page: Page, stage: str, name: str, index: int, **more: int) -> dict:
    """Where one number is drawn in a stage's drawing, for `hover` and `click`."""
    at = page.evaluate(
        """([stage, name, index, more]) => {
            const { layer, pos, head } = lab.anatomy.q.shown.facts;
            const found = { stage: name, layer, pos, head, index, ...more };
            return document.querySelector(".lab-anatomy").anatomy.find(stage, found);
        }""",
        [stage, name, index, more],
    )
    assert at, f"{name}[{index}] is not drawn in {stage}"
    return {"position": at}


def told(page: Page, stage: str, name: str, index: int, **more: int) -> float:
    """What the page says of a number under the hand."""
    page.locator(f"#stage-{stage} .figure .plot").first.hover(**number(page, stage, name, index, **more))
    text = page.locator("#anatomy-tip").inner_text()
    return float(text.rsplit("= ", 1)[1].replace("−", "-").replace("\u202f", "").replace("∞", "inf"))


def test_the_numbers_under_the_hand_are_the_recorded_ones(page: Page, lab) -> None:
    opened(page, lab, f"run=tiny&step=40&head=2.1&prompt={PROMPT}")
    tape, logits = recorded(lab, "tiny", 40)
    last = len(logits) - 1
    block, pattern = "blocks.2", tape["blocks.2.attn.hook_pattern"]
    best = int(logits[last].argmax())
    expected = {
        ("embedding", "embed", 5): tape["hook_embed"][last, 5],
        ("position", "pos_embed", 90): tape["hook_pos_embed"][last, 90],
        ("norm1", "ln1_normalized", 17): tape[f"{block}.ln1.hook_normalized"][last, 17],
        ("norm1", "ln1_scale", 0): tape[f"{block}.ln1.hook_scale"][last, 0],
        ("qkv", "q", 7): tape[f"{block}.attn.hook_q"][last, 1, 7],
        ("qkv", "v", 31): tape[f"{block}.attn.hook_v"][last, 1, 31],
        ("scores", "scores", 3): tape[f"{block}.attn.hook_attn_scores"][1, last, 3],
        ("softmax", "pattern", 2): pattern[1, last, 2],
        ("values", "z", 12): tape[f"{block}.attn.hook_z"][last, 1, 12],
        ("output", "result", 100): tape[f"{block}.attn.hook_result"][last, 1, 100],
        ("residual1", "resid_mid", 64): tape[f"{block}.hook_resid_mid"][last, 64],
        ("up", "mlp_pre", 300): tape[f"{block}.mlp.hook_pre"][last, 300],
        ("activation", "mlp_post", 301): tape[f"{block}.mlp.hook_post"][last, 301],
        ("residual2", "resid_post", 127): tape[f"{block}.hook_resid_post"][last, 127],
        ("logits", "logits", best): logits[last, best],
    }
    for (stage, name, index), value in expected.items():
        assert told(page, stage, name, index) == pytest.approx(float(value), rel=6e-3, abs=1e-9), (stage, name)
    key = number(page, "scores", "k", 9, pos=2)
    page.locator("#stage-scores .figure .plot").first.hover(**key)
    assert float(page.locator("#anatomy-tip").inner_text().rsplit("= ", 1)[1].replace("−", "-")) == pytest.approx(
        float(tape[f"{block}.attn.hook_k"][2, 1, 9]), rel=6e-3
    )


def test_the_spine_is_the_stream(page: Page, lab) -> None:
    opened(page, lab, "run=tiny&step=40&head=1.0")
    tape, _ = recorded(lab, "tiny", 40)
    moments = [tape[f"blocks.1.hook_resid_{name}"][-1] for name in ("pre", "mid", "post")]
    full = 3 * max(np.sqrt(np.mean(moment**2)) for moment in moments)  # where the page says that colours are full
    shown = page.evaluate(
        """() => {
            const band = document.querySelector("#stage-norm2 .spine canvas");
            const { data } = band.getContext("2d").getImageData(0, 0, band.width, 1);
            return Array.from({ length: band.width }, (_, i) => [...data.slice(4 * i, 4 * i + 3)]);
        }"""
    )
    values = (moments[1] / full).tolist()
    colours = page.evaluate("values => values.map(v => lab.color.signed(v))", values)
    assert np.abs(np.array(shown) - np.array(colours)).max() <= 3


def test_a_click_shows_arithmetic_that_adds_up(page: Page, lab) -> None:
    opened(page, lab, "run=tiny&step=40&head=2.1")
    tape, _ = recorded(lab, "tiny", 40)
    value = float(tape["blocks.2.attn.hook_q"][-1, 1, 7])
    page.locator("#stage-qkv .figure .plot").first.click(**number(page, "qkv", "q", 7))
    panel = page.locator("#stage-qkv .arithmetic")
    expect(panel).to_have_attribute("data-painted", re.compile(r'\["q",2,\d+,1,7,40\]'))
    said = float(panel.locator(".written strong").inner_text().replace("−", "-"))
    assert said == pytest.approx(value, abs=1e-5)
    assert float(panel.get_attribute("data-computed")) == pytest.approx(value, abs=1e-5)
    expect(panel.locator(".written")).to_contain_text("and 124 more")
    expect(page).to_have_url(re.compile(r"v\.anatomy\.number=q\.l\.t\.1\.7"))

    panel.locator(".written .operand").first.click()  # where the first operand comes from
    expect(panel.locator("h3")).to_contain_text("ln1")
    panel.locator(".trail .operand").first.click()
    expect(panel.locator("h3")).to_contain_text("q · layer 2")
    panel.get_by_label("The next number").click()
    expect(panel).to_have_attribute("data-painted", re.compile(r'\["q",2,\d+,1,8,40\]'))

    expect(page).to_have_url(re.compile(r"v\.anatomy\.number=q\.l\.t\.1\.8"))
    page.reload()
    walked(page)
    expect(page.locator("#stage-qkv .arithmetic")).to_have_attribute(
        "data-painted", re.compile(r'\["q",2,\d+,1,8,40\]')
    )
    page.get_by_label("Close", exact=True).click()
    expect(page.locator(".arithmetic")).to_have_count(0)


def test_the_time_bar_recolours_without_the_server(page: Page, lab) -> None:
    opened(page, lab, "run=tiny&step=40&head=1.0")
    for answer in ("q", "matrices"):
        page.wait_for_function(f"lab.anatomy.{answer}.progress().have === lab.run().steps.length")
    page.route("**/lab/inspect/**", lambda route: route.abort())
    page.evaluate("lab.set({ step: 0 })")
    walked(page, step=0)
    tape, _ = recorded(lab, "tiny", 0)
    value = float(tape["blocks.1.attn.hook_q"][-1, 0, 3])
    assert told(page, "qkv", "q", 3) == pytest.approx(value, rel=6e-3)


def test_token_layer_and_head_are_chosen(page: Page, lab) -> None:
    opened(page, lab, "run=tiny&step=40")
    chips = page.locator(".lab-anatomy .tokens .chip")
    chips.nth(3).click()
    walked(page, pos=3, layer=0)
    page.keyboard.press("]")
    walked(page, pos=3, layer=1)
    page.locator(".lab-anatomy .headed button").nth(2).click()
    walked(page, pos=3, layer=1, head=2)
    tape, _ = recorded(lab, "tiny", 40)
    assert told(page, "values", "z", 4) == pytest.approx(float(tape["blocks.1.attn.hook_z"][3, 2, 4]), rel=6e-3)
    page.locator("#stage-after .layer button").first.click()
    walked(page, pos=3, layer=2, head=2)
    expect(page).to_have_url(re.compile(r"head=2\.2.*v\.anatomy\.token=3"))


def test_the_code_beside_a_stage_is_the_files(page: Page, lab) -> None:
    opened(page, lab, "run=tiny&step=40")
    expect(page.locator("#stage-qkv .code .lit b").first).to_have_text("self.qkv(x)")
    expect(page.locator("#stage-qkv .code .place").first).to_contain_text("guppy/model.py:")


def test_a_model_without_a_mask_says_so(page: Page, lab) -> None:
    opened(page, lab, "run=tiny-nomask&step=6")
    page.locator(".lab-anatomy .tokens .chip").nth(1).click()
    walked(page, pos=1)
    expect(page.locator("#stage-mask .off")).to_contain_text("no causal mask")
    tape, _ = recorded(lab, "tiny-nomask", 6)
    assert told(page, "softmax", "pattern", 5) == pytest.approx(
        float(tape["blocks.0.attn.hook_pattern"][0, 1, 5]), rel=6e-3
    )


def test_on_a_phone(new_page: Callable[..., Page], lab) -> None:
    page = new_page(viewport=PHONE, has_touch=True)
    opened(page, lab, "run=tiny&step=40")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.locator("#stage-residual1 .figure .plot").first.tap(**number(page, "residual1", "attn_out", 20))
    expect(page.locator("#stage-residual1 .arithmetic")).to_contain_text("attn_out")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.locator(".lab-anatomy .walker").get_by_label("The next stage").click()
    expect(page.locator(".lab-anatomy .where")).to_contain_text("of 19")
