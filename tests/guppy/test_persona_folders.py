"""Personas in folders, follow-ups, and conversations of several turns."""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from pathlib import Path

import pytest

from guppy.corpus import Corpus
from guppy.errors import GuppyError
from guppy.personas import Persona, load_persona

MAIN = """
name: pond
turns: {2: 0.5, 3: 0.25}
prompt_frames: ["hey, {prompt}"]
rules: {food: [flakes, worms]}
then:
  - {prompts: ["why?"], replies: ["because of {food}."]}
"""
THINGS = """
rules: {own: [slow, green]}
topics:
  things:
    slots: {thing: [snail, plant, stone]}
    prompts: ["the {thing}?"]
    replies: ["{own}, with {food}."]
    then:
      - prompts: ["what about the {thing}?"]
        replies: ["the {thing} is {how}."]
        rules: {how: ["very {own}", "not {own}"]}
"""
WEATHER = "topics:\n  weather: {prompts: ['rain?'], replies: ['wet {food}.']}\n"


def folder(path: Path, **files: str) -> Path:
    path.mkdir(exist_ok=True)
    for name, text in ({"persona": MAIN, "things": THINGS, "weather": WEATHER} | files).items():
        (path / f"{name}.yaml").write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def pond(tmp_path: Path) -> Persona:
    return load_persona(folder(tmp_path / "pond"))


def test_a_folder_is_one_persona(pond: Persona) -> None:
    assert (pond.name, pond.topics) == ("pond", ["things", "weather"])
    assert [path.name for path in pond.files] == ["persona.yaml", "things.yaml", "weather.yaml"]
    counts = Counter(row.category for row in pond.generate(4000, seed=0))
    assert 1850 < counts["things"] < 2150, "topics are even, whatever file they stand in"


def test_a_folder_and_a_file_say_the_same(tmp_path: Path) -> None:
    whole = tmp_path / "whole.yaml"
    whole.write_text(MAIN + "topics:\n" + WEATHER.partition("\n")[2])
    parts = tmp_path / "parts"
    parts.mkdir()
    (parts / "persona.yaml").write_text(MAIN)
    (parts / "weather.yaml").write_text(WEATHER)
    assert load_persona(whole).generate(200, seed=0) == load_persona(parts).generate(200, seed=0)


def test_turns_have_their_shares(pond: Persona) -> None:
    counts = Counter(len(row.exchanges) for row in pond.generate(8000, seed=0))
    assert set(counts) == {1, 2, 3}
    assert 1850 < counts[1] < 2150 and 3800 < counts[2] < 4200 and 1850 < counts[3] < 2150


def test_a_further_turn_follows_up_or_begins_anew_as_often(pond: Persona) -> None:
    second = [row.later[0][0] for row in pond.generate(8000, seed=0) if row.category == "things" and row.later]
    own, general = (sum(prompt.startswith(opening) for prompt in second) for opening in ("what about", "why?"))
    assert 0.45 < (own + general) / len(second) < 0.55
    assert 0.8 < own / general < 1.25, "a scene's own follow-ups come as often as the persona's"
    assert all(re.match(r"what about|why\?|hey, ", prompt) for prompt in second), "only new scenes have frames"


def test_a_follow_up_sees_the_slots_and_rules_of_its_scene(pond: Persona) -> None:
    seen = 0
    for row in pond.generate(3000, seed=0):
        for (asked, _), (further, said) in zip(row.exchanges, row.later, strict=False):
            if found := re.fullmatch(r"what about the (\w+)\?", further):
                seen += 1
                assert re.fullmatch(rf"the {found[1]} is (very|not) (slow|green)\.", said)
                assert asked in (f"hey, the {found[1]}?", "why?"), row
    assert seen > 300


def test_no_follow_up_comes_twice_in_a_row(pond: Persona) -> None:
    for row in pond.generate(3000, seed=0):
        prompts = [prompt for prompt, _ in row.exchanges]
        assert not any(one == other == "why?" for one, other in itertools.pairwise(prompts))


def test_the_category_is_the_first_scenes(pond: Persona) -> None:
    for row in pond.generate(500, seed=0):
        assert row.category == ("weather" if "rain" in row.input else "things")


def test_the_seed_decides_turns_too(pond: Persona) -> None:
    assert pond.generate(100, seed=1) == pond.generate(100, seed=1) != pond.generate(100, seed=2)
    assert pond.generate(50, seed=1) == pond.generate(100, seed=1)[:50]
    before = random.getstate()
    pond.generate(10, seed=1)
    assert random.getstate() == before, "Python's own random numbers are left alone"


def test_several_turns_are_chatml(pond: Persona) -> None:
    row = next(row for row in pond.generate(500, seed=0) if len(row.later) == 2)
    assert row.text.count("<|im_start|>") == row.text.count("<|im_end|>") == 6
    assert [role for role, _ in row.messages] == ["user", "assistant"] * 3
    assert row.text.splitlines()[0] == "<|im_start|>user" and row.text.endswith(f"{row.later[1][1]}<|im_end|>")


def test_a_conversation_fits_the_context(tmp_path: Path) -> None:
    path = tmp_path / "talker.yaml"
    words = "water, filter, gravel, castle, snail, bubble, lantern, morning, current, surface, plant, corner"
    path.write_text(
        "name: talker\nturns: {3: 1.0}\nprompt_noise: {shout: 0.1, typo: 0.3, capital: 0.2}\n"
        f"rules: {{w: [{words}]}}\n"
        "topics:\n  a:\n    prompts: ['do you like {w} or {w} [or {w} and {w}]?']\n"
        "    replies: ['i like {w} and {w} [but {w} or {w} is {w} {w} [{w} {w} {w} {w} {w} {w} {w} {w}]] {w}.']\n"
    )
    corpus = Corpus.from_persona(path, rows=4000)
    lengths = [length for split in corpus.splits.values() for length in split.lengths]
    assert sum(length > 129 for length in lengths) <= 0.001 * len(lengths)
    turns = Counter(len(row.exchanges) for row in corpus.rows(corpus.train))
    assert turns[3] > 1000 and turns[2] > 1000, "what fits is kept"


def mistake(path: Path, **files: str) -> str:
    with pytest.raises(GuppyError) as caught:
        load_persona(folder(path, **files))
    message = str(caught.value)
    assert "\n" not in message and "; " in message, "one line that says how to mend it"
    return message.removeprefix(str(path) + "/")


FOLLOW_UP = "topics:\n  a:\n    prompts: [p]\n    replies: [r]\n    then:\n"
MISTAKES = {
    "a rule of another file": ({"weather": WEATHER.replace("food", "own")}, "weather.yaml, line 2: unknown rule {own}"),
    "a topic twice": ({"weather": THINGS}, "weather.yaml, line 5: topic 'things' stands in things.yaml too"),
    "a rule twice": ({"things": "rules: {food: [x]}\n" + WEATHER}, "things.yaml, line 1: 'food' is defined twice"),
    "a key of persona.yaml": ({"weather": WEATHER + "turns: {2: 0.1}\n"}, "weather.yaml, line 3: unknown key 'turns'"),
    "no topics": ({"weather": "rules: {a: [b]}\n"}, "weather.yaml, line 1: this file has no 'topics'"),
    "no name": ({"persona": "voice: low\n"}, "persona.yaml, line 1: the persona has no 'name'"),
    "endless": ({"things": "rules:\n  a: ['{b}']\n  b: ['{a}']\n" + WEATHER}, "things.yaml, line 2: rule 'a' never"),
    "four turns": ({"persona": MAIN.replace("3: 0.25", "4: 0.25")}, "persona.yaml, line 3: unknown key '4' in turns"),
    "too many": ({"persona": MAIN.replace("3: 0.25", "3: 0.75")}, "persona.yaml, line 3: the shares of 'turns' sum"),
    "a share over one": ({"persona": MAIN.replace("0.25", "25")}, "persona.yaml, line 3: '3' is 25"),
    "empty then": ({"weather": FOLLOW_UP + "      []\n"}, "weather.yaml, line 6: 'then' is empty"),
    "no replies": ({"weather": FOLLOW_UP + "      - {prompts: [p]}\n"}, "weather.yaml, line 6: a follow-up has no"),
    "slots in then": (
        {"weather": FOLLOW_UP + "      - {prompts: [p], replies: [r], slots: {a: [b]}}\n"},
        "weather.yaml, line 6: unknown key 'slots' in 'then'",
    ),
    "growing": (
        {
            "weather": FOLLOW_UP
            + "      - {prompts: [p], replies: ['{r9}']}\nrules:\n  r0: [aaaaaaaaaa]\n"
            + "".join(f'  r{i}: ["{{r{i - 1}}}{{r{i - 1}}}"]\n' for i in range(1, 10))
        },
        "weather.yaml, line 6: one of the replies can grow beyond 1,000",
    ),
}


@pytest.mark.parametrize(("files", "what"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_with_its_file_and_line(files: dict[str, str], what: str, tmp_path: Path) -> None:
    assert mistake(tmp_path / "pond", **files).startswith(what)


def test_text_that_is_not_utf8_is_told_with_its_file(tmp_path: Path) -> None:
    path = folder(tmp_path / "pond")
    (path / "things.yaml").write_bytes(b"topics:\n  a: {prompts: [caf\xe9], replies: [r]}\n")
    with pytest.raises(GuppyError, match=r"things\.yaml, line 2: this is not UTF-8"):
        load_persona(path)


def test_a_folder_without_its_main_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "topics.yaml").write_text(WEATHER)
    with pytest.raises(GuppyError, match=r"no persona\.yaml"):
        load_persona(tmp_path)
