import pytest

from guppy.errors import GuppyError
from guppy.personas import load_persona
from guppy.prompt_pack import load_pack
from guppy.splits import text_key


def test_the_pack_is_what_was_promised():
    pack = load_pack()
    prompts = [text_key(prompt) for group in pack for prompt in group.prompts]
    assert len(pack) >= 12 and len({group.name for group in pack}) == len(pack)
    assert all(len(group.prompts) >= 10 for group in pack)
    assert len(prompts) >= 120 and len(set(prompts)) == len(prompts)
    assert {group.name for group in pack if not group.inside} == {"human things", "far outside"}


def test_the_grammar_makes_none_of_it():
    asked = {text_key(prompt) for group in load_pack() for prompt in group.prompts}
    drawn = {text_key(conversation.input) for conversation in load_persona("guppy").generate(60_000, seed=1)}
    assert len(drawn) > 10_000 and not asked & drawn


def test_a_mistake_in_a_pack_is_told_with_its_line(tmp_path):
    path = tmp_path / "pack.yaml"
    path.write_text("inside:\n  hello: [hi]\noutsid:\n  law: [sue me]\n")
    with pytest.raises(GuppyError, match=r"line 3.*outsid.*outside"):
        load_pack(path)
    path.write_text("inside:\n  hello: [hi, yo]\n  tank: no\n")
    assert [group.prompts for group in load_pack(path)] == [("hi", "yo"), ("no",)]
