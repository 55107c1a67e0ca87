"""The Hugging Face shape: what is written is read by `datasets`, and by us."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from guppy.cli_data import data
from guppy.corpus import Corpus
from guppy.errors import GuppyError
from guppy.interop.dataset import export_dataset
from guppy.report import report
from guppy.rows import read_rows

TURNS = """
name: talker
turns: {2: 0.3}
rules: {n: [%s]}
topics:
  a: {slots: {m: ["{n}"]}, prompts: ["{m} {n}?", "is it {n}, {m}?"], replies: ["{m}, {n}.", "yes, {n} and {m}."]}
"""


@pytest.fixture(scope="module")
def talker(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    path = tmp_path_factory.mktemp("persona") / "talker.yaml"
    path.write_text(TURNS % ", ".join(map(str, range(100, 240))))
    return Corpus.from_persona(path, rows=1500)


def load(directory: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "1")
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    return datasets.load_dataset(str(directory), cache_dir=str(cache))


def test_datasets_reads_it(talker: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export_dataset(talker, tmp_path / "hf", report(talker))
    loaded = load(tmp_path / "hf", tmp_path / "cache", monkeypatch)
    names = {"train": "train", "heldout": "test", "composed": "composed"}
    assert set(loaded) == {names[name] for name in talker.splits}
    for name, split in talker.splits.items():
        rows, part = talker.rows(split), loaded[names[name]]
        assert part.column_names == ["input", "output", "category", "messages"]
        assert part["input"][:] == [row.input for row in rows] and part["output"][:] == [row.output for row in rows]
        assert part["category"][:] == split.categories
        assert [[(turn["role"], turn["content"]) for turn in turns] for turns in part["messages"][:50]] == [
            row.messages for row in rows[:50]
        ]
    assert read_rows(tmp_path / "hf" / "data" / "test.parquet") == talker.rows(talker.heldout)


def test_the_card_is_read(talker: Corpus, tmp_path: Path) -> None:
    counts = report(talker)
    export_dataset(talker, tmp_path, counts)
    _, head, body = (tmp_path / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    meta = yaml.safe_load(head)
    assert meta["pretty_name"] == "talker" and meta["size_categories"] == ["1K<n<10K"]
    assert "license" not in meta, "whose words they are we do not know"
    assert [split["path"] for split in meta["configs"][0]["data_files"]] == [
        "data/train.parquet", "data/test.parquet", "data/composed.parquet"
    ]  # fmt: skip
    assert f"| train | {counts['splits']['train']['rows']:,} |" in body and counts["sha256"] in body


def test_the_command_exports(tmp_path: Path) -> None:
    data(rows=600, leaky=True, export=tmp_path / "hf")
    card = (tmp_path / "hf" / "README.md").read_text(encoding="utf-8")
    assert yaml.safe_load(card.split("---\n")[1])["license"] == "mit"
    assert "--persona guppy --rows 600 --seed 0 --leaky --export DIR" in card and "random, on purpose" in card
    assert sorted(path.name for path in (tmp_path / "hf" / "data").iterdir()) == ["test.parquet", "train.parquet"]


def test_prose_has_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "prose.jsonl").write_text("\n".join(json.dumps({"text": f"line {n} of prose"}) for n in range(300)))
    corpus = Corpus.from_path(tmp_path / "prose.jsonl")
    export_dataset(corpus, tmp_path / "hf", report(corpus))
    loaded = load(tmp_path / "hf", tmp_path / "cache", monkeypatch)
    assert loaded["train"].column_names == ["text", "category"] and loaded["train"].num_rows == len(corpus.train)


def test_a_place_that_cannot_be_written(talker: Corpus, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GuppyError, match="cannot be written"):
        export_dataset(talker, tmp_path / "file", report(talker))
