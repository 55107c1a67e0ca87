import csv
import io
import json
import math
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from networks import tiny
from ponds import make_corpus, model_config, train_config

import guppy
from guppy.errors import GuppyError
from guppy.inspect import questions, writing
from guppy.inspect.asking import Option, Question, Subject
from guppy.inspect.attention import patterns
from guppy.model import Guppy
from guppy.runs import create_run
from guppy.runs.write import write_checkpoint


@dataclass(frozen=True)
class Told:
    table: torch.Tensor
    half: torch.Tensor
    many: np.ndarray
    one: torch.Tensor
    names: list[str]
    nothing: None = None


def ask_fake(subject, *, layer, share, kind, slow, where):
    table = torch.full((2, 3), float(share), requires_grad=True)
    return Told(
        table, torch.ones(2, dtype=torch.bfloat16), np.arange(4), torch.tensor(7), [kind, str(slow), str(where)]
    )


OPTIONS = (
    Option("layer", int, 1, "Which layer."),
    Option("share", float, 0.5, "How much."),
    Option("kind", str, "mean", "What instead.", ("zero", "mean", "resample")),
    Option("slow", bool, False, "Whether all of it."),
    Option("where", int, None, "At which position."),
)


@pytest.fixture
def fake(monkeypatch):
    module = ModuleType("guppy.inspect.fake")
    module.QUESTIONS = (Question("fake", "Nothing real.", ask_fake, options=OPTIONS, prompt=False),)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(questions.HOMES, "fake", "fake")
    return module.QUESTIONS[0]


def nobody():
    return Subject(tiny(), None, torch.empty(0, dtype=torch.int64), [])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    corpus = make_corpus(folder)
    config = model_config(corpus)
    run = create_run(folder / "fish", model=config, train=train_config(), corpus=corpus)
    for step in (0, 4):
        write_checkpoint(run.path, step, Guppy(config, seed=step).state_dict(), None)
    return run


@pytest.mark.parametrize("name", questions.names())
def test_every_question_says_what_it_is(name):
    asked = questions.question(name)
    assert asked.name == name and asked.about.endswith(".") and "\n" not in asked.about
    names = [option.name for option in asked.options]
    assert len(set(names)) == len(names) and not {"run", "step", "steps", "prompt", "format"} & set(names)
    for option in asked.options:
        assert option.kind in (int, float, str, bool) and option.about
        assert option.default is None or isinstance(option.default, option.kind)
        assert not option.choices or (option.kind is str and option.default in (None, *option.choices))
    assert questions.settings(asked, {}) == {option.name: option.default for option in asked.options}


def test_every_question_of_every_file_can_be_asked_by_name():
    folder = Path(questions.__file__).parent
    files = [path.stem for path in folder.glob("*.py") if "\nQUESTIONS = " in path.read_text()]
    there = {each.name: file for file in files for each in import_module(f"guppy.inspect.{file}").QUESTIONS}
    assert there == questions.HOMES


def test_options_are_read_from_text_and_from_values(fake):
    as_text = {"layer": "3", "share": "0.25", "kind": "zero", "slow": "yes", "where": ""}
    assert questions.settings(fake, as_text) == dict(layer=3, share=0.25, kind="zero", slow=True, where=None)
    as_values = {"layer": 3, "share": 0.25, "kind": "zero", "slow": True, "where": 2}
    assert questions.settings(fake, as_values) == as_values
    assert questions.settings(fake, {"slow": "0"})["slow"] is False


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"layr": "1"}, "did you mean layer?"),
        ({"xyz": "1"}, "choose layer, share, kind, slow, where."),
        ({"layer": "1.5"}, "'layer' must be a whole number, not '1.5'"),
        ({"share": "inf"}, "'share' must be a number"),
        ({"share": "1" * 400 + "e999"}, "'share' must be a number"),
        ({"kind": "maen"}, "did you mean mean?"),
        ({"slow": "perhaps"}, "'slow' must be true or false"),
    ],
)
def test_options_that_do_not_fit_are_one_sentence(fake, options, says):
    with pytest.raises(GuppyError) as caught:
        questions.answer(nobody(), "fake", options)
    assert says in str(caught.value)


def test_an_unknown_question_and_a_missing_prompt(fake):
    with pytest.raises(GuppyError, match="did you mean attention"):
        questions.question("atention")
    with pytest.raises(GuppyError, match="needs a prompt"):
        questions.answer(nobody(), "attention", {})


def test_tensors_are_arrays_and_all_else_are_facts(fake):
    said = questions.answer(nobody(), "fake", {"share": "2"})
    assert list(said.arrays) == ["table", "half", "many"]
    np.testing.assert_array_equal(said.arrays["table"], np.full((2, 3), 2, np.float32))
    assert said.arrays["half"].dtype == np.float32  # numpy has no bfloat16
    assert said.facts == {"one": 7, "names": ["mean", "False", "None"]}
    assert said.options == dict(layer=1, share=2.0, kind="mean", slow=False, where=None)


def test_asking_in_a_notebook(run):
    said = guppy.inspect.ask(run.path, "attention", prompt="is the net gold, 1?", step=4)
    ids = torch.tensor([run.encode_prompt("is the net gold, 1?")[-24:]])
    torch.testing.assert_close(said.pattern, patterns(run.model(4), ids).pattern[0])
    last = guppy.inspect.ask(run, "attention", prompt="x")
    assert last.pattern.shape[-1] == len(run.encode_prompt("x"))
    with pytest.raises(GuppyError, match="no option 'layer'"):
        guppy.inspect.ask(run, "attention", prompt="x", layer=1)
    with pytest.raises(GuppyError, match="needs a prompt"):
        guppy.inspect.ask(run, "attention")


def test_files_hold_the_numbers():
    arrays = {"a": np.array([[0.1, -np.inf], [np.nan, 2]], np.float32), "n": np.array([1, 2])}
    lists = writing.as_lists(arrays)
    assert lists["a"][0] == [0.1, -math.inf] and lists["n"] == [1, 2]  # 0.1, not 0.10000000149
    assert json.loads(writing.json_text({"v": [math.nan, 1.5]})) == {"v": [None, 1.5]}
    rows = list(csv.reader(io.StringIO(writing.csv_text(arrays))))
    assert rows[0] == ["array", "index_0", "index_1", "value"]
    assert rows[2:4] == [["a", "0", "1", "-inf"], ["a", "1", "0", "nan"]] and rows[-1] == ["n", "1", "", "2"]
    facts = {"name": "fish", "none": [], "tokens": ["a", "ü"], "nested": {"x": [1]}, "gone": None}
    kept = np.load(io.BytesIO(writing.npz_bytes(facts, arrays)))
    np.testing.assert_array_equal(kept["a"], arrays["a"])
    assert kept["tokens"].tolist() == ["a", "ü"] and kept["none"].tolist() == []
    assert json.loads(str(kept["nested"])) == {"x": [1]} and str(kept["name"]) == "fish"


def test_too_many_numbers_for_text(monkeypatch):
    monkeypatch.setattr(writing, "MOST_VALUES", 3)
    for write in (writing.as_lists, writing.csv_text):
        with pytest.raises(GuppyError, match="too many for"):
            write({"a": np.zeros(4)})
