"""Personas: what templates draw, what a file may hold, how mistakes are told; and the fish itself."""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from guppy.errors import GuppyError
from guppy.personas import Conversation, Persona, list_personas, load_persona
from guppy.templates import TemplateError, compile_template, parse


def draws(template: str, rules: dict[str, str] | None = None, times: int = 300) -> Counter[str]:
    """What a template draws, and how often."""
    rules = rules or {}
    compiled = compile_template(parse(template), lambda name: compile_template(parse(rules[name]), lambda _: None))
    random = Random(0).random
    texts = Counter(compiled.draw(random, {}, []) for _ in range(times))
    assert all(len(text) <= compiled.longest for text in texts)
    assert all(len("".join(text.split())) >= compiled.shortest for text in texts)
    return texts


def write(folder: Path, text: str) -> Path:
    path = folder / "some.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def load(folder: Path, text: str) -> Persona:
    return load_persona(write(folder, text))


# -- templates ---------------------------------------------------------------------------------------


def test_alternatives_optional_parts_and_rules() -> None:
    assert set(draws("a (b|c)")) == {"a b", "a c"}
    assert set(draws("a[ b]")) == {"a", "a b"}
    assert set(draws("(a|)")) == {"a", ""}
    assert set(draws("(a|b [c|(d|e)])")) == {"a", "b ", "b c", "b d", "b e"}
    assert set(draws("{x} {x}", {"x": "(1|2)"})) == {"1 1", "1 2", "2 1", "2 2"}


def test_a_backslash_makes_plain_text() -> None:
    assert set(draws(r"\(a\|b\) \{c\} \[d\] \\")) == {r"(a|b) {c} [d] \\"[:-1]}


def test_alternatives_are_even() -> None:
    counts = draws("(a|b|c|d)", times=4000)
    assert all(850 < count < 1150 for count in counts.values())
    assert 1800 < draws("[a]", times=4000)["a"] < 2200


@pytest.mark.parametrize(
    ("template", "what"),
    [
        ("(a|b", "never closed"),
        ("[a", "never closed"),
        ("a)", "closes nothing"),
        ("(a]", "never closed"),
        ("a|b", "outside of brackets"),
        ("{a|b}", "name of one rule"),
        ("{two words}", "name of one rule"),
        ("{", "name of one rule"),
        ("{}", "name of one rule"),
        ("a}", "closes nothing"),
        ("a\\", "backslash"),
    ],
)
def test_a_broken_template_is_refused(template: str, what: str) -> None:
    with pytest.raises(TemplateError, match=what):
        node = parse(template)
        pytest.fail(f"parsed as {node}")


# -- persona files -----------------------------------------------------------------------------------

SMALL = """
name: duck
description: it floats
rules:
  food: [9: bread, 1: corn]
topics:
  pond:
    slots: {colour: [red, blue, green]}
    prompts: ["is it {colour}?"]
    replies: ["yes , {colour} [ and {food}] ."]
"""


def test_a_persona_is_read(tmp_path: Path) -> None:
    duck = load(tmp_path, SMALL)
    assert (duck.name, duck.description, duck.voice, duck.topics) == ("duck", "it floats", "", ["pond"])


def test_prompt_and_reply_share_their_slots(tmp_path: Path) -> None:
    rows = load(tmp_path, SMALL).generate(200, seed=0)
    for row in rows:
        colour = re.fullmatch(r"is it (\w+)\?", row.input)[1]
        assert re.fullmatch(rf"yes, {colour}( and (bread|corn))?\.", row.output), row
    assert {row.input for row in rows} == {"is it red?", "is it blue?", "is it green?"}


def test_weights_count(tmp_path: Path) -> None:
    outputs = [row.output for row in load(tmp_path, SMALL).generate(4000, seed=0)]
    bread, corn = (sum(food in output for output in outputs) for food in ("bread", "corn"))
    assert 7 < bread / corn < 11.5


def test_the_seed_decides(tmp_path: Path) -> None:
    duck = load(tmp_path, SMALL)
    assert duck.generate(100, seed=1) == duck.generate(100, seed=1)
    assert duck.generate(100, seed=1) != duck.generate(100, seed=2)
    assert duck.generate(50, seed=1) == duck.generate(100, seed=1)[:50]


def test_topics_are_even_and_scenes_weighted(tmp_path: Path) -> None:
    persona = load(
        tmp_path,
        "name: x\ntopics:\n"
        "  a: [{prompts: [p1], replies: [r1], weight: 3}, {prompts: [p2], replies: [r2]}]\n"
        "  b: {prompts: p3, replies: r3}\n",
    )
    counts = Counter(row.input for row in persona.generate(8000, seed=0))
    assert 2850 < counts["p1"] < 3150 and 900 < counts["p2"] < 1100 and 3850 < counts["p3"] < 4150


def test_frames_and_noise_change_prompts_only(tmp_path: Path) -> None:
    persona = load(
        tmp_path,
        'name: x\nprompt_frames: ["{prompt}", "hey, {prompt}"]\n'
        "prompt_noise: {capital: 0.5, bare: 0.5, typo: 0.3, shout: 0.1}\n"
        "topics:\n  a: {prompts: ['where is the water?'], replies: [here it is.]}\n",
    )
    rows = persona.generate(2000, seed=0)
    prompts = Counter(row.input for row in rows)
    expected = {"where is the water?", "Where is the water", "hey, where is the water?", "WHERE IS THE WATER?"}
    assert expected <= set(prompts)
    assert any(
        sorted(text.lower()) == sorted("where is the water") and text.lower() != "where is the water"
        for text in prompts
    ), "no two letters were swapped"
    assert {row.output for row in rows} == {"here it is."}


def test_words_that_yaml_takes_for_something_else_stay_words(tmp_path: Path) -> None:
    persona = load(tmp_path, "name: on\ntopics:\n  yes: {prompts: [no, 1, null, 2024-01-01], replies: [off]}\n")
    rows = persona.generate(100, seed=0)
    assert {row.input for row in rows} == {"no", "1", "null", "2024-01-01"}
    assert {(row.output, row.category) for row in rows} == {("off", "yes")}


def test_a_conversation_is_chatml() -> None:
    text = Conversation("hi", "hello", "greeting").text
    assert text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nhello<|im_end|>"


HEAD = "name: x\ntopics:\n  a:\n    prompts: [hi]\n"
MISTAKES = {
    "unknown rule": (
        HEAD + '    replies:\n      - ok\n      - "{fod}"\nrules: {food: [x]}\n',
        7,
        "did you mean {food}?",
    ),
    "unknown key": (HEAD + "    reply: [a]\n", 5, "did you mean 'replies'?"),
    "unknown top key": ("nam: x\ntopics: {}\n", 1, "did you mean 'name'?"),
    "no name": ("topics: {a: {prompts: [a], replies: [b]}}\n", 1, "no 'name'"),
    "no topics": ("name: x\n", 1, "no 'topics'"),
    "no replies": (HEAD, 4, "no replies"),
    "empty list": (HEAD + "    replies: []\n", 5, "'replies' is empty"),
    "nothing after the colon": (HEAD + "    replies:\n", 5, "'replies' is empty"),
    "empty topic": ("name: x\ntopics:\n  a: []\n", 3, "topic 'a' is empty"),
    "topics are no mapping": ("name: x\ntopics: hello\n", 2, "key: value"),
    "endless rule": (
        "name: x\nrules:\n  a: ['{b}']\n  b: ['{a}']\ntopics:\n  t: {prompts: [p], replies: ['{a}']}\n",
        3,
        "a → b → a",
    ),
    "endless rule that nobody uses": ("name: x\nrules:\n  a: ['{a}']\n" + HEAD[8:] + "    replies: [r]\n", 3, "a → a"),
    "not YAML": (HEAD + "    replies: [a\n", 6, "not YAML"),
    "tab": (HEAD + "\treplies: [a]\n", 5, "not YAML"),
    "two documents": (HEAD + "    replies: [a]\n---\nx: y\n", 6, "not YAML"),
    "text without quotes": (HEAD + "    replies:\n      - {food} is good\n", 6, "quotes"),
    "colon without quotes": (HEAD + "    replies:\n      - ok\n      - yes: and no\n", 7, "quotes"),
    "list in a list": (HEAD + "    replies:\n      - [maybe]\n", 6, "quotes"),
    "open bracket": (HEAD + "    replies:\n      - ok\n      - (a|b\n", 7, "never closed"),
    "empty reply": (HEAD + "    replies:\n      - ok\n      - '[maybe]'\n", 7, "come out empty"),
    "twice": (HEAD + "    replies: [a]\n    prompts: [b]\n", 6, "twice"),
    "slot named like a rule": (
        "name: x\nrules: {food: [f]}\ntopics:\n  a:\n    slots:\n      food: [g]\n    prompts: [p]\n    replies: [r]\n",
        6,
        "defined twice",
    ),
    "weight of nothing": (HEAD + "    replies:\n      - 0: a\n", 6, "weight of 0"),
    "weight below nothing": (HEAD + "    replies: [r]\n    weight: -1\n", 6, "'weight' is no number"),
    "noise over one": ("name: x\nprompt_noise: {typo: 2}\n" + HEAD[8:] + "    replies: [r]\n", 2, "between 0 and 1"),
    "noise of another kind": (
        "name: x\nprompt_noise: {typos: 0.1}\n" + HEAD[8:] + "    replies: [r]\n",
        2,
        "did you mean 'typo'?",
    ),
    "no number": ("name: x\nprompt_noise: {typo: much}\n" + HEAD[8:] + "    replies: [r]\n", 2, "no number"),
    "control character": (HEAD + "    replies: [a\x07]\n", 5, "forbids"),
    "empty file": ("", 1, "empty"),
    "only a comment": ("# nothing\n", 1, "empty"),
    "a list": ("- a\n", 1, "key: value"),
    "deep": ("name: " + "[" * 2000 + "]" * 2000 + "\n", 1, "too deep"),
    "growing": (
        "name: x\nrules:\n  r0: [aaaaaaaaaa]\n"
        + "".join(f'  r{i}: ["{{r{i - 1}}}{{r{i - 1}}}"]\n' for i in range(1, 40))
        + "topics:\n  t:\n    prompts: [p]\n    replies:\n      - '{r39}'\n",
        47,
        "grow beyond 1,000",
    ),
}


@pytest.mark.parametrize(("text", "line", "mend"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_with_its_line(text: str, line: int, mend: str, tmp_path: Path) -> None:
    with pytest.raises(GuppyError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'some.yaml'}, line {line}: "), message
    assert mend in message
    assert "\n" not in message and "; " in message, "one line that says how to mend it"


def test_text_that_is_not_utf8_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    path.write_bytes(b"name: x\nvoice: caf\xe9\n")
    with pytest.raises(GuppyError, match="line 2: this is not UTF-8"):
        load_persona(path)


def test_deep_brackets_are_refused(tmp_path: Path) -> None:
    text = HEAD + f"    replies: ['{'(' * 3000}a{')' * 3000}']\n"
    with pytest.raises(GuppyError, match="too deeply"):
        load(tmp_path, text)


def test_an_unknown_persona_is_told(tmp_path: Path) -> None:
    with pytest.raises(GuppyError, match="no persona 'gupy'; did you mean guppy"):
        load_persona("gupy")
    with pytest.raises(GuppyError, match="no persona"):
        load_persona(tmp_path)


# -- the fish ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fish() -> list[Conversation]:
    return load_persona("guppy").generate(20_000, seed=0)


def test_the_fish_is_there() -> None:
    assert "guppy" in list_personas()
    guppy = load_persona("guppy")
    assert guppy.name == "guppy" and len(guppy.topics) >= 60
    assert guppy.description and guppy.voice


def test_every_persona_loads() -> None:
    for name in list_personas():
        assert load_persona(name).generate(50, seed=0)


def test_sixty_thousand_conversations_are_quick_and_differ() -> None:
    start = time.process_time()
    rows = load_persona("guppy").generate(60_000, seed=0)
    assert time.process_time() - start < 5
    assert len({(row.input, row.output) for row in rows}) > 0.9 * len(rows)


def test_every_topic_has_much_to_say(fish: list[Conversation]) -> None:
    for topic, count in Counter(row.category for row in fish).items():
        rows = [row for row in fish if row.category == topic]
        assert 0.008 * len(fish) <= count <= 0.03 * len(fish), topic
        assert len({row.input for row in rows}) > 150, topic
        assert len({row.output for row in rows}) > 200, topic


def test_the_voice(fish: list[Conversation]) -> None:
    for row in fish:
        assert re.fullmatch(r"[a-z ,.?!:'-]+", row.output), row
        assert re.search(r"[.?!]$", row.output), row
        assert not re.search(r"  | [.,?!]|[.,?!]{2}|^[ .,]", row.output), row
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", row.output), row
        assert len(row.output.split()) <= 40, row


def test_it_is_about_food(fish: list[Conversation]) -> None:
    meaning = [row for row in fish if row.category == "meaning"]
    food = re.compile(r"food|flakes|pellets|shrimp|worms|crumbs")
    assert all(food.search(row.output) for row in meaning)
    assert sum(bool(food.search(row.output)) for row in fish) > 0.25 * len(fish)


def test_details_are_carried_from_prompt_to_reply(fish: list[Conversation]) -> None:
    asked = [(row, re.search(r"what is (pizza|soup|cake|bread|cheese)", row.input.lower())) for row in fish]
    carried = [food[1] in row.output for row, food in asked if food]
    assert len(carried) > 5 and all(carried)


def test_a_persona_names_its_obsession(tmp_path: Path) -> None:
    text = "name: x\nobsession: [Food, flakes]\ntopics: {t: {prompts: [a], replies: [b]}}\n"
    path = tmp_path / "x.yaml"
    path.write_text(text)
    assert load_persona(path).obsession == ("food", "flakes")
    path.write_text(text.replace("[Food, flakes]", "{food: 1}"))
    with pytest.raises(GuppyError, match=r"x\.yaml, line 2.*obsession"):
        load_persona(path)
    assert all(load_persona(name).obsession for name in list_personas())
