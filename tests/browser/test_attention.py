"""The Attention page: what it draws is what the lab's route says, and every number can be read, linked and kept."""

from __future__ import annotations

import csv
import io
import json
import struct
import urllib.parse
import urllib.request
from collections.abc import Callable
from xml.etree import ElementTree

import numpy as np
import pytest
from driving import PHONE, complete, painted
from playwright.sync_api import Page, expect


def bundle(url: str, run: str, prompt: str, step: int) -> tuple[dict, np.ndarray]:
    """The header and the probabilities (layer, head, query, key) of one step."""
    query = urllib.parse.urlencode({"run": run, "prompt": prompt, "steps": step})
    with urllib.request.urlopen(f"{url}lab/attention?{query}") as answer:
        raw = answer.read()
    length = struct.unpack_from("<I", raw)[0]
    header = json.loads(raw[4 : 4 + length])
    shape = (header["layers"], header["heads"], header["n"], header["n"])
    return header, np.frombuffer(raw, "<u2", offset=4 + length).reshape(shape)


def pixels(page: Page, thumb: int) -> np.ndarray:
    """What a thumbnail shows, (query, key, rgb)."""
    return np.array(
        page.evaluate(
            """i => {
                const canvas = document.querySelectorAll(".thumb canvas")[i];
                const { width, height } = canvas;
                const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
                const rgb = (i) => [...data.slice(4 * i, 4 * i + 3)];
                const row = (y) => Array.from({ length: width }, (_, x) => rgb(y * width + x));
                return Array.from({ length: height }, (_, y) => row(y));
            }""",
            thumb,
        )
    )


def cell_at(page: Page, query: int, key: int) -> dict:
    """Where a cell of the large head is, for `hover`, `click` and `tap`, which wait until nothing moves any more."""
    x, y = page.evaluate(
        """([query, key]) => {
            const { left, top, cell } = document.querySelector(".lab-head").matrix();
            return [left + (key + 0.5) * cell, top + (query + 0.5) * cell];
        }""",
        [query, key],
    )
    return {"position": {"x": x, "y": y}}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_thumbnails_show_the_numbers(new_page: Callable[..., Page], lab, scheme: str) -> None:
    page = new_page(color_scheme=scheme)
    for run, step in (("tiny", 40), ("tiny-nomask", 6)):
        page.goto(f"{lab.url}?page=attention&run={run}&step={step}")
        painted(page, run=run, step=step)
        header, values = bundle(lab.url, run, "are you hungry?", step)
        assert page.locator(".thumb").count() == header["layers"] * header["heads"]
        for layer, head in ((0, 0), (3, 2)):
            shown = pixels(page, layer * header["heads"] + head)
            expected = np.array(
                page.evaluate(
                    "values => values.map(row => row.map(v => lab.color.attention(v / 65535)))",
                    values[layer, head].tolist(),
                )
            )
            assert np.abs(shown - expected).max() <= 2
        surface = page.evaluate("lab.css('--paper')")
        hidden = pixels(page, 0)[0, -1]  # the first query and the last key
        if run == "tiny":
            assert "#" + "".join(f"{channel:02x}" for channel in hidden) == surface
        else:
            assert values[0, 0, 0, -1] > 0
    assert page.locator(".grid.future").count() == 1


def test_hover_previews_and_click_pins(page: Page, lab) -> None:
    page.goto(f"{lab.url}?page=attention&run=tiny&step=40")
    painted(page)
    title = page.locator(".lab-head h2")
    expect(title).to_have_text("Layer 0 · head 0")
    thumb = page.get_by_role("button", name="Layer 2, head 1")
    thumb.hover()
    expect(title).to_have_text("Layer 2 · head 1")
    page.mouse.move(5, 400)
    expect(title).to_have_text("Layer 0 · head 0")
    thumb.click()
    page.mouse.move(5, 400)
    expect(title).to_have_text("Layer 2 · head 1")
    expect(thumb).to_have_attribute("aria-pressed", "true")
    page.wait_for_url("**head=2.1**")
    thumb.press("Escape")
    expect(title).to_have_text("Layer 0 · head 0")


def test_the_number_under_the_hand(page: Page, lab) -> None:
    page.goto(f"{lab.url}?page=attention&run=tiny&step=40&head=1.3")
    painted(page, layer=1)
    header, values = bundle(lab.url, "tiny", "are you hungry?", 40)
    readout, plot = page.locator(".lab-head .readout"), page.locator(".lab-head .plot")
    tokens = [token.replace(" ", "·").replace("\n", "↵") for token in header["tokens"]]
    plot.hover(**cell_at(page, 6, 4))
    probability = values[1, 3, 6, 4] / 65535
    expect(readout).to_contain_text(f"the query ‘{tokens[6]}’ looks at ‘{tokens[4]}’: ")
    assert float(readout.inner_text().split(": ")[-1]) == pytest.approx(probability, rel=5e-3)
    assert page.locator(".lab-head").get_attribute("data-value") == str(values[1, 3, 6, 4])
    expect(page.locator(".strip .chip.query")).to_have_text(tokens[6])
    expect(page.locator(".strip .chip.key")).to_have_text(tokens[4])
    plot.hover(**cell_at(page, 2, 9))
    expect(readout).to_have_text(f"the query ‘{tokens[2]}’ looks at ‘{tokens[9]}’: 0")
    page.mouse.move(5, 400)
    expect(readout).to_contain_text("Point at a cell")


def test_pinned_cell_by_keyboard(page: Page, lab) -> None:
    page.goto(f"{lab.url}?page=attention&run=tiny&step=40&head=1.3")
    painted(page, layer=1)
    page.locator(".lab-head .plot").click(**cell_at(page, 6, 4))
    page.wait_for_url("**cell=6.4**")
    plot = page.locator(".lab-head .plot")
    plot.focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowUp", "ArrowUp"):
        plot.press(key)
    page.mouse.move(5, 400)
    assert page.evaluate("[lab.state.query, lab.state.key]") == [5, 6]
    assert page.evaluate("lab.state.step") == 40, "arrows in the matrix do not move the time bar"
    _, values = bundle(lab.url, "tiny", "are you hungry?", 40)
    assert page.locator(".lab-head").get_attribute("data-value") == str(values[1, 3, 5, 6])
    plot.press("Escape")
    assert page.evaluate("[lab.state.query, lab.state.layer]") == [None, 1]
    plot.press("Escape")
    assert page.evaluate("lab.state.layer") is None


def test_strip_tints_tokens_by_where_the_query_looks(page: Page, lab) -> None:
    page.goto(f"{lab.url}?page=attention&run=tiny&step=40&head=0.0")
    painted(page, layer=0)
    page.locator(".strip .chip").nth(5).hover()
    _, values = bundle(lab.url, "tiny", "are you hungry?", 40)
    for position in (0, 5, 9):
        shown = page.locator(".strip .chip").nth(position).evaluate("e => getComputedStyle(e).backgroundColor")
        colour = page.evaluate("v => lab.color.attention(v)", int(values[0, 0, 5, position]) / 65535)
        assert shown == f"rgb({', '.join(map(str, colour))})"


def test_captions_name_everything(page: Page, lab) -> None:
    page.goto(f"{lab.url}?page=attention&run=tiny-nomask&head=2.3")
    painted(page, layer=2)
    caption = page.locator(".lab-head .caption").inner_text()
    for part in (
        "tiny-nomask",
        "step 10",
        "“are you hungry?”",
        "blocks.2.attn.hook_pattern[3]",
        "no causal mask",
        "exact",
    ):
        assert part in caption
    assert "blocks.*.attn.hook_pattern" in page.locator(".lab-wall .caption").first.inner_text()


def test_scrubbing_asks_the_server_nothing_once_all_is_there(page: Page, lab) -> None:
    page.goto(f"{lab.url}?page=attention&run=tiny&step=40")
    complete(painted(page))
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    slider = page.locator(".lab-timebar .slider")
    slider.press("Home")
    painted(page, step=0)
    for _ in range(8):
        slider.press("ArrowRight")
    painted(page, step=page.evaluate("lab.run().steps[8]"))
    assert asked == []
    _, values = bundle(lab.url, "tiny", "are you hungry?", page.evaluate("lab.state.step"))
    expected = np.array(
        page.evaluate(
            "values => values.map(row => row.map(v => lab.color.attention(v / 65535)))", values[1, 1].tolist()
        )
    )
    assert np.abs(pixels(page, 5) - expected).max() <= 2


def test_downloads(page: Page, lab) -> None:
    page.goto(f"{lab.url}?page=attention&run=tiny&step=40&head=1.3")
    painted(page, layer=1)
    header, values = bundle(lab.url, "tiny", "are you hungry?", 40)
    with page.expect_download() as wanted:
        page.locator(".lab-head").get_by_role("button", name="CSV").click()
    assert wanted.value.suggested_filename == "tiny-step-40-L1H3.csv"
    rows = list(csv.reader(io.StringIO(wanted.value.path().read_text(encoding="utf-8"))))
    assert len(rows) == header["n"] + 1
    numbers = np.array([[float(value) for value in row[1:]] for row in rows[1:]])
    assert np.abs(numbers - values[1, 3] / 65535).max() < 1e-6
    for place, name in ((".lab-wall", "tiny-step-40-heads"), (".lab-head", "tiny-step-40-L1H3")):
        with page.expect_download() as wanted:
            page.locator(place).get_by_role("button", name="PNG").click()
        assert wanted.value.suggested_filename == f"{name}.png"
        picture = wanted.value.path().read_bytes()
        assert picture.startswith(b"\x89PNG")
        width, height = struct.unpack(">II", picture[16:24])
        assert width > 600
        assert height > 600
        with page.expect_download() as wanted:
            page.locator(place).get_by_role("button", name="SVG").click()
        assert wanted.value.suggested_filename == f"{name}.svg"
        drawing = ElementTree.parse(wanted.value.path()).getroot()
        texts = {element.text for element in drawing.iter("{http://www.w3.org/2000/svg}text")}
        assert {"L3", "H3"} <= texts if place == ".lab-wall" else set(header["tokens"]) & texts


def test_a_step_that_cannot_be_read_says_so_and_the_others_work(page: Page, lab, console) -> None:
    console.allow("status of 400|Failed to load resource")

    def refuse(route) -> None:
        steps = urllib.parse.parse_qs(urllib.parse.urlsplit(route.request.url).query)["steps"][0].split(",")
        if "4" in steps:
            route.fulfill(status=400, json={"error": "The weights of step 4 are damaged."})
        else:
            route.continue_()

    page.route("**/lab/attention*", refuse)
    page.goto(f"{lab.url}?page=attention&run=tiny&step=4")
    expect(page.locator(".lab-wall .status")).to_have_text("The weights of step 4 are damaged.")
    page.locator(".lab-timebar .slider").press("End")
    painted(page, step=40)
    expect(page.locator(".lab-wall .status")).to_contain_text("checkpoints are in the browser")
    page.wait_for_function("+document.querySelector('.lab-wall').dataset.have === lab.run().steps.length - 1")


def test_a_run_without_checkpoints_shows_no_other_runs_pictures(page: Page, lab) -> None:
    def bare(route) -> None:
        answer = route.fetch()
        runs = answer.json()
        for run in runs["runs"]:
            if run["id"] == "tiny-nomask":
                run["steps"] = []
        route.fulfill(response=answer, json=runs)

    def no_news(route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json=answer.json() | {"steps": [], "rows": [], "samples": []})

    page.route("**/lab/runs", bare)
    page.route("**/lab/run/tiny-nomask*", no_news)
    page.goto(f"{lab.url}?page=attention&run=tiny")
    painted(page, run="tiny")
    page.select_option("#lab-run", "tiny-nomask")
    expect(page.locator(".lab-wall .status")).to_contain_text("no checkpoint yet")
    expect(page.locator(".lab-wall")).to_have_class("lab-wall waiting")
    expect(page.locator(".lab-timebar .step")).to_have_text("no checkpoint yet")
    page.select_option("#lab-run", "tiny")
    painted(page, run="tiny")


def test_a_long_prompt_on_a_phone(new_page: Callable[..., Page], lab) -> None:
    phone = new_page(viewport=PHONE, has_touch=True)
    prompt = "do you like the warm water and the light " * 12
    phone.goto(f"{lab.url}?page=attention&run=tiny&head=3.3&prompt={urllib.parse.quote(prompt)}")
    painted(phone, layer=3)
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    plot = phone.locator(".lab-head .plot")
    plot.scroll_into_view_if_needed()
    assert plot.bounding_box()["width"] <= 390
    plot.tap(**cell_at(phone, 100, 50))
    assert phone.evaluate("[lab.state.query, lab.state.key]") == [100, 50]
    expect(phone.locator(".lab-head .readout")).to_contain_text("looks at")
