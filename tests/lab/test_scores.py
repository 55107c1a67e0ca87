"""Scores for the lab: what was kept is told, what is missing is measured by a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from guppy.errors import GuppyError
from guppy.runs import files
from guppy.runs.scores import Scores, write_scores
from lab import scoring
from lab.pages import scores as page

HOW = {"corpus": "a", "rows": 250, "prompts": 200, "temperature": 0.7, "seed": 0}
POPEN = subprocess.Popen


def commanded(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Let `python -m guppy eval PATH --steps STEP --json` be this script, with PATH and STEP as its arguments."""

    def popen(command: list[str], **options: object) -> subprocess.Popen[str]:
        assert command[1:4] == ["-m", "guppy", "eval"] and command[5] == "--steps"
        return POPEN([sys.executable, "-c", script, command[4], command[6]], **options)

    monkeypatch.setattr(scoring.subprocess, "Popen", popen)


MEASURES = f"""
import json, sys
how = {HOW!r}
table = [{{"step": int(sys.argv[2]), "strange": 0.5}}]
told = {{"format": 1, "how": how, "references": [], "theme": [], "table": table}}
open(sys.argv[1] + "/scores.json", "w").write(json.dumps(told))
"""


def test_scores_are_told(client: TestClient, root: Path) -> None:
    assert client.get("/lab/scores/tiny").json() == {"scores": None}
    write_scores(root / "tiny", Scores(HOW, [{"of": "train", "strange": 0.0}], ["flakes"], {8: {"strange": 0.5}}))
    told = client.get("/lab/scores/tiny").json()["scores"]
    assert told["rows"] == [{"step": 8, "strange": 0.5}] and told["how"] == HOW and told["theme"] == ["flakes"]
    scored = {run["id"]: run["scored"] for run in client.get("/lab/runs").json()["runs"]}
    assert scored["tiny"] and not scored["open"]
    (root / "tiny" / files.SCORES).write_text("{")
    answer = client.get("/lab/scores/tiny")
    assert answer.status_code == 400 and "delete it" in answer.json()["error"]
    assert client.get("/lab/scores/nope").status_code == 400


def test_a_step_is_measured_and_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commanded(monkeypatch, MEASURES)
    begun, done = page._measure({"run": "tiny", "step": 8})
    assert begun["measuring"] == {"run": "tiny", "step": 8} and done["measuring"] is None and "error" not in done
    assert json.loads((root / "tiny" / files.SCORES).read_text())["table"] == [{"step": 8, "strange": 0.5}]


def test_what_goes_wrong_is_one_sentence(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commanded(monkeypatch, "import sys; sys.exit('a line before\\nerror: The data are gone.')")
    with pytest.raises(GuppyError, match=r"^The data are gone\.$"):
        scoring.measure("tiny", 8)
    commanded(monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr(scoring, "LONGEST", 0.2)
    with pytest.raises(GuppyError, match="given up"):
        scoring.measure("tiny", 8)
    assert scoring._turn.acquire(blocking=False), "the next one has its turn"
    scoring._turn.release()
    for view in (None, {}, {"run": "nope"}, {"run": "tiny", "step": 7}, {"run": "tiny", "step": []}):
        *_, told = page._measure(view)
        assert told["measuring"] is None and told["error"].strip()


def test_one_at_a_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commanded(monkeypatch, MEASURES + "import time; time.sleep(1)")
    first = threading.Thread(target=scoring.measure, args=("tiny", 8))
    first.start()
    while not (root / "tiny" / files.SCORES).exists():
        pass
    with pytest.raises(GuppyError, match="Another checkpoint is being measured"):
        scoring.measure("tiny", 0)
    first.join()
