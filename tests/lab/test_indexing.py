"""How an index is built for a page: by a process of its own, one at a time, told of, stopped, and kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from guppy.inspect import neuron_index
from guppy.runs import open_run
from lab import indexing


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(indexing, "_last", None)
    yield
    if indexing._last is not None and indexing._last.running:
        indexing._last.process.kill()


def wait(client: TestClient, run: str, step: int, seconds: float = 60) -> dict[str, Any]:
    """What is said when nothing is being built any more."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        told = client.get("/lab/neurons/index", params={"run": run, "step": step}).json()
        if not (told["job"] or {}).get("running"):
            return told
        time.sleep(0.1)
    raise TimeoutError(told)


def test_it_is_built_and_found(client: TestClient, root: Path) -> None:
    assert client.get("/lab/neurons/index?run=tiny&step=8").json() == {"index": None, "job": None}
    told = client.post("/lab/neurons/index", json={"run": "tiny", "step": 8}).json()
    assert told["job"] | {"done": 0, "of": 0} == {
        "run": "tiny", "step": 8, "running": True, "done": 0, "of": 0, "error": None
    }  # fmt: skip
    again = client.post("/lab/neurons/index", json={"run": "tiny", "step": 8})
    assert again.status_code == 200, "whoever asks for the same one waits for it"
    other = client.post("/lab/neurons/index", json={"run": "open", "step": 8})
    assert other.status_code == 400 and "index of step 8 of tiny is being built" in other.json()["error"]
    seen = client.get("/lab/neurons/index?run=open&step=8").json()
    assert seen["index"] is None and seen["job"]["run"] == "tiny", "others hear for whom they wait"
    told = wait(client, "tiny", 8)
    index = neuron_index.find(open_run(root / "tiny"), 8)
    assert told["index"]["tokens"] == index.tokens and told["index"]["step"] == 8
    assert told["job"]["done"] == told["job"]["of"] == index.tokens and told["job"]["error"] is None
    asked = {"run": "tiny", "step": 8, "layer": 1, "neuron": int(index.share[1].argmax()), "format": "json"}
    top = client.get("/lab/inspect/neuron-top", params=asked).json()
    assert len(top["answers"][0]["facts"]["tokens"]) == 20


def test_it_can_be_stopped(client: TestClient, root: Path) -> None:
    client.post("/lab/neurons/index", json={"run": "tiny", "step": 8})
    client.post("/lab/neurons/stop", json={"run": "open", "step": 8})
    assert indexing._last.running, "nobody stops another's"
    client.post("/lab/neurons/stop", json={"run": "tiny", "step": 8})
    told = wait(client, "tiny", 8)
    assert told["index"] is None and told["job"]["error"] is None
    assert neuron_index.find(open_run(root / "tiny"), 8) is None


def test_what_goes_wrong_is_told(client: TestClient, root: Path) -> None:
    (root / "tiny" / "derived").write_text("in the way")
    client.post("/lab/neurons/index", json={"run": "tiny", "step": 8})
    assert "cannot be written" in wait(client, "tiny", 8)["job"]["error"]
    for body, sentence in (
        ({"run": "tiny", "step": 7}, "has no checkpoint at step 7"),
        ({"run": "none", "step": 8}, "There is no run 'none'"),
        ({"run": "tiny"}, "Name a run and a step"),
        ([], "Name a run and a step"),
    ):
        answer = client.post("/lab/neurons/index", json=body)
        assert answer.status_code == 400 and sentence in answer.json()["error"]
    form = client.post("/lab/neurons/index", data={"run": "tiny", "step": "8"})
    assert form.status_code == 415, "no form of another site starts anything"


def test_one_that_takes_too_long_is_given_up(client: TestClient, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "LONGEST", 0.05)
    client.post("/lab/neurons/index", json={"run": "tiny", "step": 8})
    told = wait(client, "tiny", 8)
    assert told["index"] is None and "was given up" in told["job"]["error"]


def test_questions_without_an_index_say_what_to_do(client: TestClient, root: Path) -> None:
    for what in ("neuron-index", "neuron-top", "neuron-activity?texts=0"):
        joint = "&" if "?" in what else "?"
        answer = client.get(f"/lab/inspect/{what}{joint}run=tiny&step=8")
        assert answer.status_code == 400 and "not built yet" in answer.json()["error"]
