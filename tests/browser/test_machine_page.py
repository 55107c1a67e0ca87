"""The Machine page: its formulas are the library's for every shape, its map's areas are bytes, its sliders say so."""

from __future__ import annotations

import csv
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from driving import PHONE, ready
from playwright.sync_api import Page, expect

from guppy.config import ModelConfig
from guppy.inspect.flops import flops, speed
from guppy.inspect.memory import Memory, memory
from guppy.runs import Run, open_run


def opened(page: Page, url: str, query: str = "run=tiny") -> Page:
    page.goto(f"{url}?page=machine&{query}")
    ready(page)
    page.wait_for_function(
        """() => document.querySelector(".lab-machine-shape")?.dataset.painted
            && document.querySelector(".lab-machine-map .kit-figure")?.dataset.painted"""
    )
    return page


def counted(run: Run, size: dict[str, int], mode: str) -> Memory:
    """What the library says of a shape, as the run was trained."""
    names = ("n_layers", "d_model", "n_heads", "d_mlp", "vocab_size")
    config = ModelConfig(n_ctx=size["context"], **{name: size[name] for name in names})
    how = {"optimizer": run.train_config.optimizer, "dtype": run.manifest["dtype"], "device": run.manifest["device"]}
    return memory(config, batch=size["batch"], mode=mode, surgery=run.surgery, **how)


def shapes(count: int) -> list[dict[str, int]]:
    draw = random.Random(0)
    found = []
    for _ in range(count):
        heads = draw.choice([1, 2, 3, 4, 8])
        found.append(
            {
                "n_layers": draw.randint(1, 9),
                "n_heads": heads,
                "d_model": heads * draw.choice([4, 8, 32]),
                "d_mlp": draw.randint(1, 700),
                "context": draw.randint(1, 300),
                "batch": draw.randint(1, 99),
                "vocab_size": draw.randint(2, 3000),
            }
        )
    return found


@pytest.mark.parametrize("name", ["tiny", "tiny-nomask"])
@pytest.mark.parametrize("mode", ["training", "inference"])
def test_the_formulas_are_the_librarys_for_every_shape(page: Page, lab, name: str, mode: str) -> None:
    run = open_run(lab.root / name)
    opened(page, lab.url, f"run={name}&v.machine.mode={mode}")
    sizes = shapes(12)
    found = page.evaluate(
        """sizes => sizes.map(size => {
            const { q, ops } = lab.machine;
            const held = lab.machine.memory(q.shown.facts, size);
            const tensors = lab.machine.tensors(q.shown.facts, size);
            return { held, tensors, work: lab.machine.operations(ops.shown.facts, size) };
        })""",
        sizes,
    )
    for size, shown in zip(sizes, found, strict=True):
        expected = counted(run, size, mode)
        assert shown["held"]["groups"] == expected.totals
        assert (shown["held"]["peak"], shown["held"]["fullest"]) == (expected.peak, expected.fullest)
        listed = [(each["name"], each["shape"], each["bytes"]) for each in shown["tensors"]]
        assert listed == list(zip(expected.name, expected.shape, expected.bytes.tolist(), strict=True))
        config = ModelConfig(n_ctx=size["context"], **{k: v for k, v in size.items() if k not in ("batch", "context")})
        work = flops(config, batch=size["batch"], surgery=run.surgery)
        assert (shown["work"]["forward"], shown["work"]["backward"]) == (work.forward.sum(), work.backward.sum())
        assert shown["work"]["needed"] == work.total_needed


def test_areas_of_the_map_are_bytes_and_the_hand_reads_them(page: Page, lab) -> None:
    run = open_run(lab.root / "tiny")
    opened(page, lab.url)
    figure = page.locator(".lab-machine-map .kit-figure")
    places = figure.evaluate("figure => figure.places().filter(({ node }) => node.tensor)")
    total = sum(each["node"]["value"] for each in places)
    area = sum(each["w"] * each["h"] for each in places)
    for each in places:
        assert each["w"] * each["h"] / area == pytest.approx(each["node"]["value"] / total, rel=1e-6)
    own = page.evaluate("lab.machine.own(lab.machine.q.shown.facts)")
    expected = counted(run, own, "training")
    largest = max(
        places, key=lambda each: each["node"]["value"] if each["node"]["tensor"]["group"] == "activations" else 0
    )
    x, y = largest["x"] + largest["w"] / 2, largest["y"] + largest["h"] / 2
    figure.locator(".kit-plot").hover(position={"x": x, "y": y})
    readout = figure.locator(".kit-readout")
    expect(readout).to_contain_text(largest["node"]["name"])
    at = expected.name.index(largest["node"]["name"])
    assert expected.bytes[at] == largest["node"]["value"]
    expect(readout).to_contain_text(" × ".join(map(str, expected.shape[at])))
    figure.locator(".kit-plot").click(position={"x": x, "y": y})
    expect(page.locator(".machine-trail")).to_contain_text("activations")
    page.wait_for_url(re.compile(r"v\.machine\.zoom=activations"))
    page.keyboard.press("Escape")
    expect(page.locator(".machine-trail")).to_be_hidden()


def test_sliders_move_the_shape_and_the_address_keeps_it(page: Page, lab) -> None:
    opened(page, lab.url)
    sentence = page.locator(".machine-sentence")
    before = sentence.inner_text()
    assert before.startswith("tiny has ")
    page.get_by_role("slider", name="depth").press("ArrowRight")
    expect(sentence).to_contain_text("This shape has")
    page.wait_for_url(re.compile(r"v\.machine\.n_layers=6"))
    after = sentence.inner_text()
    page.reload()
    expect(sentence).to_have_text(after)
    page.get_by_role("button", name="Back to the run’s shape").click()
    expect(sentence).to_have_text(before)
    expect(page).not_to_have_url(re.compile("n_layers"))


def test_numbers_can_be_kept(page: Page, lab, tmp_path: Path) -> None:
    run = open_run(lab.root / "tiny")
    opened(page, lab.url)
    figure = page.locator(".lab-machine-map .kit-figure")
    with page.expect_download() as download:
        figure.get_by_role("button", name="CSV").click()
    kept = tmp_path / "memory.csv"
    download.value.save_as(kept)
    rows = list(csv.DictReader(kept.open()))
    own = page.evaluate("lab.machine.own(lab.machine.q.shown.facts)")
    expected = counted(run, own, "training")
    of = dict(zip(expected.name, expected.bytes.tolist(), strict=True))
    assert len(rows) > 100 and all(int(row["bytes"]) == of[row["tensor"]] for row in rows)
    page.locator(".machine-part summary").filter(has_text="Gradients").click()
    first = page.locator(".machine-part[open]").filter(has_text="Gradients").locator("tbody tr").first
    expect(first).to_contain_text("ln_final.bias.grad")


def test_speed_is_that_of_the_metrics(page: Page, lab) -> None:
    found = speed(open_run(lab.root / "tiny"))
    opened(page, lab.url)
    numbers = page.locator(".lab-machine-speed .lab-numbers")
    shown = page.evaluate("value => lab.number(value)", found.tokens_per_second)
    expect(numbers).to_contain_text(shown)
    page.get_by_role("button", name="Measure this machine").click()
    expect(numbers).to_contain_text("share of the peak")


def test_it_fits_a_phone(new_page: Callable[..., Page], lab) -> None:
    page = opened(new_page(viewport=PHONE, has_touch=True), lab.url)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
