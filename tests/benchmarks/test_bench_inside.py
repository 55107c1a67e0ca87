from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import inside
from guppy.errors import GuppyError


def test_limits_are_measured_and_compared(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(inside, "measure", lambda part, *arguments, say: part(*arguments, say))
    monkeypatch.setattr(
        inside, "tasks", lambda subject: {"record everything": lambda: subject.model(subject.ids[None])}
    )
    inside.main(["--run", "fry", "--tokens", "16", "--repeats", "1", "--json", "-"])
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    (row,) = document["limits"]
    assert row["question"] == "record everything" and row["seconds"] > 0 and row["limit"] == 0.12
    assert "record everything" in printed.err


def test_a_text_longer_than_the_context_is_read_by_a_model_that_has_it() -> None:
    short, long = inside.subject_of("fry", 128), inside.subject_of("fry", 200)
    assert (len(short.ids), short.model.config.n_ctx, short.step) == (128, 128, short.run.last_step)
    assert (len(long.ids), long.model.config.n_ctx, long.step) == (200, 200, None)
    assert set(inside.tasks(short)) == set(inside.LIMITS)


def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(GuppyError, match="at least 1"):
        inside.main(["--repeats", "0"])
    with pytest.raises(GuppyError, match="no run"):
        inside.main(["--run", "nobody"])
