"""The route to every question: what it sends, in which forms, and what it refuses."""

from __future__ import annotations

import io
import json
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

import guppy
from guppy.inspect import questions
from guppy.inspect.asking import Option, Question
from guppy.runs import open_run
from lab import inspecting, models


@dataclass(frozen=True)
class Kinds:
    f8: torch.Tensor
    f2: torch.Tensor
    flags: torch.Tensor
    ids: torch.Tensor
    worth: float


def ask_kinds(subject, *, add):
    return Kinds(
        torch.tensor([0.5, -torch.inf, torch.nan], dtype=torch.float64) + add,
        torch.tensor([[1.5], [2.5]], dtype=torch.float16),
        torch.tensor([True, False, True]),
        torch.tensor([-1, 2**31 - 1]),
        float("nan"),
    )


@pytest.fixture
def kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Question("kinds", "Every kind.", ask_kinds, options=(Option("add", int, 0, "What."),), prompt=False)
    real = questions.question
    monkeypatch.setattr(questions, "question", lambda name: asked if name == "kinds" else real(name))
    monkeypatch.setattr("lab.inspect_api.question", questions.question)


def unpack(content: bytes) -> tuple[dict, list[dict[str, np.ndarray]]]:
    (length,) = struct.unpack_from("<I", content)
    header = json.loads(content[4 : 4 + length])
    start = 4 + length
    answers = []
    for answer in header["answers"]:
        arrays = {}
        for each in answer["arrays"]:
            assert (start + each["offset"]) % 4 == 0
            count = int(np.prod(each["shape"]))
            flat = np.frombuffer(content, f"<{each['dtype']}", count, start + each["offset"])
            arrays[each["name"]] = flat.reshape(each["shape"])
        answers.append(arrays)
    return header, answers


def test_an_answer_is_what_the_library_says(client: TestClient, root: Path):
    query = {"run": "open", "prompt": "are you hungry?", "step": 8}
    header, (arrays,) = unpack(client.get("/lab/inspect/attention", params=query).content)
    run = open_run(root / "open")
    expected = guppy.inspect.ask(run, "attention", prompt="are you hungry?", step=8)
    np.testing.assert_array_equal(arrays["pattern"], expected.pattern.numpy())
    assert (header["run"], header["prompt"], header["cut"]) == ("open", "are you hungry?", False)
    assert header["ids"] == run.encode_prompt("are you hungry?") and len(header["tokens"]) == len(header["ids"])
    assert (header["surgery"], header["surgery_text"]) == (["no-causal-mask"], "no causal mask")
    assert (header["what"], header["exactness"], header["options"]) == ("attention", "exact", {})
    assert header["hooks"] == "blocks.{layer}.attn.hook_pattern"
    assert [answer["step"] for answer in header["answers"]] == [8]


def test_many_steps_at_once_and_the_last_by_itself(client: TestClient, root: Path):
    query = {"run": "tiny", "prompt": "hi"}
    steps = open_run(root / "tiny").steps
    header, arrays = unpack(client.get("/lab/inspect/attention", params=query | {"steps": "all"}).content)
    assert [answer["step"] for answer in header["answers"]] == steps
    one, (last,) = unpack(client.get("/lab/inspect/attention", params=query).content)
    assert one["answers"][0]["step"] == steps[-1]
    np.testing.assert_array_equal(last["pattern"], arrays[-1]["pattern"])
    assert not np.array_equal(arrays[0]["pattern"], arrays[-1]["pattern"])


def test_every_kind_of_number_arrives(client: TestClient, kinds: None):
    response = client.get("/lab/inspect/kinds", params={"run": "tiny", "add": "1"})
    header, (arrays,) = unpack(response.content)
    np.testing.assert_array_equal(arrays["f8"], np.array([1.5, -np.inf, np.nan], np.float32))
    np.testing.assert_array_equal(arrays["f2"], np.array([[1.5], [2.5]], np.float16))
    assert arrays["flags"].tolist() == [1, 0, 1] and arrays["ids"].tolist() == [-1, 2**31 - 1]
    (answer,) = header["answers"]
    assert [each["dtype"] for each in answer["arrays"]] == ["f4", "f2", "u1", "i4"]
    assert answer["facts"] == {"worth": None} and header["options"] == {"add": 1}
    assert header["prompt"] is None and header["tokens"] == []


def test_files_for_people(client: TestClient, kinds: None):
    query = {"run": "tiny", "prompt": "hi", "step": 0}
    _, (arrays,) = unpack(client.get("/lab/inspect/attention", params=query).content)
    told = client.get("/lab/inspect/attention", params=query | {"format": "json"}).json()
    np.testing.assert_allclose(told["answers"][0]["arrays"]["pattern"], arrays["pattern"], rtol=1e-6)
    kept = np.load(io.BytesIO(client.get("/lab/inspect/attention", params=query | {"format": "npz"}).content))
    np.testing.assert_array_equal(kept["pattern"], arrays["pattern"])
    assert (str(kept["run"]), int(kept["step"]), kept["tokens"].tolist()) == ("tiny", 0, told["tokens"])
    text = client.get("/lab/inspect/attention", params=query | {"format": "csv"}).text
    assert len(text.splitlines()) == 1 + arrays["pattern"].size
    loose = client.get("/lab/inspect/kinds", params={"run": "tiny", "format": "json"}).json()
    assert loose["answers"][0]["arrays"]["f8"] == [0.5, None, None]


def test_answers_are_kept_until_the_weights_change(client: TestClient, root: Path, monkeypatch: pytest.MonkeyPatch):
    query = {"run": "tiny", "prompt": "a prompt of its own", "step": 4}
    first = client.get("/lab/inspect/attention", params=query)
    again = client.get("/lab/inspect/attention", params=query, headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    asked = []
    monkeypatch.setattr(inspecting, "answer", lambda *given: asked.append(given) or questions.answer(*given))
    client.get("/lab/inspect/attention", params=query)
    assert not asked
    steps = root / "tiny" / "steps"
    weights = (steps / "000008" / "model.safetensors").read_bytes()
    (steps / "000004" / "model.safetensors").write_bytes(weights)
    changed = client.get("/lab/inspect/attention", params=query)
    assert len(asked) == 1 and changed.headers["etag"] != first.headers["etag"]


@pytest.mark.parametrize(
    ("what", "query", "says"),
    [
        ("atention", {}, "did you mean attention"),
        ("attention", {"run": "nowhere"}, "nowhere"),
        ("attention", {"step": "3"}, "no checkpoint at step 3"),
        ("attention", {"step": "x"}, "step must be a whole number"),
        ("attention", {"steps": "0,x"}, "Name steps by numbers"),
        ("attention", {"layer": "1"}, "no option 'layer'"),
        ("attention", {"format": "xlsx"}, "choose json, npz or csv"),
        ("attention", {"format": "npz", "steps": "all"}, "holds one step"),
        ("kinds", {"add": "much"}, "'add' must be a whole number"),
    ],
)
def test_what_cannot_be_is_one_sentence(client: TestClient, kinds: None, what: str, query: dict, says: str):
    answer = client.get(f"/lab/inspect/{what}", params={"run": "tiny", "prompt": "hi"} | query)
    assert answer.status_code == 400 and says in answer.json()["error"]


def test_what_asks_the_run_waits_for_nobody(client: TestClient, root: Path):
    """A lesson takes a copy: the shared model may be in use meanwhile."""
    run = open_run(root / "tiny")
    with models.get_model(run, run.last_step).lock:
        for what, query in (("lesson", {"prompt": "hi", "reply": "blub"}), ("position-loss", {"rows": 8})):
            assert client.get(f"/lab/inspect/{what}", params={"run": "tiny", **query}).status_code == 200


def test_too_much_at_once(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(models, "MAX_BUNDLE", 1000)
    answer = client.get("/lab/inspect/attention", params={"run": "tiny", "prompt": "hi " * 20, "steps": "all"})
    assert answer.status_code == 400 and "too much at once" in answer.json()["error"]


def test_a_damaged_checkpoint_is_told_and_not_kept(client: TestClient, root: Path):
    path = root / "tiny" / "steps" / "000008" / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    query = {"run": "tiny", "prompt": "hi", "step": 8}
    assert client.get("/lab/inspect/attention", params=query).status_code == 400
    path.write_bytes(whole)
    assert client.get("/lab/inspect/attention", params=query).status_code == 200
