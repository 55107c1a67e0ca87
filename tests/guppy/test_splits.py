"""Splits: nothing shared between their sides, in any turn; combinations apart; and the leaky one."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from guppy.corpus import Corpus
from guppy.draws import draw_split
from guppy.errors import GuppyError
from guppy.grammar import Drawn
from guppy.personas import Persona, load_persona
from guppy.splits import split_rows, text_key

FISH = "guppy"


def texts(draws: list[Drawn]) -> tuple[set[str], set[str]]:
    """Prompts and replies of all turns, as the split compares them."""
    pairs = [pair for draw in draws for pair in draw.conversation.exchanges]
    return {text_key(prompt) for prompt, _ in pairs}, {text_key(reply) for _, reply in pairs}


def shared(some: list[Drawn], others: list[Drawn]) -> tuple[set[str], set[str]]:
    (prompts, replies), (other_prompts, other_replies) = texts(some), texts(others)
    return prompts & other_prompts, replies & other_replies


@pytest.fixture(scope="module")
def talker(tmp_path_factory: pytest.TempPathFactory) -> Persona:
    """A persona that talks on, and has slots."""
    path = tmp_path_factory.mktemp("persona") / "talker.yaml"
    things = ", ".join(f"thing{n}" for n in range(40))
    path.write_text(
        "name: talker\nturns: {2: 0.3, 3: 0.2}\n"
        f"rules: {{number: [{', '.join(map(str, range(100, 190)))}]}}\n"
        "then:\n"
        f"  - prompts: ['why?', 'why {{number}}?', 'really?', 'how so?']\n"
        "    replies: ['because of {number} {number}']\n"
        "topics:\n"
        f"  things:\n    slots: {{thing: [{things}]}}\n"
        "    prompts: ['is {thing} there?', 'where is {thing}, {number}?', '{thing} {number}?']\n"
        "    replies: ['{thing} is {number} {number}', 'no {thing} {number} {number}', 'yes {number} {thing} {number}',"
        " '{number} and {number}, {thing}']\n"
        "    then: [{prompts: ['and then, {thing}?', 'so {number}?'], replies: ['{thing} {number} {number} again']}]\n"
        "  numbers:\n"
        "    prompts: ['{number}?', '{number} {number}?', 'how much is {number} {number}?', 'count to {number}']\n"
        "    replies: ['{number}.', '{number} {number} {number}.', 'about {number} {number}.', 'no {number}']\n"
    )
    return load_persona(path)


@pytest.mark.parametrize("seed", [0, 1])
def test_no_prompt_and_no_reply_is_in_both_splits(seed: int) -> None:
    sides = draw_split(load_persona(FISH), 6000, seed)
    assert shared(sides.train, sides.heldout) == (set(), set())
    assert len(sides.train) + len(sides.heldout) + len(sides.composed) == 6000
    assert len(sides.heldout) > 0.02 * 6000 and len(sides.composed) > 0.01 * 6000


def test_no_turn_is_in_both_splits(talker: Persona) -> None:
    sides = draw_split(talker, 4000, 0)
    assert shared(sides.train, sides.heldout) == (set(), set())
    for side in (sides.train, sides.heldout, sides.composed):
        lengths = {len(draw.conversation.exchanges) for draw in side}
        assert lengths == {1, 2, 3}, "each side has conversations of each length"


@pytest.mark.parametrize("seed", [0, 1])
def test_held_out_combinations_are_in_no_other_split(talker: Persona, seed: int) -> None:
    sides = draw_split(talker, 6000, seed)
    taught = {combination for draw in sides.train for combination in draw.combinations}
    elsewhere = taught | {combination for draw in sides.heldout for combination in draw.combinations}
    parts = {part for combination in taught for part in combination.parts}
    assert len(sides.composed) > 60
    for draw in sides.composed:
        new = [combination for combination in draw.combinations if combination not in elsewhere]
        assert new, draw
        assert all(part in parts for combination in new for part in combination.parts), "each part was taught"
    assert not shared(sides.composed, [*sides.train, *sides.heldout])[1]
    # By the words alone, for the scene with slots: this thing was never answered so.
    answered = {
        (found[1], draw.combinations[0].answer)
        for draw in sides.train
        if draw.conversation.category == "things" and (found := re.search(r"(thing\d+)", draw.conversation.output))
    }
    for draw in sides.composed:
        if draw.conversation.category == "things" and draw.combinations[0] not in elsewhere:
            thing = re.search(r"(thing\d+)", draw.conversation.output)[1]
            assert (thing, draw.combinations[0].answer) not in answered


def test_every_topic_is_held_out() -> None:
    sides, topics = draw_split(load_persona(FISH), 20_000, 0), set(load_persona(FISH).topics)
    for side in (sides.train, sides.heldout):
        assert {draw.conversation.category for draw in side} == topics


def test_the_seed_decides_the_split() -> None:
    persona = load_persona(FISH)
    assert draw_split(persona, 1000, 3) == draw_split(persona, 1000, 3)
    assert draw_split(persona, 1000, 3) != draw_split(persona, 1000, 4)


def test_a_leaky_split_leaks() -> None:
    sides = draw_split(load_persona(FISH), 4000, 0, leaky=True)
    assert (len(sides.train), len(sides.heldout), len(sides.composed)) == (3880, 120, 0)
    assert len(shared(sides.train, sides.heldout)[0]) > 10
    everything = Counter(draw.conversation for draw in load_persona(FISH).draw(4000, 0))
    assert Counter(draw.conversation for draw in sides.train + sides.heldout) == everything
    assert draw_split(load_persona(FISH), 4000, 0, leaky=True) == sides


def test_repeated_texts_do_not_leak() -> None:
    """Twelve prompts and twelve replies, each pair many times: nearly all rows compete for the same strings."""
    pairs = [(f"p{n % 12}", f"r{n * n % 11}") for n in range(2000)]
    dealt = split_rows([[pair] for pair in pairs], ["t"] * len(pairs), 0.05, seed=0)
    assert sorted(dealt.train + dealt.heldout + dealt.lost) == list(range(2000))
    assert dealt.train and dealt.heldout
    for side in (0, 1):
        assert not {pairs[i][side] for i in dealt.train} & {pairs[i][side] for i in dealt.heldout}


def test_texts_that_never_repeat_cost_nothing() -> None:
    pairs = [(f"p{n % 500}", f"r{n}") for n in range(5000)]
    dealt = split_rows([[pair] for pair in pairs], ["t"] * len(pairs), 0.05, seed=0)
    assert not dealt.lost
    assert 200 <= len(dealt.heldout) <= 300


def test_case_and_punctuation_do_not_make_another_text() -> None:
    assert text_key("Hi,  GUPPY!?") == text_key("hi guppy") != text_key("hi guppy 2")
    assert text_key("?!") == "?!" != text_key("...")
    assert text_key("_a__B-c'd") == "a b c d" == text_key("“A b»c_D”"), "ASCII or not"


def test_a_persona_of_few_words_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mute.yaml"
    path.write_text("name: mute\ntopics:\n  a: {prompts: [hi, yo], replies: [blub]}\n")
    with pytest.raises(GuppyError, match=r"mute.*more prompts and replies"):
        Corpus.from_persona(path, rows=100)
    with pytest.raises(GuppyError, match="0 rows"):
        Corpus.from_persona("guppy", rows=0)


def test_a_small_persona_can_be_split(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    prompts = ", ".join(f"question {n}" for n in range(12))
    replies = ", ".join(f"answer {n}" for n in range(12))
    path.write_text(f"name: small\ntopics:\n  a: {{prompts: [{prompts}], replies: [{replies}]}}\n")
    sides = draw_split(load_persona(path), 500, 0)
    assert len(sides.train) + len(sides.heldout) + len(sides.composed) == 500
    assert shared(sides.train, sides.heldout) == (set(), set())
