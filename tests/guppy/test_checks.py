"""What is worth a look before a training, with file, line and mend."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guppy.checks import check_file
from guppy.errors import GuppyError


def write(path: Path, rows: list[tuple[str, str]]) -> Path:
    path.write_text("".join(json.dumps({"input": asked, "output": said}) + "\n" for asked, said in rows))
    return path


def test_good_rows_have_no_faults(tmp_path: Path) -> None:
    assert check_file(write(tmp_path / "a.jsonl", [(f"what is {n}?", f"it is {n}.") for n in range(100)])) == []
    (tmp_path / "a.txt").write_text("a long text. " * 1000)
    assert check_file(tmp_path / "a.txt") == []


def test_each_fault_names_line_and_mend(tmp_path: Path) -> None:
    rows = [(f"what is {n}?", f"it is {n}.") for n in range(50)]
    rows += (
        [("hello", "yes.")] * 40 + [("tell me more", "on and on " * 100)] * 2 + [(f"{n}?", "yes.") for n in range(9)]
    )
    path = write(tmp_path / "a.jsonl", rows)
    repeated, long, replies = check_file(path)
    assert repeated.startswith(f"{path}, line 51: ") and "40 rows in all; delete" in repeated
    assert long.startswith(f"{path}, line 91: ") and "1 others" in long
    assert replies.startswith(f"{path}, line 51: 49 of 101 rows have this reply") and "; write" in replies


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("nothing")
    with pytest.raises(GuppyError, match="line 1: this is not JSON"):
        check_file(tmp_path / "a.jsonl")
