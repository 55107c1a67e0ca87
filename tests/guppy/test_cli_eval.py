import json
import sys

import pandas
import pytest
from networks import tiny
from ponds import write_pairs

from guppy.cli import main
from guppy.config import TrainConfig
from guppy.corpus import Corpus
from guppy.runs import create_run
from guppy.runs.write import write_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two runs with random weights at steps 0 and 4: of conversations, and of plain text."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "sea.txt").write_text("\n".join(f"the sea is wide on day {i}" for i in range(300)))
    for name, data in {"pond": write_pairs(folder / "pairs.jsonl", 1000), "sea": folder / "sea.txt"}.items():
        corpus = Corpus.from_path(data)
        models = [tiny(None, seed, vocab_size=corpus.tokenizer.padded_vocab_size, n_ctx=64) for seed in (0, 1)]
        run = create_run(folder / name, model=models[0].config, train=TrainConfig(steps=4), corpus=corpus)
        for step, model in zip((0, 4), models, strict=True):
            write_checkpoint(run.path, step, model.state_dict(), None)
    return folder


@pytest.fixture
def call(folder, monkeypatch, capsys):
    """Run `eval` with these arguments; returns the exit code, stdout and stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["guppy", "eval", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit:
            main()
        out = capsys.readouterr()
        return exit.value.code or 0, out.out, out.err

    monkeypatch.setenv("GUPPY_CHECKPOINTS", str(folder))
    return call


def test_a_table_over_checkpoints_is_each_checkpoint(call):
    code, said, _ = call("pond", "--steps", "all", "--json", "--rows", 10, "--seed", 3)
    told = json.loads(said)
    table = pandas.DataFrame(told["table"])
    assert code == 0 and table.step.tolist() == [0, 4] and told["same_data"]
    one = json.loads(call("pond", "--step", 0, "--json", "--rows", 10, "--seed", 3)[1])
    assert one["references"] == told["references"] and one["run"] == told["run"] == "pond"
    first = table.iloc[0]
    assert first.loss_heldout == one["heldout_loss"] and first.loss_train == one["splits"]["train"]["loss"]
    assert all(first[name] == value for name, value in one["scores"].items() if value is not None)
    assert first.bits_heldout == one["surprise"][0]["bits_per_token"]
    assert table.loss_heldout[0] != table.loss_heldout[1]


def test_for_people_there_are_tables(call):
    code, said, _ = call("pond", "--rows", 10)
    rows = {line.split("  ")[0]: line for line in said.splitlines()}
    assert code == 0 and said.startswith("pond at step 4, 10 held-out rows")
    assert rows["in topic"].split()[2:] == ["–"] * 4 and rows["lowercase"].count("100.0%") == 2
    assert "far outside (16)" in rows and rows["all"].count(".") == 2
    code, said, _ = call("pond", "--steps", "4,0", "--rows", 10)
    rows = [line.split("  ")[0] for line in said.splitlines()]
    assert code == 0 and [rows[0], *rows[2:]] == ["step", "0", "4", "train", "heldout", "untrained"]
    assert len({len(line) for line in said.splitlines()}) == 1


def test_plain_text_has_losses(call):
    code, said, _ = call("sea", "--rows", 10)
    assert code == 0 and "nats a token" in said and "far outside" not in said
    told = json.loads(call("sea", "--steps", "all", "--json")[1])
    assert told["references"] == [] and "vocabulary" not in told["table"][0]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("pond", "--step", 0, "--steps", "all"), "either --step or --steps"),
        (("pond", "--step", 3), "no checkpoint at step 3"),
        (("pond", "--steps", "some"), "'some' names no steps"),
        (("pond", "--temperature", "-1"), "temperature"),
        (("puddle",), "puddle"),
    ],
)
def test_mistakes_are_one_line(call, arguments, says):
    code, said, err = call(*arguments)
    assert code == 1 and said == "" and err.startswith("error: ") and says in err and err.count("\n") == 1
