"""The kit for pages that ask a model, on a matrix of one head that is put on the Mask page for the test: what it
draws and what it saves are the model's numbers, the time bar needs no server, choices are kept in the address."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from driving import PHONE, SLACK, ready, report
from playwright.sync_api import Page, expect

import guppy

SLIDER = ".lab-timebar .slider"
FIGURE = "#kit-test .kit-figure"
BUILD = """() => {
    const root = lab.el("div", { id: "kit-test" });
    document.querySelector("#page-mask").prepend(root);
    const q = (window.q = lab.question("attention", { page: "mask", scrub: true }));
    const data = () => {
        const { tokens, arrays } = q.shown;
        const labels = lab.tokenLabels(tokens);
        return { rows: labels, columns: labels, values: arrays.pattern.data.subarray(0, tokens.length ** 2) };
    };
    const name = "mask.cell";
    const pinned = () => lab.choices.get(name)?.split(".").map(Number) ?? null;
    const pin = (at) => lab.choices.set(name, at && at.join("."));
    const words = { title: "One head <b>", rowTitle: "query", columnTitle: "key", unit: "probability" };
    window.fig = lab.matrix(root, { ...words, question: q, data, scale: "probability", pinned, pin });
}"""
PAINTED = """() => {
    const figure = document.querySelector("#kit-test .kit-figure");
    const { run, step, prompt } = lab.state;
    return figure?.dataset.painted === JSON.stringify([run, step, prompt]) && !figure.classList.contains("waiting");
}"""
COMPLETE = "() => q.progress().have === q.progress().of"


def build(page: Page, url: str, query: str = "") -> Page:
    page.goto(f"{url}?page=mask&run=tiny&step=40{query}")
    ready(page).wait_for_selector("#page-mask")
    page.evaluate(BUILD)
    page.wait_for_function(PAINTED)
    return page


def cell(page: Page, row: int, column: int) -> dict:
    """Where a cell is, for `hover` and `click`."""
    x, y = page.evaluate(
        """([row, column]) => {
            const { left, top, w, h } = fig.element.matrix();
            return [left + (column + 0.5) * w, top + (row + 0.5) * h];
        }""",
        [row, column],
    )
    return {"position": {"x": x, "y": y}}


def colour_at(page: Page, row: int, column: int) -> list[int]:
    at = cell(page, row, column)["position"]
    return page.evaluate(
        """({ x, y }) => {
            const canvas = document.querySelector("#kit-test canvas");
            const ratio = canvas.width / canvas.clientWidth;
            return [...canvas.getContext("2d").getImageData(x * ratio, y * ratio, 1, 1).data].slice(0, 3);
        }""",
        at,
    )


def truth(root: Path, step: int, prompt: str = "are you hungry?") -> np.ndarray:
    return guppy.inspect.ask(root / "tiny", "attention", prompt=prompt, step=step).pattern[0, 0].numpy()


def saved(page: Page, button: str) -> tuple[str, bytes]:
    with page.expect_download() as download:
        page.click(f"{FIGURE} .kit-save:has-text('{button}')")
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def test_a_matrix_shows_the_numbers(page: Page, lab, runs_root: Path) -> None:
    build(page, lab.url)
    expected = truth(runs_root, 40)
    for row, column in ((1, 0), (4, 2), (2, 4)):
        wanted = page.evaluate("p => lab.color.attention(p)", float(expected[row, column]))
        assert np.abs(np.array(colour_at(page, row, column)) - wanted).max() <= 2
    plot = page.locator(f"{FIGURE} .kit-plot")
    plot.hover(**cell(page, 4, 2))
    number = page.evaluate("p => lab.signed(p)", float(expected[4, 2]))
    expect(page.locator(f"{FIGURE} .kit-readout")).to_contain_text(f": {number} probability")
    plot.click(**cell(page, 4, 2))
    page.wait_for_url("**v.mask.cell=4.2*")
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**v.mask.cell=4.3*")
    page.mouse.move(5, 5)
    number = page.evaluate("p => lab.signed(p)", float(expected[4, 3]))
    expect(page.locator(f"{FIGURE} .kit-readout")).to_contain_text(f": {number} probability")
    page.keyboard.press("Escape")
    page.wait_for_function("() => !location.search.includes('v.mask.cell')")


def test_the_time_bar_needs_no_server(page: Page, lab, runs_root: Path) -> None:
    build(page, lab.url)
    page.wait_for_function(COMPLETE)
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "lab/inspect" in request.url else None)
    box = page.locator(SLIDER).bounding_box()
    for share in (0.9, 0.5, 0.2, 0.7, 0.0):
        page.mouse.click(box["x"] + 12 + share * (box["width"] - 24), box["y"] + 20)
        page.wait_for_function(PAINTED)
        expected = truth(runs_root, page.evaluate("lab.state.step"))
        wanted = page.evaluate("p => lab.color.attention(p)", float(expected[4, 2]))
        assert np.abs(np.array(colour_at(page, 4, 2)) - wanted).max() <= 2
    assert page.evaluate("lab.state.step") == 0 and not asked


def test_another_prompt_and_another_run(page: Page, lab, runs_root: Path) -> None:
    build(page, lab.url)
    page.fill("#lab-prompt", "what is <i>that</i> & 'why'?")
    page.wait_for_function("lab.state.prompt.startsWith('what')")
    page.wait_for_function(PAINTED)
    expected = truth(runs_root, 40, "what is <i>that</i> & 'why'?")
    assert page.evaluate("q.shown.arrays.pattern.shape").pop() == len(expected)
    page.evaluate("lab.set({ run: 'tiny-nomask', step: 6 })")
    page.wait_for_function(PAINTED)
    expect(page.locator(FIGURE)).to_contain_text("tiny-nomask · step 6 · “what is <i>that</i> & 'why'?”")
    expect(page.locator(FIGURE)).to_contain_text("blocks.{layer}.attn.hook_pattern · no causal mask · exact")


def test_a_broken_checkpoint_is_told_and_stops_no_other(page: Page, lab, console) -> None:
    console.allow("400")
    broken = 8

    def answer(route) -> None:
        steps = route.request.url.replace("%2C", ",").split("step")[1].split("=")[1].split("&")[0].split(",")
        if str(broken) in steps:
            route.fulfill(status=400, json={"error": "The checkpoint at step 8 is damaged."})
        else:
            route.continue_()

    page.route("**/lab/inspect/attention?*", answer)
    build(page, lab.url)
    page.wait_for_function("() => q.progress().have === q.progress().of - 1")
    page.evaluate("lab.set({ step: 8 })")
    expect(page.locator(f"{FIGURE} .kit-status")).to_have_text("The checkpoint at step 8 is damaged.")
    page.evaluate("lab.set({ step: 4 })")
    page.wait_for_function(PAINTED)
    expect(page.locator(f"{FIGURE} .kit-status.trouble")).to_have_count(0)


def test_files_hold_what_is_shown(page: Page, lab, runs_root: Path) -> None:
    build(page, lab.url)
    expected = truth(runs_root, 40)
    name, data = saved(page, "CSV")
    rows = list(csv.reader(io.StringIO(data.decode())))
    assert name == "tiny-step-40-attention.csv" and rows[0][0] == "query \\ key"
    np.testing.assert_allclose([[float(x) for x in row[1:]] for row in rows[1:]], expected, atol=1e-7)

    name, data = saved(page, "NPZ")
    assert name == "tiny-step-40-attention.npz"
    kept = np.load(io.BytesIO(data))
    np.testing.assert_allclose(kept["pattern"][0, 0], expected, atol=1e-6)
    assert str(kept["prompt"]) == "are you hungry?" and int(kept["step"]) == 40

    name, data = saved(page, "SVG")
    drawing = ElementTree.fromstring(data)
    texts = ["".join(each.itertext()) for each in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert name.endswith(".svg") and texts[0] == "One head <b>"
    assert "·hungry" in texts and any("tiny · step 40" in text for text in texts)
    assert len(list(drawing.iter("{http://www.w3.org/2000/svg}image"))) == 2  # the scale and the matrix

    name, data = saved(page, "PNG")
    width, height = (int.from_bytes(data[i : i + 4], "big") for i in (16, 20))
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and width == 2 * round(float(drawing.get("width"))) and height > 400


def test_choices_live_in_the_address(page: Page, lab) -> None:
    page.goto(f"{lab.url}?page=mask&run=tiny&v.mask.kind=b&v.talk.kind=c")
    ready(page).wait_for_selector("#page-mask")
    page.evaluate(
        """() => {
            const root = lab.el("div", { id: "kit-test" });
            document.querySelector("#page-mask").prepend(root);
            const values = [["a", "One"], ["b", "Two"]];
            window.kind = lab.choice(root, { name: "mask.kind", label: "Kind", values });
            const range = { min: 0, max: 10, step: 1, initial: 3 };
            window.many = lab.slider(root, { name: "mask.many", label: "Many", ...range });
            window.all = lab.toggle(root, { name: "mask.all", label: "All" });
        }"""
    )
    assert page.evaluate("[kind.value, many.value, all.value]") == ["b", 3, False]
    expect(page.locator("#kit-test [aria-pressed=true]")).to_have_text("Two")
    page.click("#kit-test .kit-toggle")
    page.locator("#kit-test input[type=range]").press("ArrowRight")
    page.wait_for_url("**v.mask.many=4*")
    assert "v.mask.all=1" in page.url and "v.mask.kind=b" in page.url and "talk" not in page.url
    page.click("#kit-test button:has-text('One')")
    page.wait_for_function("() => !location.search.includes('v.mask.kind')")

    page.evaluate("lab.set({ page: 'data' })")
    page.wait_for_url("**page=data*")
    assert "v.mask" not in page.url
    page.go_back()
    page.wait_for_url("**page=mask*")
    assert page.evaluate("[kind.value, many.value, all.value]") == ["a", 4, True]

    page.goto(f"{lab.url}?page=mask&v.mask.kind=nonsense&v.mask.at=12")
    ready(page)
    assert page.evaluate("lab.choices.get('mask.kind', ['a', 'b'])") == "a"
    assert page.evaluate("[lab.choices.number('mask.at', 12), lab.choices.number('mask.at', 13)]") == [
        None,
        12,
    ]


def test_nothing_is_wider_than_a_phone(new_page: Callable[..., Page], lab) -> None:
    phone = build(new_page(viewport=PHONE, has_touch=True), lab.url)
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    phone.locator(f"{FIGURE} .kit-plot").tap(**cell(phone, 3, 1))
    phone.wait_for_url("**v.mask.cell=3.1*")


# From the pointer event to the frame after the figure was painted for its step.
INSTRUMENT = """() => {
    const times = (window.dragTimes = []);
    const channel = new MessageChannel();
    let pending = null;
    channel.port1.onmessage = () => {
        if (!pending) return;
        if (JSON.parse(fig.element.dataset.painted)[1] !== pending.step) {
            return requestAnimationFrame(() => channel.port2.postMessage(0));
        }
        times.push(performance.now() - pending.start);
        pending = null;
    };
    document.addEventListener("pointermove", (event) => {
        const before = lab.state.step;
        const start = event.timeStamp;
        requestAnimationFrame(() => {
            if (lab.state.step === before || pending) return;
            pending = { start, step: lab.state.step };
            channel.port2.postMessage(0);
        });
    }, { capture: true });
}"""


def test_drag_to_a_painted_matrix(page: Page, lab) -> None:
    build(page, lab.url, "&prompt=" + "do you like the warm water and the light " * 6)
    page.wait_for_function(COMPLETE)
    page.evaluate(INSTRUMENT)
    box = page.locator(SLIDER).bounding_box()
    page.mouse.move(box["x"] + box["width"] - 12, box["y"] + 20)
    page.mouse.down()
    for sweep in range(4):
        for i in range(60):
            share = i / 59 if sweep % 2 else 1 - i / 59
            page.mouse.move(box["x"] + 12 + share * (box["width"] - 24), box["y"] + 20)
    page.mouse.up()
    page.wait_for_timeout(100)
    times = page.evaluate("dragTimes")
    assert len(times) > 40
    assert report("drag to a painted matrix of the kit", times, 33) <= 33 * SLACK
