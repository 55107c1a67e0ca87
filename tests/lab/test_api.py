"""The lab's routes: what they promise, and one sentence for everything that cannot be."""

from __future__ import annotations

import json
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from guppy.runs import files
from lab import answers, models


def unpack(content: bytes) -> tuple[dict, np.ndarray]:
    (length,) = struct.unpack_from("<I", content)
    header = json.loads(content[4 : 4 + length])
    assert (4 + length) % 4 == 0
    shape = [len(header["steps"]), header["layers"], header["heads"], header["n"], header["n"]]
    return header, np.frombuffer(content, "<u2", offset=4 + length).reshape(shape)


def test_runs_are_listed_newest_first_with_what_menus_need(client: TestClient):
    runs = client.get("/lab/runs").json()["runs"]
    own = [run for run in runs if not run["bundled"]]
    assert [run["id"] for run in own] == ["open", "tiny"]
    tiny = own[1]
    assert tiny["steps"][0] == 0 and tiny["steps"][-1] == tiny["steps_done"] == 8
    assert (tiny["n_layers"], tiny["n_heads"], tiny["n_ctx"], tiny["size"]) == (2, 2, 64, "custom")
    assert (tiny["status"], tiny["persona"], tiny["surgery"], tiny["error"]) == ("finished", "guppy", [], None)
    assert (own[0]["surgery"], own[0]["surgery_text"]) == (["no-causal-mask"], "no causal mask")


def test_a_broken_run_is_listed_with_its_error(client: TestClient, root: Path):
    (root / "tiny" / files.MANIFEST).write_text('{"format": 99}')
    (root / "open" / files.MANIFEST).write_text("{")
    runs = {run["id"]: run for run in client.get("/lab/runs").json()["runs"]}
    assert "format 99" in runs["tiny"]["error"] and "valid JSON" in runs["open"]["error"]
    for run in ("tiny", "open"):
        answer = client.get("/lab/attention", params={"run": run, "prompt": "hi"})
        assert answer.status_code == 400 and answer.json()["error"].endswith(".")


def test_news_are_told_once(client: TestClient, root: Path):
    first = client.get("/lab/run/tiny").json()
    assert first["steps"][-1] == 8 and not first["running"] and not first["again"]
    assert {row["kind"] for row in first["rows"]} == {"step", "eval", "ratios"}
    assert first["samples"][0].keys() == {"step", "prompt", "text"}
    assert first["manifest"]["reference"].keys() == {"log_v", "unigram", "bigram", "grammar"}

    again = client.get("/lab/run/tiny", params={"cursor": first["cursor"]}).json()
    assert (again["rows"], again["samples"], again["again"]) == ([], [], False)

    with (root / "tiny" / files.METRICS).open("ab") as file:
        file.write(b'{"kind": "step", "step": 9}\nno JSON\n{"kind": "st')
    fresh = client.get("/lab/run/tiny", params={"cursor": again["cursor"]}).json()
    assert fresh["rows"] == [{"kind": "step", "step": 9}]


def test_where_the_data_lie_on_the_server_is_not_told(client: TestClient, root: Path):
    manifest = json.loads((root / "tiny" / files.MANIFEST).read_text())
    manifest["corpus"] |= {"kind": "path", "path": "/home/somebody/secret/rows.jsonl", "persona": "/srv/own-1.yaml"}
    (root / "tiny" / files.MANIFEST).write_text(json.dumps(manifest))
    told = client.get("/lab/run/tiny").text + client.get("/lab/runs").text
    assert "rows.jsonl" in told and "own-1.yaml" in told and "secret" not in told and "/srv" not in told


def test_a_file_written_anew_is_told_whole(client: TestClient, root: Path):
    first = client.get("/lab/run/tiny").json()
    files.drop_rows(root / "tiny" / files.METRICS, 2)
    told = client.get("/lab/run/tiny", params={"cursor": first["cursor"]}).json()
    assert told["again"] and max(row["step"] for row in told["rows"]) == 2
    assert told["samples"] == first["samples"]
    for cursor in ("nonsense", "1:2-3:4", "-", "%00"):
        told = client.get("/lab/run/tiny", params={"cursor": cursor}).json()
        assert max(row["step"] for row in told["rows"]) == 2 and told["samples"] == first["samples"]


def test_tokens_are_the_models_reading(client: TestClient):
    told = client.get("/lab/tokens", params={"run": "tiny", "prompt": "hi <|im_end|>\n"}).json()
    assert told["tokens"][:2] == ["<|im_start|>", "user"] and len(told["tokens"]) == len(told["ids"])
    assert told["tokens"].count("<|im_end|>") == 1  # the chat's own; what a person types stays text
    assert told["cut"] is False
    assert client.get("/lab/tokens", params={"run": "tiny", "prompt": "water " * 500}).json()["cut"] is True


def test_attention_is_packed_as_promised(client: TestClient):
    answer = client.get("/lab/attention", params={"run": "tiny", "prompt": "are you hungry?", "steps": "0,8"})
    header, values = unpack(answer.content)
    assert header["steps"] == [0, 8] and header["run"] == "tiny" and header["prompt"] == "are you hungry?"
    assert len(header["tokens"]) == header["n"] and header["resolution"] == "1/65535"
    assert header["hook"] == "blocks.{layer}.attn.hook_pattern" and header["surgery"] == []
    run = models.get_run("tiny")
    np.testing.assert_array_equal(values, models.attention(run, models.read_prompt(run, "are you hungry?"), [0, 8]))
    np.testing.assert_allclose(values.sum(-1, dtype=np.int64), 65535, atol=header["n"])

    everything, _ = unpack(client.get("/lab/attention", params={"run": "tiny", "prompt": "hi", "steps": "all"}).content)
    assert everything["steps"] == run.steps


def test_large_answers_are_compressed_and_remembered(client: TestClient):
    params = {"run": "tiny", "prompt": "the water is warm and the light is on " * 3, "steps": "all"}
    packed = client.get("/lab/attention", params=params)
    assert packed.headers["content-encoding"] == "gzip"
    plain = client.get("/lab/attention", params=params, headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers and plain.content == packed.content
    known = client.get("/lab/attention", params=params, headers={"if-none-match": packed.headers["etag"]})
    assert known.status_code == 304 and not known.content


def test_replies_come_for_each_step_and_repeat_by_seed(client: TestClient):
    params = {"run": "tiny", "prompt": "hello", "temperature": "1", "seed": "3", "steps": "0,8"}
    replies = client.get("/lab/replies", params=params).json()["replies"]
    assert [reply["step"] for reply in replies] == [0, 8]
    assert replies[0].keys() == {"step", "text", "slid", "stopped"}
    assert client.get("/lab/replies", params={**params, "steps": "8"}).json()["replies"] == replies[1:]
    other = client.get("/lab/replies", params={**params, "seed": "4"}).json()["replies"]
    assert other[0]["text"] != replies[0]["text"]


BAD = [
    ("/lab/run/nope", {}),
    ("/lab/run/..%2f..%2fetc", {}),
    ("/lab/run/%2e%2e", {}),
    ("/lab/run/%00", {}),
    ("/lab/run/" + "x" * 5000, {}),
    ("/lab/nowhere", {}),
    ("/lab/", {}),
    ("/lab/attention", {}),
    ("/lab/attention", {"run": "../tiny", "prompt": "hi"}),
    ("/lab/attention", {"run": "TINY", "prompt": "hi"}),
    ("/lab/attention", {"run": "tiny", "prompt": "hi", "steps": "7"}),
    ("/lab/attention", {"run": "tiny", "prompt": "hi", "steps": "1e9"}),
    ("/lab/attention", {"run": "tiny", "prompt": "hi", "steps": "0," * 10_000}),
    ("/lab/tokens", {"run": ""}),
    ("/lab/replies", {"run": "tiny", "prompt": "hi", "steps": "8", "temperature": "-1"}),
    ("/lab/replies", {"run": "tiny", "prompt": "hi", "steps": "8", "temperature": "nan"}),
    ("/lab/replies", {"run": "tiny", "prompt": "hi", "steps": "8", "top_k": "0"}),
    ("/lab/replies", {"run": "tiny", "prompt": "hi", "steps": "8", "top_k": "many"}),
    ("/lab/replies", {"run": "tiny", "prompt": "hi", "steps": "8", "top_p": "2"}),
]


@pytest.mark.parametrize(("path", "params"), BAD, ids=lambda value: str(value)[:40])
def test_what_cannot_be_is_one_sentence(client: TestClient, path: str, params: dict[str, str]):
    answer = client.get(path, params=params)
    assert answer.status_code in (400, 404)
    error = answer.json()["error"]
    assert error.endswith((".", "?")) and "\n" not in error and "Traceback" not in error
    assert len(error) < 500
    assert client.get("/lab/runs").status_code == 200


@pytest.mark.parametrize(
    "prompt",
    ["", "\x00\x07\x1b[31m", "<script>alert(1)</script>", "%ED%A0%80", "🐟" * 50, "\u202e\u200b", "a" * 100_000],
    ids=["empty", "control", "html", "surrogate", "emoji", "bidi", "100kB"],
)
def test_any_prompt_is_read(client: TestClient, prompt: str):
    # The client itself refuses longer addresses than a browser sends.
    params = {"run": "tiny", "prompt": prompt[:30_000]}
    for path in ("/lab/tokens", "/lab/attention", "/lab/replies"):
        answer = client.get(path, params={**params, "steps": "8"})
        assert answer.status_code == 200, answer.text
    lone = client.get("/lab/tokens?run=tiny&prompt=%ED%A0%80")
    assert lone.status_code == 200 and lone.json()["tokens"]


def test_a_damaged_checkpoint_leaves_the_others(client: TestClient, root: Path):
    path = root / "tiny" / "steps" / "000008" / files.WEIGHTS
    path.write_bytes(path.read_bytes()[:-10])
    answer = client.get("/lab/attention", params={"run": "tiny", "prompt": "hi", "steps": "8"})
    assert answer.status_code == 400
    assert "truncated or corrupt" in answer.json()["error"] and "can still be opened" in answer.json()["error"]
    assert client.get("/lab/attention", params={"run": "tiny", "prompt": "hi", "steps": "0"}).status_code == 200


def test_a_bug_is_a_sentence_and_a_log_entry(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(models, "read_prompt", lambda *_: {}["missing"])
    answer = client.get("/lab/tokens", params={"run": "tiny", "prompt": "hi"})
    assert answer.status_code == 500 and "KeyError" in answer.json()["error"]
    assert "missing" not in answer.json()["error"] and "missing" in caplog.text


def test_nothing_but_reading_is_allowed(client: TestClient):
    for path in ("/lab/runs", "/lab/run/tiny", "/lab/attention", "/lab/replies"):
        for method in ("POST", "PUT", "DELETE"):
            assert client.request(method, path).status_code == 405


def test_thirty_viewers_get_the_same(client: TestClient):
    params = {"run": "tiny", "prompt": "what do you eat?", "steps": "all"}
    with ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda _: client.get("/lab/attention", params=params).content, range(30)))
    assert len(set(answers)) == 1


def test_losses_without_a_number_are_null():
    assert json.loads(answers.as_json({"loss": float("nan"), "more": [float("inf"), 1.5]})) == {
        "loss": None,
        "more": [None, 1.5],
    }
