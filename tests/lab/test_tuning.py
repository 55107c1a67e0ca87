"""The tuned lens for the lab: which checkpoints have one is told, a missing one is trained by a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from guppy.errors import GuppyError
from guppy.inspect.tuned_lens import make
from guppy.runs import open_run
from lab import tuning
from lab.pages import layers as page

POPEN = subprocess.Popen


def commanded(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Let `python -m guppy.inspect.tuned_lens PATH STEP` be this script, with the same arguments."""

    def popen(command: list[str], **options: object) -> subprocess.Popen[str]:
        assert command[1:3] == ["-m", "guppy.inspect.tuned_lens"]
        return POPEN([sys.executable, "-c", script, *command[3:]], **options)

    monkeypatch.setattr(tuning.subprocess, "Popen", popen)


def test_what_is_trained_is_told(client: TestClient, root: Path) -> None:
    assert client.get("/lab/tuned/tiny").json() == {"steps": {}}
    query = {"run": "tiny", "prompt": "hi", "step": 8}
    answer = client.get("/lab/inspect/tuned-lens", params=query)
    assert answer.status_code == 400 and "not trained" in answer.json()["error"]
    made = make(open_run(root / "tiny"), 8, steps=2)
    told = client.get("/lab/tuned/tiny").json()["steps"]
    assert list(told) == ["8"] and told["8"]["kl_after"] == pytest.approx(made.kl_after)
    assert client.get("/lab/inspect/tuned-lens", params=query).status_code == 200
    assert client.get("/lab/tuned/nope").status_code == 400


def test_progress_is_told_until_it_is_there(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commanded(monkeypatch, "import time\nfor i in range(3): print(i, 2, flush=True); time.sleep(0.4)")
    *steps, done = page._train({"run": "tiny", "step": 8})
    told = [step["tuning"] for step in steps]
    assert {"run": "tiny", "step": 8, "done": 2, "of": 2} in told
    assert done["tuning"] is None and "error" not in done


def test_who_asks_for_the_same_follows_it_and_others_wait(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commanded(monkeypatch, "import time; print(1, 9, flush=True); time.sleep(1.5)")
    first, second = tuning.train("tiny", 8), tuning.train("tiny", 8)
    next(first), next(second)
    with pytest.raises(GuppyError, match="Another tuned lens"):
        next(tuning.train("tiny", 0))
    assert list(second)[-1] == (1, 9) and not list(first)


def test_what_goes_wrong_is_one_sentence(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commanded(monkeypatch, "import sys; sys.exit('a line before\\nThe data are gone.')")
    with pytest.raises(GuppyError, match=r"^The data are gone\.$"):
        list(tuning.train("tiny", 8))
    commanded(monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr(tuning, "LONGEST", 0.2)
    with pytest.raises(GuppyError, match="try again"):
        list(tuning.train("tiny", 8))
    for view in (None, {}, {"run": "nope"}, {"run": "tiny", "step": 7}, {"run": "tiny", "step": []}):
        *_, told = page._train(view)
        assert told["tuning"] is None and told["error"].strip()
