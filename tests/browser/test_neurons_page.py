"""The Neurons page: its numbers are those of the run's weights and corpus; the index is built by a button and kept."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Server
from driving import PHONE, ready
from playwright.sync_api import Locator, Page, expect

from guppy.inspect import neuron_index
from guppy.inspect.neurons import activations, output_norms, promotes
from guppy.runs import Run, open_run

PROMPT = "are you hungry?"


def tiny(root: Path) -> Run:
    return open_run(root / "tiny")


def post_of(run: Run, step: int) -> np.ndarray:
    """(layer, pos, neuron)"""
    return activations(run.model(step), torch.tensor(run.encode_prompt(PROMPT))).post.numpy()


def shown(page: Page, address: str) -> Page:
    page.goto(address)
    ready(page)
    page.wait_for_function("document.querySelector('.lab-neuron-map .kit-figure')?.dataset.painted")
    page.wait_for_function("document.querySelector('.lab-neuron-words .kit-figure')?.dataset.painted")
    return page


def figure(page: Page, title: str) -> Locator:
    return page.locator(".kit-figure").filter(has=page.locator("h2", has_text=title))


def saved(page: Page, title: str) -> list[list[str]]:
    with page.expect_download() as download:
        figure(page, title).get_by_role("button", name="CSV").click()
    return list(csv.reader(io.StringIO(download.value.path().read_text(encoding="utf-8"))))


def square(page: Page, layer: int, neuron: int) -> dict:
    """Where a neuron is on the map, for `hover` and `click`."""
    x, y = page.evaluate(
        """([layer, neuron]) => {
            const { columns, cell, pitch } = document.querySelector(".lab-neuron-map").place();
            const [x, y] = [(neuron % columns) + 0.5, Math.floor(neuron / columns) + 0.5];
            return [30 + x * cell, 26 + layer * pitch + y * cell];
        }""",
        [layer, neuron],
    )
    return {"position": {"x": x, "y": y}}


def number(text: str) -> float:
    return float(text.replace("−", "-").replace("\u202f", ""))


def test_the_map_shows_what_neurons_do_with_the_prompt(page: Page, lab: Server, runs_root: Path) -> None:
    shown(page, f"{lab.url}?page=neurons&run=tiny&step=40")
    run = tiny(runs_root)
    post = post_of(run, 40)
    rows = saved(page, "All neurons")
    assert len(rows) == 1 + 4 * 512
    values = np.array([float(value) for _, _, value in rows[1:]]).reshape(4, 512)
    np.testing.assert_allclose(values, post.max(1), rtol=1e-4, atol=1e-6)
    written = np.abs(post[:, -1]) * output_norms(run.model(40)).numpy()
    layer, neuron = np.unravel_index(written.argmax(), written.shape)
    expect(page.locator(".neuron-card h2")).to_have_text(f"Layer {layer} · neuron {neuron}")
    plot = figure(page, "All neurons").locator(".kit-plot")
    plot.hover(**square(page, 2, 300))
    expect(page.locator(".neuron-card h2")).to_have_text("Layer 2 · neuron 300")
    readout = figure(page, "All neurons").locator(".kit-readout")
    expect(readout).to_contain_text("Layer 2 · neuron 300: ")
    told = number(re.search(r": (\S+) activation", readout.inner_text())[1])
    assert told == pytest.approx(float(post[2, :, 300].max()), rel=5e-3, abs=1e-6)


def test_click_keeps_a_neuron_and_arrows_walk(page: Page, lab: Server, runs_root: Path) -> None:
    shown(page, f"{lab.url}?page=neurons&run=tiny&step=40")
    plot = figure(page, "All neurons").locator(".kit-plot")
    plot.click(**square(page, 1, 37))
    page.wait_for_url("**v.neurons.neuron=37**")
    columns = page.evaluate("document.querySelector('.lab-neuron-map').place().columns")
    plot.focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowLeft"):
        plot.press(key)
    page.mouse.move(5, 500)
    expect(page.locator(".neuron-card h2")).to_have_text(f"Layer 1 · neuron {36 + columns}")
    assert page.evaluate("lab.state.step") == 40, "arrows on the map do not move the time bar"
    shown(page, f"{lab.url}?page=neurons&run=tiny&step=40&v.neurons.layer=3&v.neurons.neuron=511")
    plot.focus()
    plot.press("ArrowRight")
    expect(page.locator(".neuron-card h2")).to_have_text("Layer 3 · neuron 511")
    plot.press("Escape")
    expect(page.locator(".neuron-card h2")).not_to_have_text("Layer 3 · neuron 511")


def test_words_and_steps_of_a_neuron(page: Page, lab: Server, runs_root: Path) -> None:
    shown(page, f"{lab.url}?page=neurons&run=tiny&step=40&v.neurons.layer=3&v.neurons.neuron=100&v.neurons.position=4")
    run = tiny(runs_root)
    effect = promotes(run.model(40), 3, 100, run.tokenizer.vocab_size)
    rows = saved(page, "What it promotes")[1:]
    assert len(rows) == 20
    values = [float(value) for _, value, _ in rows]
    np.testing.assert_allclose(values[:10], effect.topk(10).values.numpy(), rtol=1e-4)
    np.testing.assert_allclose(values[:9:-1], effect.topk(10, largest=False).values.numpy(), rtol=1e-4)
    (token,) = run.tokenizer.token_strings([int(effect.argmax())])
    assert rows[0][0] == token.replace(" ", "·").replace("\n", "↵")
    strongest = saved(page, "Strongest at")
    written = np.abs(post_of(run, 40)[:, 4]) * output_norms(run.model(40)).numpy()
    assert float(strongest[1][1]) == pytest.approx(float(written.max()), rel=1e-4)
    page.wait_for_function("lab.neurons().one.progress().have === lab.run().steps.length")
    series = [row for row in saved(page, "Over the training")[1:] if row[0].startswith("at ")]
    for _, step, value in series[:: len(series) // 3]:
        assert float(value) == pytest.approx(float(post_of(run, int(step))[3, 4, 100]), rel=1e-4, abs=1e-6)


def test_the_index_is_built_by_a_button_and_kept(page: Page, workshop: Server) -> None:
    run = tiny(workshop.root)
    address = f"{workshop.url}?page=neurons&run=tiny&step=40&v.neurons.layer=2&v.neurons.neuron=9"
    shown(page, address)
    texts = page.locator(".lab-neuron-texts")
    expect(texts).to_have_attribute("data-index", "none")
    assert page.locator(".neuron-texts li").count() == 0
    texts.get_by_role("button", name="Build the index").click()
    expect(texts).to_have_attribute("data-index", "building")
    expect(texts.get_by_role("progressbar")).to_be_visible()
    expect(texts).to_have_attribute("data-index", "built", timeout=90_000)
    index = neuron_index.find(run, 40)
    assert index is not None
    neuron = int(index.share[2].argmax())
    shown(page, address.replace("neuron=9", f"neuron={neuron}"))
    page.wait_for_function("document.querySelector('.lab-neuron-texts').dataset.painted")
    expect(page.locator(".neuron-texts li")).to_have_count(6)
    texts.get_by_role("button", name="Show all 20").click()
    items = page.locator(".neuron-texts li")
    expect(items).to_have_count(20)
    for i in (0, 19):
        ids = index.text_ids(index.text[2, neuron, i])
        words = [token.replace(" ", "·").replace("\n", "↵") for token in run.tokenizer.token_strings(ids)]
        assert items.nth(i).locator(".chip").all_inner_texts() == words
        value, position = float(index.value[2, neuron, i]), int(index.position[2, neuron, i])
        assert number(items.nth(i).locator(".caption").inner_text().split(" ")[0]) == pytest.approx(value, rel=5e-3)
        assert items.nth(i).locator(".chip.peak").get_attribute("data-position") == str(position)
    kinds = json.loads(page.locator(".lab-neuron-layers").get_attribute("data-kinds"))
    assert [layer["dead"] for layer in kinds] == index.dead.sum(1).tolist()
    assert [layer["saturated"] for layer in kinds] == index.saturated.sum(1).tolist()
    rows = saved(page, "How strongly it is active")[1:]
    assert int(rows[0][2]) == int(index.counts[2, neuron, 0])
    assert sum(int(row[2]) for row in rows) == index.tokens
    page.evaluate("lab.set({ step: 0 })")
    expect(texts).to_have_attribute("data-index", "none")
    expect(page.locator(".neuron-texts li")).to_have_count(0)


def test_building_can_be_stopped(page: Page, workshop: Server) -> None:
    shown(page, f"{workshop.url}?page=neurons&run=tiny&step=1")
    texts = page.locator(".lab-neuron-texts")
    texts.get_by_role("button", name="Build the index").click()
    expect(texts).to_have_attribute("data-index", "building")
    texts.get_by_role("button", name="Stop").click()
    expect(texts).to_have_attribute("data-index", "none")
    expect(page.locator(".neuron-status")).not_to_have_class(re.compile("trouble"))
    assert neuron_index.find(tiny(workshop.root), 1) is None


def test_nothing_overflows_a_phone(new_page, lab: Server) -> None:
    page = shown(new_page(viewport=PHONE, has_touch=True), f"{lab.url}?page=neurons&run=tiny")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
