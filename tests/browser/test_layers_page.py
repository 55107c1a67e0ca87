"""The Layers page: its numbers are those that the library computes from the run's files, at every step and position."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from driving import PHONE, ready
from playwright.sync_api import Locator, Page, expect

from guppy.inspect.attribution import Attribution
from guppy.inspect.lens import Lens
from guppy.inspect.questions import ask
from guppy.runs import open_run

PROMPT = "are you hungry?"


def painted(page: Page, part: str) -> Locator:
    """The figure of a part of the page, once it shows the run and step of the frame."""
    page.wait_for_function(
        """part => {
            const figure = document.querySelector(`.lab-layers-${part} .kit-figure`);
            const { run, step, prompt } = window.lab?.state ?? {};
            if (!figure || figure.classList.contains("waiting")) return false;
            return figure.dataset.painted === JSON.stringify([run, step, prompt]);
        }""",
        arg=part,
    )
    return page.locator(f".lab-layers-{part} .kit-figure")


def cell(figure: Locator, row: int, column: int) -> dict:
    """Where a cell of a matrix is, for `hover` and `click`."""
    x, y = figure.evaluate(
        """(figure, [row, column]) => {
            const { left, top, w, h } = figure.matrix();
            return [left + (column + 0.5) * w, top + (row + 0.5) * h];
        }""",
        [row, column],
    )
    return {"position": {"x": x, "y": y}}


def numbers(text: str) -> list[float]:
    return [float(each.replace("−", "-")) for each in re.findall(r"[-−]?\d+(?:\.\d+)?(?:e[-+]?\d+)?", text)]


def test_a_cell_of_the_lens_reads_what_the_library_says(page: Page, lab) -> None:
    found: Lens = ask(open_run(lab.root / "tiny"), "lens", PROMPT, 40)
    page.goto(f"{lab.url}?page=layers&run=tiny&step=40")
    ready(page)
    figure = painted(page, "lens")
    figure.locator(".kit-plot").hover(**cell(figure, 3, 5))
    readout = figure.locator(".kit-readout")
    expect(readout).to_contain_text("after the attention of layer 1")
    said = readout.inner_text()
    probability = numbers(said.split("’ ")[2])[0]
    assert probability == pytest.approx(float(found.top_probs[3, 5, 0]), rel=5e-3)
    assert numbers(said.split("KL to final ")[1])[0] == pytest.approx(float(found.kl[3, 5]), rel=5e-3)
    # The cell's ten tokens stand beside it, and its position is looked at everywhere.
    bars = page.locator(".lab-layers-cell .kit-about")
    expect(bars).to_contain_text("After the attention of layer 1")
    expect(page.locator(".lab-layers-parts .kit-about")).to_contain_text("(position 5)")
    figure.locator(".kit-plot").click(**cell(figure, 2, 7))
    page.wait_for_url("**v.layers.point=2**v.layers.position=7**")
    page.mouse.move(5, 500)
    expect(page.locator(".lab-layers-stream .kit-readout")).to_contain_text("(position 7)")
    page.get_by_role("button", name="KL to final").click()
    page.wait_for_url("**v.layers.color=kl**")


def test_the_parts_add_up_to_the_logit(page: Page, lab) -> None:
    run = open_run(lab.root / "tiny")
    found: Attribution = ask(run, "attribution", PROMPT, 40)
    page.goto(f"{lab.url}?page=layers&run=tiny&step=40")
    ready(page)
    figure = painted(page, "parts")
    total, logit = numbers(figure.locator(".kit-foot .caption").first.inner_text())[:2]
    assert total == pytest.approx(float(found.total[-1]), abs=1e-3)
    assert logit == pytest.approx(float(found.logit[-1]), abs=1e-3) and abs(total - logit) <= 2e-4
    token, other = int(found.top_ids[-1, 3]), int(found.top_ids[-1, 0])
    box = page.get_by_label("token: choose or type one")
    box.fill(page.locator("#layers-tokens option").nth(3).get_attribute("value"))
    box.press("Enter")
    page.wait_for_url(f"**v.layers.token=%23{token}**")
    figure = painted(page, "parts")
    chosen: Attribution = ask(run, "attribution", PROMPT, 40, token=f"#{token}")
    assert int(chosen.against[-1]) == other
    shown = numbers(figure.locator(".kit-foot .caption").first.inner_text())
    assert shown[1] == pytest.approx(float(chosen.logit[-1]), abs=1e-3)
    heads = painted(page, "heads")
    heads.locator(".kit-plot").hover(**cell(heads, 2, 1))
    expect(heads.locator(".kit-readout")).to_contain_text("head 1 of layer 2 writes")
    written = numbers(heads.locator(".kit-readout").inner_text().split("writes ")[1])[0]
    assert written == pytest.approx(float(chosen.heads[2, 1, -1]), rel=5e-3, abs=1e-6)


def test_a_neuron_opens_on_its_own_page(page: Page, lab) -> None:
    found: Attribution = ask(open_run(lab.root / "tiny"), "attribution", PROMPT, 40)
    page.goto(f"{lab.url}?page=layers&run=tiny&step=40")
    ready(page)
    bars = painted(page, "neurons").locator(".kit-plot")
    bars.hover(position={"x": 20, "y": 32})
    layer, neuron = int(found.neuron_layer[-1, 0]), int(found.neuron[-1, 0])
    expect(page.locator(".lab-layers-neurons .kit-readout")).to_contain_text(f"neuron {layer}.{neuron} writes")
    bars.click(position={"x": 20, "y": 32})
    page.wait_for_url(f"**page=neurons**v.neurons.layer={layer}**v.neurons.neuron={neuron}**")


def test_what_cannot_be_compared_is_said(page: Page, lab, console) -> None:
    console.allow("status of 400|Failed to load resource")
    page.goto(f"{lab.url}?page=layers&run=tiny&step=40&v.layers.token=hungry%20hungry%20hippo")
    ready(page)
    expect(page.locator(".lab-layers-parts .kit-status")).to_contain_text("tokens (")
    page.get_by_role("button", name="Top two").click()
    painted(page, "parts")


def test_the_time_bar_moves_without_the_server(page: Page, lab) -> None:
    page.goto(f"{lab.url}?page=layers&run=tiny&step=40")
    ready(page)
    for part in ("lens", "stream", "parts"):
        expect(page.locator(f".lab-layers-{part} .kit-status")).to_contain_text("all 24 checkpoints")
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "/lab/inspect/" in request.url else None)
    page.evaluate("lab.set({ step: lab.run().steps[5] })")
    step = page.evaluate("lab.state.step")
    for part in ("lens", "stream", "parts"):
        assert f",{step}," in painted(page, part).get_attribute("data-painted")
    assert not asked


def test_a_tuned_lens_is_trained_on_a_click(page: Page, workshop) -> None:
    page.goto(f"{workshop.url}?page=layers&run=tiny&step=40")
    ready(page)
    expect(page.locator(".lab-layers-tuned .kit-status")).to_contain_text("Not trained at this step")
    button = page.get_by_role("button", name="Train the tuned lens")
    button.click()
    figure = page.locator(".lab-layers-tuned .kit-figure")
    expect(figure.locator(".kit-foot")).to_contain_text("Held-out text", timeout=120_000)
    expect(button).to_be_hidden()
    before, after = numbers(figure.locator(".kit-foot .caption").first.inner_text().split("KL to final")[1])[:2]
    assert after < before
    found = ask(open_run(workshop.root / "tiny"), "tuned-lens", PROMPT, 40)
    figure.locator(".kit-plot").hover(**cell(figure, 1, 5))
    expect(figure.locator(".kit-readout")).to_contain_text("after the MLP of layer 0")
    said = figure.locator(".kit-readout").inner_text()
    assert numbers(said.split("KL to final ")[1])[0] == pytest.approx(float(found.kl[1, 5]), rel=5e-3)
    page.evaluate("lab.set({ step: lab.run().steps[3] })")
    expect(button).to_be_visible()


def test_under_surgery_and_on_a_phone(new_page: Callable[..., Page], lab) -> None:
    phone = new_page(viewport=PHONE, has_touch=True)
    phone.goto(f"{lab.url}?page=layers&run=tiny-nomask&prompt=" + "do you like the warm water " * 12)
    ready(phone)
    for part in ("lens", "stream", "sizes", "parts", "heads", "neurons", "depth", "cell", "nearness"):
        expect(painted(phone, part).locator(".kit-foot")).to_contain_text("no causal mask")
    assert phone.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
