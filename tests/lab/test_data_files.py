"""Files that visitors upload: checked before anything is trained, kept within bounds, and trainable."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from guppy.errors import GuppyError
from guppy.personas import load_persona
from guppy.runs import open_run
from lab import bringing, shelf
from lab.orders import Order, has_corpus, make_run

SMALL = {"steps": 2, "rows": 600, "context": 32, "batch": 4, "checkpoints": 2}


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    drawn = load_persona("moon").generate(400, seed=3)
    return [{"input": row.input, "output": row.output, "category": row.category} for row in drawn]


def jsonl(rows: list[dict[str, str]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def bring(client: TestClient, name: str, content: bytes, tokens: str = "bpe") -> tuple[int, dict]:
    headers = {"Content-Type": "application/octet-stream"}
    query = {"name": name, "tokens": tokens}
    answer = client.post("/lab/data/bring", params=query, content=content, headers=headers)
    return answer.status_code, answer.json()


def test_a_good_file_is_reported_and_can_be_trained(client: TestClient, root: Path, rows: list[dict[str, str]]) -> None:
    repeated = [*rows, *rows[:20]]
    status, told = bring(client, "talk of the <b>moon</b>.jsonl", jsonl(repeated))
    assert status == 200, told
    assert told["name"] == "talk of the <b>moon<" or told["name"] == "b>.jsonl" or "moon" in told["name"]
    checked = told["checked"]
    assert checked["kind"] == "conversations" and checked["repeated"] >= 20
    assert 0 < checked["shared"]["replies"] < 1
    splits = checked["report"]["splits"]
    assert splits["all"]["rows"] + checked["lost"] == len(repeated)
    assert checked["report"]["overlap"]["heldout"]["replies"] == 0
    assert len(checked["samples"]) == 8 and len(checked["samples"][0]["turns"][0]) == 2
    assert any("repeat" in fault["error"] and fault["line"] == "line 1" for fault in checked["faults"])
    assert client.get("/lab/data/own", params={"id": told["id"]}).json()["checked"] == checked

    order = Order(data=told["id"], **SMALL)
    assert has_corpus(order)
    run = make_run(order, "brought-1")
    assert run.manifest["corpus"]["sha256"] == checked["sha256"]
    assert f"--data {shelf.find(told['id']).path} " in open_run(root / "brought-1").manifest["notes"]


def test_a_plain_text_as_characters(client: TestClient, root: Path) -> None:
    text = "\n".join(f"name{i % 7} of {i}" for i in range(2000)).encode()
    status, told = bring(client, "NAMES.TXT", text, "char")
    assert status == 200 and told["checked"]["kind"] == "text"
    assert told["checked"]["report"]["tokens"]["kind"] == "char"
    assert told["checked"]["samples"][0]["turns"][0][0].startswith("name0 of 0")
    order = Order(data=told["id"], **SMALL)
    assert "--tokenizer char" in order.command("x")


@pytest.mark.parametrize(
    ("name", "content", "line", "words"),
    [
        ("a.jsonl", b'{"input": "hi", "output": "yes"}\n{"input": "hi"\n', "line 2", "not JSON"),
        ("a.jsonl", b'{"input": "hi", "output": ""}\n', "line 1", "empty"),
        ("a.csv", b"question,answer\nhi,yes\n", "line 1", "columns"),
        ("a.csv", b"input,output\nhi\n", "line 2", "fields"),
        ("a.txt", b"fine\n\xff\xfe\xfa\n", "line 2", "UTF-8"),
        ("a.parquet", b"PK\x03\x04 no parquet", None, "Parquet"),
        ("a.jsonl.gz", b"\x1f\x8b\x08\x00 broken", None, "gzip"),
        ("a.jsonl", b"", None, "empty"),
        ("a.exe", b"MZ", None, "ends in"),
        ("", b"x", None, "little"),
        ("a.txt", b"too short", None, "too little"),
    ],
)
def test_a_bad_file_is_one_sentence_with_file_and_line(
    client: TestClient, root: Path, name: str, content: bytes, line: str | None, words: str
) -> None:
    status, told = bring(client, name, content)
    assert status == 400 and words in told["error"], told
    assert told["line"] == line and told["file"] == (name or "file.txt")
    assert str(root) not in told["error"] and "\n" not in told["error"]
    assert not list((root / shelf.FOLDER).glob("own-*"))


def test_names_say_how_a_file_is_read_and_nothing_else(root: Path) -> None:
    with pytest.raises(GuppyError):
        bringing.bring("x.jsonl", "words", b"{}")
    for name in ("../../../evil.txt", "C:\\evil.txt", "/etc/evil.txt"):
        with pytest.raises(bringing.FileError) as caught:
            bringing.bring(name, "bpe", b"short")
        assert caught.value.place["file"] == "evil.txt"
    assert not list(root.parent.glob("**/evil*"))


def test_a_file_that_is_too_large_is_refused(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    status, told = bring(client, "a.txt", b"x" * (bringing.LARGEST + 1))
    assert status == 413 and "16 MB" in told["error"]


def test_a_check_that_takes_too_long_is_given_up(
    client: TestClient, root: Path, rows: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bringing, "PATIENCE", 0.01)
    status, told = bring(client, "a.jsonl", jsonl(rows))
    assert status == 400 and "too long" in told["error"]
    assert not list((root / shelf.FOLDER).glob("own-*"))


def test_the_oldest_makes_room_unless_a_run_needs_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "MOST", 3)
    entries = [shelf.put("persona", {"name": str(i)}, "persona.yaml", f"name: {i}".encode()) for i in range(3)]
    for i, entry in enumerate(entries):
        os.utime(entry.path.parent / "about.json", (i + 1, i + 1))
    (root / "needs").mkdir()
    (root / "needs" / "run.json").write_text(json.dumps({"corpus": {"persona": str(entries[0].path)}}))
    newest = shelf.put("persona", {"name": "3"}, "persona.yaml", b"name: 3")
    assert [shelf.find(entry.id) is not None for entry in (*entries, newest)] == [True, False, True, True]
    for entry in (entries[2], newest):
        (root / f"needs-{entry.id}").mkdir()
        (root / f"needs-{entry.id}" / "run.json").write_text(json.dumps({"persona": str(entry.path)}))
    with pytest.raises(GuppyError, match="no more data"):
        shelf.put("persona", {"name": "4"}, "persona.yaml", b"name: 4")
    monkeypatch.setattr(shelf, "MOST", 100)
    monkeypatch.setattr(shelf, "LARGEST", 100)
    with pytest.raises(GuppyError, match="no more data"):
        shelf.put("persona", {"name": "5"}, "persona.yaml", b"x" * 101)


@pytest.mark.parametrize(
    "entry_id", ["", "own-", "own-../../x", "own-00000000000000zz", "..", "own-0000000000000000/.."]
)
def test_only_ids_are_looked_for(root: Path, entry_id: str) -> None:
    assert shelf.find(entry_id) is None and not shelf.is_id(entry_id)


def test_halves_of_characters_and_many_categories_fit_a_report(client: TestClient, root: Path) -> None:
    rows = [{"input": f"q{i} \ud800", "output": f"a{i} \ud800", "category": f"c{i % 20} \ud800"} for i in range(300)]
    status, told = bring(client, "odd.jsonl", jsonl(rows))
    assert status == 200, told
    assert len(told["checked"]["report"]["topics"]) == 12
    assert str(root) not in json.dumps(told)
