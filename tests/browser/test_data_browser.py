"""The Data page in a real browser: characters to look at, one to write, a file to bring; and on to the Train page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Console, Server
from driving import PHONE, ready
from playwright.sync_api import Page, expect

from guppy.personas import list_personas, load_persona
from guppy.runs import open_run

SAMPLES = "#data-samples .lab-sample"
PREVIEW = "#data-preview .lab-sample"


def data(page: Page, server: Server, place: str = "") -> Page:
    page.goto(f"{server.url}?page=data&run=tiny" + (f"&data={place}" if place else ""))
    return ready(page)


def texts(page: Page, selector: str = SAMPLES) -> list[str]:
    return page.locator(selector).all_inner_texts()


def test_characters_are_chosen_and_speak(page: Page, lab: Server) -> None:
    data(page, lab)
    expect(page.locator(".lab-data-list button").first).to_be_visible()
    names = page.locator(".lab-data-list button").all_inner_texts()
    assert names[: len(list_personas())] == list_personas()
    expect(page.locator(SAMPLES)).to_have_count(12)
    page.get_by_role("button", name="lighthouse", exact=True).click()
    expect(page.locator(".lab-data-place h2").first).to_have_text("lighthouse")
    expect(page.locator(SAMPLES)).to_have_count(12)
    page.wait_for_url("**data=lighthouse**")
    before = texts(page)
    page.locator("#data-another").click()
    page.wait_for_function("document.querySelector('.lab-data-place').dataset.drawn === 'lighthouse  1'")
    assert texts(page) != before
    topic = page.locator(".lab-topic").nth(3)
    wanted = topic.evaluate("chip => chip.firstChild.textContent")
    topic.click()
    page.wait_for_function(
        "t => [...document.querySelectorAll('#data-samples .lab-sample')].every(s => s.dataset.topic === t)", arg=wanted
    )
    expect(page.locator(SAMPLES)).to_have_count(12)


def test_a_link_shows_what_it_showed(page: Page, lab: Server) -> None:
    data(page, lab, "write")
    expect(page.locator("#data-text")).to_be_visible()
    data(page, lab, "moon")
    expect(page.locator(SAMPLES)).to_have_count(12)
    page.locator(".lab-data-list button", has_text="Bring your own").click()
    expect(page.locator(".lab-drop")).to_be_visible()
    expect(page.locator("#data-samples")).to_be_hidden()


def test_what_is_written_is_previewed_and_a_mistake_is_told_beside_it(
    page: Page, lab: Server, console: Console
) -> None:
    console.allow("400")
    data(page, lab, "write")
    box, verdict = page.locator("#data-text"), page.locator("#data-verdict")
    expect(page.locator(PREVIEW)).to_have_count(8)
    before = texts(page, PREVIEW)
    text = box.input_value()
    box.fill(text.replace("(drops|puddles)", "ahoy <img src=x onerror=document.title='broken'>"))
    page.wait_for_function(
        "before => [...document.querySelectorAll('#data-preview article')].some((s, i) => s.innerText !== before[i])",
        arg=before,
    )
    expect(verdict).to_contain_text("snail: 4 topics")

    box.fill(text.replace("{leaf} (with you", "{leef} (with you"))
    expect(verdict).to_contain_text("Unknown rule {leef}")
    line = 1 + text[: text.index("{leaf} (with you")].count("\n")
    expect(verdict).to_contain_text(f"Line {line}: ")
    expect(page.locator(".lab-gutter .fault")).to_have_text(str(line))
    page.get_by_role("button", name=f"Line {line}").click()
    selected = "(box => box.value.slice(box.selectionStart, box.selectionEnd))(document.getElementById('data-text'))"
    assert "{leef}" in page.evaluate(selected)
    expect(page.locator("#data-train")).to_be_disabled()
    box.fill(text)
    expect(page.locator("#data-train")).to_be_enabled()
    expect(page.locator(".lab-gutter .fault")).to_have_count(0)
    assert "broken" not in page.title()


def test_markup_stays_text_everywhere(page: Page, lab: Server) -> None:
    evil = "<script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\">"
    data(page, lab, "write")
    persona = {
        "name": f"n{evil}",
        "description": evil,
        "voice": evil,
        "topics": {
            evil: {"prompts": [f"p{i} {evil}" for i in range(40)], "replies": [f"r{i} {evil}" for i in range(40)]}
        },
    }
    page.locator("#data-text").fill(json.dumps(persona))
    expect(page.locator(PREVIEW).first).to_contain_text(evil)
    page.locator("#data-train").click()
    expect(page.locator("#train-character option:checked")).to_contain_text("<script>")
    page.get_by_role("button", name="Look at it").click()
    expect(page.locator(".lab-data-lead").first).to_have_text(evil)
    expect(page.locator(SAMPLES).first).to_contain_text(evil)
    assert page.locator(".lab-data script, .lab-data img, #page-train img").count() == 0
    assert "broken" not in page.title()


def test_a_written_persona_is_trained_in_the_same_session(page: Page, workshop: Server) -> None:
    data(page, workshop, "write")
    expect(page.locator(PREVIEW)).to_have_count(8)
    page.locator("#data-train").click()
    page.wait_for_function("lab.state.page === 'train'")
    expect(page.locator("#train-character option:checked")).to_have_text("snail")
    page.reload()  # it is still this browser's
    ready(page)
    page.locator("#train-character").select_option(label="snail")
    page.locator("#train-unit").get_by_label("steps").check()
    page.locator("#train-amount input").fill("4")
    page.locator("#train-advanced button").first.click()
    for name, value in {"rows": 600, "batch": 4, "context": 32}.items():
        page.locator(f"#train-{name} input").fill(str(value))
    before = page.evaluate("lab.state.run")
    page.locator("#train-start").click()
    page.wait_for_function("before => lab.state.run !== before", arg=before, timeout=60_000)
    expect(page.locator(".lab-live .lab-status")).to_have_text("finished", timeout=60_000)
    run = open_run(workshop.root / page.evaluate("lab.state.run"))
    assert run.manifest["corpus"]["name"] == "snail"


def test_a_bad_file_then_a_good_one(page: Page, workshop: Server, tmp_path: Path, console: Console) -> None:
    console.allow("400")
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad<b>.jsonl"
    drawn = load_persona("moon").generate(300, seed=5)
    lines = [json.dumps({"input": row.input, "output": row.output, "category": row.category}) for row in drawn]
    good.write_text("\n".join(lines))
    bad.write_text("\n".join([*lines[:6], "{no json}"]))
    data(page, workshop, "bring")
    page.locator("#data-file").set_input_files(bad)
    expect(page.locator("#data-trouble")).to_contain_text("bad<b>.jsonl, line 7: This is not JSON", timeout=60_000)
    page.locator("#data-file").set_input_files(good)
    found = page.locator("#data-found")
    expect(found).to_contain_text("good.jsonl can be learned from", timeout=60_000)
    expect(found.locator(".lab-sample")).to_have_count(8)
    expect(found).to_contain_text("To read all of it once takes about")
    expect(page.locator(".lab-data-list")).to_contain_text("good.jsonl")
    page.locator("#data-train-file").click()
    expect(page.locator("#train-character option:checked")).to_have_text("good.jsonl")
    page.locator(".lab-nav a", has_text="Data").click()
    page.locator(".lab-data-list button", has_text="good.jsonl").click()
    expect(page.locator(".lab-data-place:visible")).to_contain_text("good.jsonl can be learned from")
    page.get_by_role("button", name="Forget this file").click()
    expect(page.locator(".lab-data-list")).not_to_contain_text("good.jsonl")


@pytest.mark.parametrize("place", ["guppy", "write", "bring"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(new_page: Callable[..., Page], lab: Server, place: str, scheme: str) -> None:
    page = new_page(viewport=PHONE, color_scheme=scheme)
    data(page, lab, place)
    expect(page.locator(f".lab-data[data-place={place if place != 'guppy' else 'character'}]")).to_be_visible()
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
