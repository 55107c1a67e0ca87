"""The command `data`: files, tables and JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from guppy.cli_data import data
from guppy.corpus import Corpus
from guppy.errors import GuppyError

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(data)
SMALL = ("--rows", "800", "--seed", "3")


def run(*arguments: object):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def exchanges(row: dict[str, Any]) -> list[tuple[str, str]]:
    said = [message["content"] for message in row.get("messages", [])] or [row["input"], row["output"]]
    return list(zip(said[::2], said[1::2], strict=True))


def test_it_writes_a_corpus_that_reads_back(tmp_path: Path) -> None:
    result = run("--persona", "guppy", *SMALL, "--out", tmp_path / "fish")
    assert result.exit_code == 0 and result.stdout == ""
    assert sorted(path.name for path in (tmp_path / "fish").iterdir()) == [
        "composed.jsonl", "corpus.json", "heldout.jsonl", "report.json", "tokenizer.json", "train.jsonl"
    ]  # fmt: skip
    rows = [json.loads(line) for line in (tmp_path / "fish" / "heldout.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {tuple(row) for row in rows} == {
        ("input", "output", "category", "text"), ("input", "output", "category", "messages", "text")
    }  # fmt: skip
    assert all(row["input"] in row["text"] and row["output"] in row["text"] for row in rows)
    assert Corpus.load(tmp_path / "fish").sha256 == Corpus.from_persona("guppy", 800, 3).sha256


def test_json_is_one_document_and_true(tmp_path: Path) -> None:
    result = run(*SMALL, "--json", "--out", tmp_path / "fish")
    told = json.loads(result.stdout)
    assert told == json.loads((tmp_path / "fish" / "report.json").read_text())

    lines = {
        name: [json.loads(line) for line in (tmp_path / "fish" / f"{name}.jsonl").read_text().splitlines()]
        for name in ("train", "heldout", "composed")
    }
    for name, rows in lines.items():
        counts = told["splits"][name]
        assert counts["rows"] == len(rows)
        pairs = [pair for row in rows for pair in exchanges(row)]
        assert counts["prompts"] == len({prompt for prompt, _ in pairs})
        assert counts["replies"] == len({reply for _, reply in pairs})
        assert counts["unique"] == len(set(pairs)) / len(pairs) > 0.9
    assert told["splits"]["all"]["rows"] == 800
    same = [told["overlap"]["heldout"][side + how] for side in ("prompts", "replies") for how in ("", "_same_words")]
    assert same == [0, 0, 0, 0] and told["overlap"]["composed"]["replies_same_words"] == 0
    assert 0 <= told["overlap"]["heldout"]["replies_near"] < told["splits"]["heldout"]["replies"]
    for name in lines:
        assert sum(topic[name] for topic in told["topics"]) == told["splits"][name]["rows"]
    assert sum(topic["share"] for topic in told["topics"]) == pytest.approx(1)

    corpus = Corpus.load(tmp_path / "fish")
    tokens = told["tokens"]
    assert told["sha256"] == corpus.sha256
    assert tokens["vocab_size"] == corpus.tokenizer.vocab_size
    assert tokens["per_row"]["max"] == max(split.lengths.max() for split in corpus.splits.values())
    assert tokens["rows_over_context"] == 0
    assert told["reference"] == corpus.reference_entropies()


def test_the_report_is_a_table() -> None:
    result = run(*SMALL, "--report")
    lines = result.stdout.splitlines()
    assert any(line.split() == ["rows", *line.split()[1:4], "800"] for line in lines)
    same = [line.split()[-2:] for line in lines if line.startswith("held out, the same")]
    assert same == [["0", "0"], ["0", "0"]]
    assert "log V" in result.stdout and "grammar" in result.stdout and "meaning" in result.stdout


def test_a_character_tokenizer(tmp_path: Path) -> None:
    run(*SMALL, "--tokenizer", "char", "--out", tmp_path)
    assert Corpus.load(tmp_path).tokenizer.kind == "char"


def test_another_persona(tmp_path: Path) -> None:
    path = tmp_path / "duck.yaml"
    words = ", ".join(f"quack {n}" for n in range(30))
    path.write_text(f"name: duck\ntopics:\n  pond: {{prompts: [{words}], replies: [{words}]}}\n")
    told = json.loads(run("--persona", path, "--rows", 300, "--json").stdout)
    assert told["name"] == "duck" and told["topics"][0]["topic"] == "pond"


def test_a_leaky_split_says_so(tmp_path: Path) -> None:
    told = json.loads(run("--rows", "3000", "--leaky", "--json", "--out", tmp_path / "fish").stdout)
    assert told["corpus"]["leaky"] is True and "composed" not in told["splits"]
    assert told["overlap"]["heldout"]["prompts"] > 0
    assert "leaky" not in json.loads(run(*SMALL, "--json").stdout)["corpus"]


def test_a_file_instead_of_a_persona(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    lines = [f"what is {n}?,it is the number {n}.,c" for n in range(300)] + ["what is it?,it is it.,c"] * 30
    path.write_text("input,output,category\n" + "\n".join(lines) + "\n")
    result = run("--data", path, "--json")
    assert json.loads(result.stdout)["splits"]["all"]["exchanges"] == 330
    assert f"note: {path}, line 302: this row and others stand in the file again, 29 rows in all" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((), "nothing to do"),
        (("--persona", "guppy", "--data", "x.csv", "--report"), "not both"),
        (("--data", "nowhere.csv", "--report"), "no file nowhere.csv"),
        (("--persona", "shark", "--report"), "no persona 'shark'"),
        (("--tokenizer", "words", *SMALL, "--report"), "choose bpe or char"),
    ],
)
def test_what_a_person_can_mend(arguments: tuple[str, ...], what: str) -> None:
    with pytest.raises(GuppyError, match=what):
        run(*arguments)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GuppyError, match="cannot be written"):
        run(*SMALL, "--out", tmp_path / "file")


def test_rows_must_be_some() -> None:
    assert run("--rows", "0", "--report").exit_code == 2
