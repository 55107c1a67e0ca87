"""The frame: run, time bar, prompt, pages, themes, and the address that reproduces them."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest
from driving import PHONE, complete, painted, ready
from playwright.sync_api import Page, expect

from lab.components import PAGES

SLIDER = ".lab-timebar .slider"


def state(page: Page, key: str) -> object:
    return page.evaluate("key => lab.state[key]", key)


def test_opens_on_attention_with_a_run_and_a_prompt(page: Page, lab) -> None:
    page.goto(lab.url)
    painted(page)
    assert state(page, "page") == "attention"
    assert state(page, "prompt") == "are you hungry?"
    assert page.title() == "Attention · Guppy Lab"


@pytest.mark.parametrize(("width", "height"), [(1440, 140), (390, 170)])
def test_the_frame_is_low_stays_put_and_nothing_overflows(
    new_page: Callable[..., Page], lab, width: int, height: int
) -> None:
    page = new_page(viewport={"width": width, "height": 400})
    for name in ("train", "talk", "attention", "mask", "data"):
        page.goto(f"{lab.url}?page={name}&run=tiny")
        ready(page)
        page.wait_for_function("document.documentElement.scrollHeight > innerHeight + 60")
        page.evaluate("window.scrollTo(0, 60)")
        box = page.locator("#lab-frame").bounding_box()
        assert box["height"] <= height
        assert box["y"] == pytest.approx(0, abs=1)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_time_bar_by_keyboard(page: Page, lab) -> None:
    page.goto(f"{lab.url}?page=attention&run=tiny&step=0")
    painted(page)
    steps = page.evaluate("lab.run().steps")
    slider = page.locator(SLIDER)
    slider.focus()
    for key, expected in (("ArrowRight", steps[1]), ("ArrowRight", steps[2]), ("ArrowLeft", steps[1])):
        page.keyboard.press(key)
        assert state(page, "step") == expected
    page.keyboard.press("End")
    assert state(page, "step") == steps[-1]
    expect(slider).to_have_attribute("aria-valuenow", str(len(steps) - 1))
    assert slider.get_attribute("aria-valuetext").startswith(f"step {steps[-1]}, held-out loss ")
    page.keyboard.press("Home")
    assert state(page, "step") == 0
    expect(page.locator(".lab-timebar .step")).to_have_text("step 0")
    page.keyboard.press("Space")
    page.wait_for_function("lab.state.step >= 2")
    page.keyboard.press("Space")
    stopped = state(page, "step")
    page.wait_for_timeout(700)
    assert state(page, "step") == stopped


def test_time_bar_by_mouse_and_touch(new_page: Callable[..., Page], lab) -> None:
    page = new_page()
    page.goto(f"{lab.url}?page=attention&run=tiny&step=0")
    painted(page)
    box = page.locator(SLIDER).bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 12, middle)
    page.mouse.down()
    seen = set()
    for share in range(1, 20):
        page.mouse.move(box["x"] + box["width"] * share / 20, middle)
        seen.add(state(page, "step"))
    page.mouse.move(box["x"] + box["width"] + 200, middle)
    assert state(page, "step") == 40
    page.mouse.up()
    page.mouse.move(box["x"] + 12, middle)
    assert state(page, "step") == 40, "the bar lets go with the button"
    assert len(seen) >= 10
    assert seen <= set(page.evaluate("lab.run().steps"))

    phone = new_page(viewport=PHONE, has_touch=True)
    phone.goto(f"{lab.url}?page=attention&run=tiny&step=40")
    painted(phone)
    box = phone.locator(SLIDER).bounding_box()
    phone.touchscreen.tap(box["x"] + 11, box["y"] + 20)
    assert state(phone, "step") == 0
    finger = phone.context.new_cdp_session(phone)
    for kind, share in (("touchStart", 0.1), ("touchMove", 0.3), ("touchMove", 0.6), ("touchMove", 1)):
        point = {"x": box["x"] + share * box["width"], "y": box["y"] + 20}
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
        seen.add(state(phone, "step"))
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert state(phone, "step") == 40
    assert phone.evaluate("scrollY") == 0, "dragging the bar does not scroll the page"


def test_runs_are_listed_with_forks_under_their_parent(page: Page, lab) -> None:
    page.goto(f"{lab.url}?page=attention&run=tiny")
    painted(page)
    options = page.locator("#lab-run option").all_text_contents()
    at = options.index("tiny")
    assert options[at + 1] == "└ tiny-nomask from step 4"
    expect(page.locator(".lab-frame .badge")).to_be_hidden()
    page.select_option("#lab-run", "tiny-nomask")
    painted(page, run="tiny-nomask")
    badge = page.locator(".lab-frame .badge")
    expect(badge).to_have_text("no causal mask")
    violet = page.evaluate("lab.css('--surgery')")
    red, green, blue = (int(violet[i : i + 2], 16) for i in (1, 3, 5))
    assert badge.evaluate("e => getComputedStyle(e).color") == f"rgb({red}, {green}, {blue})"


def test_a_link_reproduces_the_view_and_history_works(page: Page, lab) -> None:
    link = f"{lab.url}?page=attention&run=tiny&step=8&prompt=what%20do%20you%20eat%3F&head=2.1&cell=7.3"
    page.goto(link)
    painted(page, run="tiny", step=8, prompt="what do you eat?", layer=2, head=1, query=7, key=3)
    expect(page.locator("#lab-prompt")).to_have_value("what do you eat?")
    page.locator(SLIDER).press("ArrowRight")
    page.wait_for_url("**step=10**")
    page.click("#lab-pages a:has-text('Talk')")
    page.wait_for_url("**page=talk**")
    expect(page.locator("#page-attention")).to_be_hidden()
    page.go_back()
    page.wait_for_function("lab.state.page === 'attention'")
    painted(page, run="tiny", step=10, prompt="what do you eat?", layer=2, head=1, query=7, key=3)
    page.reload()
    painted(page, run="tiny", step=10, prompt="what do you eat?", layer=2, head=1, query=7, key=3)


@pytest.mark.parametrize(
    ("query", "sentence", "expected"),
    [
        ("run=nobody&page=attention", "There is no run “nobody” here", {}),
        ("run=tiny&step=7", "has no checkpoint at step 7; showing step 8", {"run": "tiny", "step": 8}),
        ("run=tiny&step=nonsense", "has no checkpoint at step nonsense", {"run": "tiny", "step": 40}),
        ("run=tiny&page=nowhere", "There is no page “nowhere”", {"run": "tiny", "page": "attention"}),
        ("run=tiny&head=99.99&cell=1000.1000", None, {"run": "tiny", "layer": None, "query": None}),
    ],
)
def test_an_address_of_what_is_not_there(page: Page, lab, query: str, sentence: str | None, expected: dict) -> None:
    page.goto(f"{lab.url}?{query}")
    painted(page, **expected)
    if sentence:
        expect(page.locator(".lab-toast")).to_contain_text(sentence)


def test_prompts_are_shown_as_text_whatever_is_in_them(page: Page, lab) -> None:
    page.goto(f"{lab.url}?page=attention&run=tiny")
    painted(page)
    nasty = "<img src=x onerror=alert(1)><script>alert(2)</script>\u0007\u200b &amp; <|im_end|> \ud83d\ude00"
    page.on("dialog", lambda dialog: pytest.fail(f"the prompt ran: {dialog.message}"))
    page.fill("#lab-prompt", nasty)
    painted(page, prompt=nasty)
    chips = page.locator(".lab-frame .chips")
    expect(chips).to_contain_text("⟨07⟩")
    assert "<script>alert(2)</script>" in chips.text_content()
    assert page.locator(".lab-frame .chips img, .lab-frame .chips script, #page-attention img").count() == 0


def test_a_huge_prompt_is_cut_and_says_so(page: Page, lab) -> None:
    page.goto(f"{lab.url}?page=attention&run=tiny")
    painted(page)
    page.evaluate(
        """() => {
            const box = document.getElementById("lab-prompt");
            box.value = "so many words ".repeat(7200) + "the end";
            box.dispatchEvent(new Event("input"));
        }"""
    )
    page.wait_for_function("lab.state.prompt.endsWith('the end')")
    painted(page)
    expect(page.locator(".lab-frame .count")).to_have_text("cut to the last 128 tokens")
    page.wait_for_timeout(400)
    assert len(page.url) < 2500
    page.fill("#lab-prompt", "short again")
    painted(page, prompt="short again")
    expect(page.locator(".lab-frame .count")).to_contain_text("of 128 tokens")
    page.fill("#lab-prompt", "")
    painted(page, prompt="")


def test_themes_follow_the_system_until_one_is_chosen(new_page: Callable[..., Page], lab) -> None:
    page = new_page(color_scheme="dark")
    page.goto(f"{lab.url}?page=attention&run=tiny")
    painted(page)
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(paper)
    assert page.evaluate("document.body.classList.contains('dark')")
    page.emulate_media(color_scheme="light")
    page.wait_for_function("!document.body.classList.contains('dark')")
    light = page.evaluate(paper)
    assert light != dark
    page.click(".lab-nav .theme")
    assert page.evaluate(paper) == dark
    page.reload()
    painted(page)
    assert page.evaluate(paper) == dark, "the choice is remembered"
    page.click(".lab-nav .theme")
    assert page.evaluate(paper) == light


def test_pages_are_links_and_fold_into_a_menu(new_page: Callable[..., Page], lab) -> None:
    page = new_page()
    page.goto(f"{lab.url}?page=attention&run=tiny")
    painted(page)
    links = page.locator("#lab-pages a")
    titles = dict(PAGES.values()).keys()
    assert sorted(links.all_text_contents()) == sorted(titles) and links.first.text_content() == "Train"
    expect(page.locator("#lab-pages a[aria-current=page]")).to_have_text("Attention")
    links.nth(0).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#page-train")).to_be_visible()
    expect(page.locator("#page-attention")).to_be_hidden()

    phone = new_page(viewport=PHONE, has_touch=True)
    phone.goto(f"{lab.url}?page=attention&run=tiny-nomask")
    painted(phone)
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    assert phone.locator("#lab-frame").bounding_box()["height"] <= 170
    expect(phone.locator("#lab-pages")).to_be_hidden()
    phone.click(".lab-nav .menu")
    phone.click("#lab-pages a:has-text('Mask')")
    expect(phone.locator("#page-mask")).to_be_visible()
    expect(phone.locator("#lab-pages")).to_be_hidden()
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_bar_follows_a_live_run(page: Page, lab) -> None:
    """The server's answers are changed on their way, so that a run grows as if it were training."""
    grown = {"steps": [0, 1, 2], "running": True, "asked": 0}

    def run_news(route) -> None:
        answer = route.fetch()
        news = answer.json()
        grown["asked"] += 1
        news |= {
            "steps": grown["steps"],
            "running": grown["running"],
            "rows": [] if "cursor" in route.request.url else news["rows"],
        }
        news["manifest"]["status"] = "running" if grown["running"] else "finished"
        route.fulfill(response=answer, json=news)

    def run_list(route) -> None:
        answer = route.fetch()
        runs = answer.json()
        for run in runs["runs"]:
            if run["id"] == "tiny":
                run["steps"] = grown["steps"]
                run["status"] = "running" if grown["running"] else "finished"
        route.fulfill(response=answer, json=runs)

    page.route("**/lab/run/tiny*", run_news)
    page.route("**/lab/runs", run_list)
    page.goto(f"{lab.url}?page=attention&run=tiny")
    painted(page, step=2)
    grown["steps"] = [0, 1, 2, 4]
    painted(page, step=4)  # whoever looks at the last checkpoint is taken along
    page.locator(SLIDER).press("Home")
    grown["steps"] = [0, 1, 2, 4, 8]
    page.wait_for_function("lab.run().steps.length === 5")
    assert state(page, "step") == 0, "whoever looks at another one is left there"
    complete(page)
    grown["running"] = False
    page.wait_for_function("lab.run().status === 'finished'")
    page.wait_for_timeout(1200)
    asked = grown["asked"]
    page.wait_for_timeout(2200)
    assert grown["asked"] == asked, "a finished run is not asked about again"


def test_gradio_never_sees_our_page_name(lab) -> None:
    for query in ("?page=attention", "?page=", "?page=%F0%9F%90%9F&run=tiny", "?deep_link=nothing"):
        with urllib.request.urlopen(f"{lab.url}{query}") as answer:
            assert answer.status == 200
            assert b"gradio" in answer.read()
    with pytest.raises(urllib.error.HTTPError) as failed:
        urllib.request.urlopen(f"{lab.url}lab/attention?run=nobody&prompt=x&steps=all")
    assert "error" in json.loads(failed.value.read())
