"""The Cause page: its numbers are those that the library computes from the run's files."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote

import pytest
from driving import PHONE, ready
from playwright.sync_api import Locator, Page, expect

from guppy.inspect.ablation import Ablations
from guppy.inspect.composition import Composition
from guppy.inspect.patching import PatchedPrompts
from guppy.inspect.questions import ask
from guppy.inspect.shapley import Subsets
from guppy.inspect.without import Without
from guppy.runs import Run, open_run

PROMPT = "are you hungry?"
OTHERS = ("are you here?", "are you happy?", "are you there?", "are we hungry?", "do you hungry?", "you are hungry?")


def figure(page: Page, section: str, number: int = 0) -> Locator:
    """A figure of a section, once it shows the run, step and prompt of the frame and waits for nothing."""
    page.wait_for_function(
        """([section, number]) => {
            const figure = document.querySelectorAll(`.lab-cause-${section} .kit-figure`)[number];
            if (!figure?.dataset.painted || figure.classList.contains("waiting")) return false;
            const [run, step, prompt] = JSON.parse(figure.dataset.painted);
            const { state } = lab;
            return run === state.run && step === state.step && (prompt ?? state.prompt) === state.prompt;
        }""",
        arg=[section, number],
    )
    return page.locator(f".lab-cause-{section} .kit-figure").nth(number)


def cell(found: Locator, row: int, column: int) -> dict:
    """Where a cell of a matrix is, for `hover` and `click`."""
    x, y = found.evaluate(
        """(figure, [row, column]) => {
            const { left, top, w, h } = figure.matrix();
            return [left + (column + 0.5) * w, top + (row + 0.5) * h];
        }""",
        [row, column],
    )
    return {"position": {"x": x, "y": y}}


def numbers(text: str) -> list[float]:
    return [float(each.replace("−", "-")) for each in re.findall(r"[-−]?\d+(?:\.\d+)?(?:e[-+]?\d+)?", text)]


def same_length(run: Run) -> str:
    """A prompt of as many tokens as `PROMPT`."""
    return next(text for text in OTHERS if len(run.encode_prompt(text)) == len(run.encode_prompt(PROMPT)))


@pytest.mark.parametrize("how", ["zero", "mean"])
def test_what_is_taken_out_is_missed_as_the_library_says(page: Page, lab, how: str) -> None:
    run = open_run(lab.root / "tiny")
    found: Ablations = ask(run, "ablation", PROMPT, 40, how=how)
    page.goto(f"{lab.url}?page=cause&run=tiny&step=40&v.cause.how={how}")
    ready(page)
    matrix = figure(page, "ablation")
    matrix.locator(".kit-plot").hover(**cell(matrix, 2, 5))
    readout = matrix.locator(".kit-readout")
    expect(readout).to_contain_text("Without MLP of layer 2")
    said = readout.inner_text()
    assert numbers(said.split("loss ")[1])[0] == pytest.approx(float(found.loss[2, 5]), rel=5e-3)
    assert numbers(said.split("KL ")[1])[0] == pytest.approx(float(found.kl[2, 5]), rel=5e-3)

    # A click shows what it says without that part.
    matrix.locator(".kit-plot").click(**cell(matrix, 0, 1))
    page.wait_for_url("**v.cause.part=0.1**")
    without: Without = ask(run, "without", PROMPT, 40, part="blocks.0.attn.hook_z[1]", how=how)
    expect(page.locator(".lab-cause-ablation h2").nth(4)).to_have_text("Without head 0.1")
    for index, number in ((0, 2), (1, 3)):
        bars = figure(page, "ablation", number)
        expect(bars.locator("blockquote")).to_have_text(without.replies[index].strip() or "(it says nothing)")
        assert numbers(bars.locator(".kit-foot .caption").first.inner_text())[0] == pytest.approx(
            without.loss[index], rel=5e-3
        )


def test_every_subset_is_a_point(page: Page, lab) -> None:
    found: Subsets = ask(open_run(lab.root / "tiny"), "shapley", PROMPT, 40, part="attention")
    page.goto(f"{lab.url}?page=cause&run=tiny&step=40&v.cause.of=attention")
    ready(page)
    cloud = figure(page, "subsets")
    points = cloud.evaluate("figure => figure.points()")
    assert [point["loss"] for point in points] == pytest.approx(found.loss.tolist(), rel=1e-5)
    assert points[5]["on"] == [1, 3] == found.on[5].nonzero()[:, 0].tolist()
    cloud.locator(".kit-plot").hover(position={"x": points[0]["x"], "y": points[0]["y"]})
    expect(cloud.locator(".kit-readout")).to_contain_text("no attention left in")
    total = numbers(figure(page, "subsets", 1).locator(".kit-foot .caption").first.inner_text())[0]
    assert total == pytest.approx(found.total, rel=5e-3) and found.shapley.sum() == pytest.approx(found.total)


def test_patching_follows_both_prompts(page: Page, lab) -> None:
    run = open_run(lab.root / "tiny")
    other = same_length(run)
    page.goto(f"{lab.url}?page=cause&run=tiny&step=40")
    ready(page)
    box = page.get_by_label("Corrupted prompt")
    box.fill(other)
    box.press("Enter")
    page.wait_for_url("**v.cause.other=**")
    found: PatchedPrompts = ask(run, "patching", PROMPT, 40, corrupted=other)
    matrix = figure(page, "patching")
    layer, position = 2, len(found.clean_tokens) - 1
    matrix.locator(".kit-plot").hover(**cell(matrix, layer, position))
    said = matrix.locator(".kit-readout").inner_text().split("’: ")[1]
    recovered, difference, clean, corrupted = numbers(said)
    assert recovered == pytest.approx(float(found.recovered[layer, position]), rel=5e-3, abs=1e-5)
    assert difference == pytest.approx(float(found.logit_diff[layer, position]), rel=5e-3)
    assert clean == pytest.approx(found.clean_logit_diff, rel=5e-3)
    assert corrupted == pytest.approx(found.corrupted_logit_diff, rel=5e-3)
    differ = sum(a != b for a, b in zip(found.clean_tokens, found.corrupted_tokens, strict=True))
    assert page.locator(".cause-aligned .differs").count() == differ

    page.locator(".lab-cause-patching select[aria-label='Copied']").select_option("mlp_out")
    page.get_by_role("button", name="corrupted into clean").click()
    noised: PatchedPrompts = ask(run, "patching", PROMPT, 40, corrupted=other, site="mlp_out", direction="noise")
    page.wait_for_url("**v.cause.direction=noise**")
    matrix = figure(page, "patching")
    matrix.locator(".kit-plot").hover(**cell(matrix, 1, position))
    said = matrix.locator(".kit-readout").inner_text().split("’: ")[1]
    assert numbers(said)[0] == pytest.approx(float(noised.recovered[1, position]), rel=5e-3, abs=1e-5)


def test_prompts_of_different_lengths_are_refused_with_both(page: Page, lab, console) -> None:
    console.allow("400")
    page.goto(f"{lab.url}?page=cause&run=tiny&step=40&v.cause.other=are+you+very+very+hungry%3F")
    ready(page)
    expect(page.locator(".lab-cause-patching .kit-status").first).to_contain_text("patching needs as many in both")
    expect(page.locator(".cause-prompts .caption")).to_contain_text("change words until both have as many")


def test_composition_and_its_graph(page: Page, lab) -> None:
    found: Composition = ask(open_run(lab.root / "tiny"), "composition", step=40)
    page.goto(f"{lab.url}?page=cause&run=tiny&step=40&v.cause.kind=K&v.cause.least=30")
    ready(page)
    matrix = figure(page, "composition")
    matrix.locator(".kit-plot").hover(**cell(matrix, 1, 4 + 2))  # writer 0.1, reader 2.2
    readout = matrix.locator(".kit-readout")
    expect(readout).to_contain_text("head 2.2 reads head 0.1 for its keys")
    above, score, random = numbers(readout.inner_text().split("keys: ")[1])
    assert above == pytest.approx(float(found.above[1, 0, 1, 2, 2]), rel=5e-3)
    assert score == pytest.approx(float(found.score[1, 0, 1, 2, 2]), rel=5e-3)
    assert random == pytest.approx(found.baseline, rel=5e-3)
    edges = figure(page, "composition", 1).evaluate("figure => figure.edges().length")
    assert edges == int((found.above[1] > 0.3 * found.above[1].max()).sum()) > 0


def test_it_fits_a_phone(new_page: Callable[..., Page], lab) -> None:
    page = new_page(viewport=PHONE, has_touch=True, color_scheme="dark")
    page.goto(f"{lab.url}?page=cause&run=tiny&step=40&v.cause.other={quote(same_length(open_run(lab.root / 'tiny')))}")
    ready(page)
    for section, count in (("ablation", 4), ("subsets", 3), ("patching", 2), ("composition", 2)):
        for number in range(count):
            figure(page, section, number)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
