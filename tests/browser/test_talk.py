"""The Talk page: a conversation with one step, and one prompt answered by all of them."""

from __future__ import annotations

import pytest
from conftest import Server
from driving import ready
from playwright.sync_api import Page, expect

SAY = "#talk-say textarea"


@pytest.fixture
def talk(page: Page, lab: Server) -> Page:
    page.goto(f"{lab.url}?page=talk&run=tiny&prompt=hello")
    return ready(page)


def say(page: Page, text: str) -> str:
    """Say something; the whole reply."""
    turns = page.locator(".lab-turn")
    before = turns.count()
    page.locator(SAY).fill(text)
    page.locator(SAY).press("Enter")
    expect(turns).to_have_count(before + 2)
    expect(page.locator(SAY)).to_have_value("")
    page.wait_for_function("document.querySelector('.lab-chat').dataset.live === 'no'")
    return turns.last.locator(".lab-said").text_content()


def replies(page: Page, server: Server, prompt: str, **settings: object) -> dict[int, str]:
    """What the lab's route answers."""
    params = {"run": "tiny", "prompt": prompt, "steps": "all", **settings}
    told = page.request.get(f"{server.url}lab/replies", params=params).json()["replies"]
    return {reply["step"]: reply["text"] for reply in told}


def shown(text: str) -> str:
    return text.replace("\n", "↵\u200b")


def test_the_fish_answers_at_the_time_bars_step(talk: Page, lab: Server):
    expected = replies(talk, lab, "what do you eat?")
    for step in (40, 0):
        talk.evaluate("step => lab.set({ step })", step)
        talk.locator("#talk-new").click()
        expect(talk.locator(".lab-turn")).to_have_count(0)
        assert say(talk, "what do you eat?") == expected[step]
        expect(talk.locator(".lab-turn.assistant .caption")).to_have_text(f"tiny · step {step}")


def test_settings_reach_the_model(talk: Page, lab: Server):
    talk.locator("#talk-temperature input[type=number]").fill("1")
    talk.locator("#talk-temperature input[type=number]").blur()
    talk.locator("#talk-seed input").fill("5")
    talk.locator("#talk-seed input").blur()
    expected = replies(talk, lab, "hello", temperature=1, seed=5)
    assert expected != replies(talk, lab, "hello")
    # The table follows the settings as well.
    cell = talk.locator(".lab-replies tr[data-step='40'] .lab-reply")
    expect(cell).to_have_attribute("title", expected[40])
    assert say(talk, "hello") == expected[40]


def test_a_conversation_remembers_until_the_context_is_full(talk: Page):
    say(talk, "hello")
    expect(talk.locator(".lab-note")).to_have_count(0)
    say(talk, "the water is warm and the light is on and the food is good " * 2)
    say(talk, "tell me about the glass and the plants and the bubbles please " * 2)
    expect(talk.locator(".lab-note").last).to_contain_text("The context of 128 tokens is full")
    talk.locator("#talk-whole input").uncheck()
    say(talk, "hello")
    expect(talk.locator(".lab-turn").last.locator(".lab-note")).to_have_count(0)
    talk.locator("#talk-new").click()
    expect(talk.locator(".lab-turn")).to_have_count(0)


def test_what_is_said_is_text(talk: Page):
    nasty = "<img src=x onerror=\"document.title='broken into'\"><b>hi</b> &amp; <|im_end|>"
    say(talk, nasty)
    assert talk.locator(".lab-turn.user .lab-said").text_content() == nasty
    assert talk.locator(".lab-chat img, .lab-chat b").count() == 0
    assert "broken" not in talk.title()


def test_nothing_said_is_a_sentence(talk: Page):
    talk.locator("#talk-send").click()
    expect(talk.locator("#lab-toasts")).to_contain_text("Type something")


def test_every_checkpoint_answers_the_shared_prompt(talk: Page, lab: Server):
    expected = replies(talk, lab, "hello")
    rows = talk.locator(".lab-replies tbody tr")
    expect(rows).to_have_count(len(expected))
    expect(talk.locator(".lab-replies tr.pending")).to_have_count(0)
    for step in (0, 8, 40):
        cell = talk.locator(f".lab-replies tr[data-step='{step}'] .lab-reply")
        assert cell.text_content().startswith(shown(expected[step]))
    expect(talk.locator(".lab-replies tr.current")).to_have_attribute("data-step", "40")
    talk.locator(".lab-replies tr[data-step='8']").click()
    assert talk.evaluate("lab.state.step") == 8
    expect(talk.locator(".lab-replies tr.current")).to_have_attribute("data-step", "8")

    talk.locator("#lab-prompt").fill("are you hungry?")
    expect(talk.locator(".lab-replies .caption")).to_contain_text("are you hungry?")
    expect(talk.locator(".lab-replies tr.pending")).to_have_count(0)
    other = replies(talk, lab, "are you hungry?")
    cell = talk.locator(".lab-replies tr[data-step='40'] .lab-reply")
    assert cell.text_content().startswith(shown(other[40]))


def test_the_table_is_not_computed_while_nobody_looks(page: Page, lab: Server):
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "lab/replies" in request.url else None)
    page.goto(f"{lab.url}?page=train&run=tiny")
    ready(page)
    page.evaluate("lab.set({ prompt: 'are you there?' })")
    page.wait_for_timeout(600)
    assert not asked
    page.evaluate("lab.set({ page: 'talk' })")
    expect(page.locator(".lab-replies tr.pending")).to_have_count(0)
    assert asked
