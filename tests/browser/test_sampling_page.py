"""The Sampling page: its cuts are the library's, a draw is the draw, and the tree and the surprise are the model's."""

from __future__ import annotations

import math
import random

import pytest
import torch
from conftest import Server
from driving import PHONE, ready
from playwright.sync_api import Page, expect

from guppy.generate import next_token_distribution
from guppy.runs import open_run

PROMPT = "are you hungry?"


def open_sampling(page: Page, lab: Server, query: str = "", run: str = "tiny") -> Page:
    page.goto(f"{lab.url}?page=sampling&run={run}{query}")
    ready(page)
    answered(page)
    return page


def answered(page: Page) -> None:
    page.wait_for_function(
        """() => ["next-token", "tree", "surprise"].every(name => {
            const q = lab.sampling.ask(name);
            return q.shown && !q.busy && q.shown.step === lab.state.step;
        }) && lab.vocabulary()"""
    )


def logits_of(lab: Server, ids: list[int], step: int = 40, run: str = "tiny") -> torch.Tensor:
    with torch.no_grad():
        return open_run(lab.root / run).model(step)(torch.tensor([ids]))[0, -1]


def test_the_sliders_do_what_the_library_does(page: Page, lab: Server) -> None:
    open_sampling(page, lab, "&step=40")
    ids = open_run(lab.root / "tiny").tokenizer.encode_chat(PROMPT)
    logits = logits_of(lab, ids)
    shown = page.evaluate("[...lab.sampling.ask('next-token').shown.arrays.logits.data]")
    torch.testing.assert_close(torch.tensor(shown), logits, rtol=1e-4, atol=1e-4)
    shown = torch.tensor(shown)
    rng = random.Random(0)
    for _ in range(40):
        temperature = rng.choice([0.0, 0.3, 0.75, 1.0, 1.6])
        top_k, top_p = rng.choice([None, 1, 3, 17, 5000]), rng.choice([None, 0.05, 0.413, 0.9, 0.987])
        expected = next_token_distribution(shown, temperature, top_k, top_p)
        found = page.evaluate(
            """settings => {
                const { data } = lab.sampling.ask("next-token").shown.arrays.logits;
                return [...lab.sampling.stages(data, settings).drawn];
            }""",
            {"temperature": temperature, "topK": top_k, "topP": top_p},
        )
        found = torch.tensor(found, dtype=torch.float64)
        assert torch.equal(found > 0, expected > 0), (temperature, top_k, top_p)
        assert (found - expected).abs().max() < 1e-5


def test_dragging_a_setting_asks_nobody_and_is_in_the_address(page: Page, lab: Server) -> None:
    open_sampling(page, lab, "&step=40")
    page.wait_for_load_state("networkidle")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_role("slider", name="top-k").fill("5")
    page.get_by_role("slider", name="temperature").fill("0.7")
    expect(page.locator(".lab-sampling-next .kit-readout").first).to_contain_text("5 tokens are drawn from")
    assert page.evaluate("lab.sampling.now().drawn.filter(p => p > 0).length") == 5
    assert not asked
    page.wait_for_url("**v.sampling.top-k=5**")
    page.reload()
    ready(page)
    answered(page)
    assert page.evaluate("lab.sampling.settings()") == {"temperature": 0.7, "topK": 5, "topP": None}


def test_a_draw_is_where_the_number_falls_and_joins_the_text(page: Page, lab: Server) -> None:
    open_sampling(page, lab, "&step=40")
    ids = open_run(lab.root / "tiny").tokenizer.encode_chat(PROMPT)
    then: list[int] = []
    for number in (0.0, 0.318, 0.9999):
        cumulative = next_token_distribution(logits_of(lab, ids + then)).double().cumsum(-1)
        expected = int(torch.searchsorted(cumulative, number * cumulative[-1], right=True))
        page.evaluate("number => lab.sampling.take(number)", number)
        answered(page)
        assert page.evaluate("lab.sampling.then()") == [*then, expected]
        then.append(expected)
        expect(page.locator(".sampling-text .chip.drawn")).to_have_count(len(then))
        expect(page.locator(".sampling-side .kit-readout")).to_contain_text(f"The number {number:.3f} fell on")
    page.get_by_role("button", name="Undo").click()
    assert page.evaluate("lab.sampling.then()") == then[:-1]
    page.get_by_role("button", name="Draw a token").click()
    expect(page.locator(".sampling-text .chip.drawn")).to_have_count(3)
    page.get_by_role("button", name="Start over").click()
    expect(page.locator(".sampling-text .chip.drawn")).to_have_count(0)


def test_the_tree_multiplies_along_its_paths(page: Page, lab: Server) -> None:
    open_sampling(page, lab, "&step=40")
    tree = page.evaluate(
        """() => {
            const { arrays } = lab.sampling.ask("tree").shown;
            return Object.fromEntries(Object.entries(arrays).map(([name, { data }]) => [name, [...data]]));
        }"""
    )
    ids = open_run(lab.root / "tiny").tokenizer.encode_chat(PROMPT)
    leaf = max(range(len(tree["token"])), key=lambda i: (tree["depth"][i], i))
    path, at = [], leaf
    while at >= 0:
        path.insert(0, tree["token"][at])
        at = tree["parent"][at]
    product = math.prod(logits_of(lab, ids + path[:i]).softmax(-1)[token].item() for i, token in enumerate(path))
    assert tree["path"][leaf] == pytest.approx(product, rel=1e-3)
    figure = page.locator(".lab-sampling-tree .kit-figure")
    figure.locator(".kit-plot").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator(".sampling-text .chip.drawn")).to_have_count(1)
    assert page.evaluate("lab.sampling.then()") == [tree["token"][0]]


def test_surprise_in_bits_with_alternatives(page: Page, lab: Server) -> None:
    open_sampling(page, lab, "&step=40&v.sampling.position=5")
    ids = open_run(lab.root / "tiny").tokenizer.encode_chat(PROMPT)
    p = logits_of(lab, ids[:5]).softmax(-1)
    words = page.evaluate("lab.vocabulary()")
    readout = page.locator(".lab-sampling-surprise .kit-figure > .kit-readout")
    number = page.evaluate("x => lab.number(x)", -math.log2(p[ids[5]]))
    expect(readout).to_contain_text(f"(position 5): {number} bits")
    expect(readout).to_contain_text(f"Likeliest here: ‘{words[int(p.argmax())].replace(' ', '·')}’".replace("\n", "↵"))
    expect(page.locator(".lab-sampling-surprise")).to_contain_text("the prompt: ")


def test_it_follows_the_time_bar_and_says_when_the_mask_is_off(page: Page, lab: Server) -> None:
    open_sampling(page, lab, "&step=40")
    page.locator(".lab-timebar .slider").press("Home")
    answered(page)
    ids = open_run(lab.root / "tiny").tokenizer.encode_chat(PROMPT)
    shown = torch.tensor(page.evaluate("[...lab.sampling.ask('next-token').shown.arrays.logits.data]"))
    torch.testing.assert_close(shown, logits_of(lab, ids, step=0), rtol=1e-4, atol=1e-4)
    page.evaluate("lab.set({ run: 'tiny-nomask' })")
    answered(page)
    expect(page.locator(".lab-sampling-surprise")).to_contain_text("without the causal mask the model has seen")


def test_a_phone(new_page, lab: Server) -> None:
    page = new_page(viewport=PHONE, has_touch=True)
    open_sampling(page, lab, "&step=40")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
