"""The Data page's routes: characters, writing one's own, counting, and what a Train order makes of it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from guppy.errors import GuppyError
from guppy.personas import list_personas
from guppy.runs import open_run
from lab import characters, counts, shelf
from lab.orders import Order, make_run
from lab.pages.data import STARTER
from lab.pages.train import _learns

STARTING = STARTER.read_text(encoding="utf-8")
LONG = "".join(f"  a{i}: [b]\n" for i in range(200))
SMALL = {"steps": 2, "rows": 600, "context": 32, "batch": 4, "checkpoints": 2}


def write(client: TestClient, text: str, what: str = "preview", **more: object) -> tuple[int, dict]:
    content = json.dumps({"text": text, **more})  # as a browser does, with halves of characters spelled out
    answer = client.post(f"/lab/data/{what}", content=content, headers={"Content-Type": "application/json"})
    return answer.status_code, answer.json()


def character(client: TestClient, **query: object) -> dict:
    return client.get("/lab/data/character", params=query).json()


def test_every_character_is_there_and_says_who_it_is(client: TestClient) -> None:
    told = client.get("/lab/data/characters").json()["characters"]
    assert [each["id"] for each in told] == list_personas()
    assert len(told) >= 5 and all(len(each["description"]) > 20 for each in told)


def test_a_dozen_conversations_of_a_seed_and_of_a_topic(client: TestClient) -> None:
    first, again, other = (character(client, name="moon", seed=seed) for seed in (1, 1, 2))
    assert first == again and first["samples"] != other["samples"]
    assert len(first["samples"]) == 12
    about = first["about"]
    assert sum(topic["share"] for topic in about["topics"]) == pytest.approx(1)
    topic = about["topics"][-1]["name"]
    some = character(client, name="moon", seed=1, topic=topic)["samples"]
    assert len(some) == 12 and {sample["category"] for sample in some} == {topic}
    many = [sample for seed in range(6) for sample in character(client, name="moon", seed=seed)["samples"]]
    assert {len(sample["turns"]) for sample in many} >= {1, 2}


@pytest.mark.parametrize(
    "query",
    [
        {"name": "nobody"},
        {"name": "../../etc/passwd"},
        {},
        {"name": "moon", "topic": "x"},
        {"name": "moon", "seed": "x"},
    ],
)
def test_what_is_not_there_is_a_sentence(client: TestClient, query: dict[str, str]) -> None:
    answer = client.get("/lab/data/character", params=query)
    assert answer.status_code == 400 and answer.json()["error"].endswith(".")


def test_a_written_persona_is_shown_at_once(client: TestClient) -> None:
    assert write(client, STARTING)[0] == 200
    took = []
    for seed in range(5):
        began = time.perf_counter()
        status, told = write(client, STARTING.replace("snail", f"snail{seed}"), seed=seed)
        took.append(time.perf_counter() - began)
        assert status == 200 and len(told["samples"]) == 8
    assert told["about"]["name"] == "snail4"
    assert min(took) < 0.3
    said = write(client, STARTING.replace("{slow}\n", "<script>x</script>\n"))[1]
    assert "<script>x</script>" in str(said["samples"])


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", None, "Nothing is written"),
        ("name: x\ntopics:\n  a: [", 3, "not YAML"),
        ("name: x\ntopics:\n  a:\n    prompts: [hi]\n    replies: ['{foot}']\n", 5, "Unknown rule"),
        (
            "name: x\nrules:\n  a: ['{b}']\n  b: ['{a}']\ntopics: {t: {prompts: [x], replies: ['{a}']}}",
            None,
            "never ends",
        ),
        ("name: x\nrules: &r\n" + LONG + "topics:\n" + "  t: {rules: *r}\n" * 2000, None, "Too much is repeated"),
        ("name: x\ntopics: {t: {prompts: [x], replies: [y\x07]}}", 2, "forbids"),
        ("name: \ud800", 1, "UTF-8"),
        ("[" * 5000, 1, ""),
        ("name: x\n" + "# long\n" * 40_000, None, "up to 200 kB"),
        ("!!python/object/apply:os.system ['true']", 1, ""),
    ],
)
def test_a_mistake_is_one_sentence_with_its_line(client: TestClient, text: str, line: int | None, words: str) -> None:
    status, told = write(client, text)
    assert status == 400
    assert words in told["error"] and "\n" not in told["error"] and "/tmp" not in told["error"]
    if line is not None:
        assert told["line"] == line


def test_a_persona_that_asks_for_too_much_ends_its_worker_and_not_the_lab(client: TestClient) -> None:
    then = "".join(f"  - {{prompts: [a{i}], replies: [b]}}\n" for i in range(2_000))
    scenes = "".join(f"  t{i}: {{prompts: [a], replies: [b]}}\n" for i in range(2_000))
    status, told = write(client, f"name: x\nthen:\n{then}topics:\n{scenes}")
    assert status == 400 and ("pairs" in told["error"] or "smaller" in told["error"])
    assert write(client, STARTING)[0] == 200


def test_requests_that_no_page_of_the_lab_sends(client: TestClient) -> None:
    form = client.post("/lab/data/keep", content="text=x", headers={"Content-Type": "text/plain"})
    assert form.status_code == 415
    for content in (b"{", b"[]", b'{"text": 1}'):
        answer = client.post("/lab/data/preview", content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400 and "JSON" in answer.json()["error"]
    long = client.post("/lab/data/preview", content=b" " * 2**21, headers={"Content-Type": "application/json"})
    assert long.status_code == 413


def test_a_kept_persona_can_be_trained_and_is_seen_like_the_others(client: TestClient, root: Path) -> None:
    status, entry = write(client, STARTING, "keep")
    assert status == 200 and entry["name"] == "snail" and entry["kind"] == "persona"
    assert write(client, STARTING, "keep")[1] == entry  # the same thing is kept once
    assert character(client, name=entry["id"])["about"]["name"] == "snail"
    assert client.get("/lab/data/own", params={"id": entry["id"]}).json()["text"] == STARTING

    order = Order(**_learns({"character": entry["id"]}), **SMALL)
    run = make_run(order, "snail-1")
    assert run.manifest["corpus"]["name"] == "snail"
    assert Path(run.manifest["corpus"]["persona"]).is_relative_to(root.resolve() / shelf.FOLDER)
    assert f"--persona {shelf.find(entry['id']).path} " in open_run(root / "snail-1").manifest["notes"]
    assert _learns(None) == {"persona": "guppy"} and _learns({"character": "moon"}) == {"persona": "moon"}


def test_the_starter_fills_a_corpus(client: TestClient, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "ROWS", 3000)
    entry = write(client, STARTING, "keep")[1]
    told = wait_for_counts(entry["id"])
    assert told["splits"]["all"]["rows"] == 3000 and told["splits"]["composed"]["rows"] > 20
    assert told["overlap"]["heldout"]["replies"] == 0


def test_what_is_broken_is_not_kept(client: TestClient, root: Path) -> None:
    assert write(client, "name: x", "keep")[0] == 400
    assert not list((root / shelf.FOLDER).glob("*")) if (root / shelf.FOLDER).exists() else True


@pytest.mark.parametrize("data", ["own-0000000000000000", "own-../../../etc", "/etc/passwd", ""])
def test_an_order_for_what_is_not_there_is_a_sentence(root: Path, data: str) -> None:
    with pytest.raises(GuppyError):
        Order(steps=1, data=data)


def test_counts_with_and_without_leaks(client: TestClient, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "ROWS", 3000)
    assert client.get("/lab/data/counts", params={"name": "moon"}).json() == {"pending": True}
    honest, leaky = wait_for_counts("moon"), wait_for_counts("moon", leaky=True)
    assert honest["splits"]["all"]["rows"] == leaky["splits"]["all"]["rows"] == 3000
    assert honest["overlap"]["heldout"]["replies"] == 0 < leaky["overlap"]["heldout"]["replies"]
    assert honest["reference"].keys() == {"log_v", "unigram", "bigram", "grammar"}
    monkeypatch.setattr(counts, "_count", None)  # kept on disk, so that nothing counts it again
    assert client.get("/lab/data/counts", params={"name": "moon"}).json() == {"counts": honest}
    assert client.get("/lab/data/counts", params={"name": "nobody"}).status_code == 400


def wait_for_counts(name: str, seconds: float = 120, **options: bool) -> dict:
    end = time.monotonic() + seconds
    while (told := counts.counts(name, **options)) is None:
        assert time.monotonic() < end
        time.sleep(0.1)
    return told


def test_speed_is_that_of_runs_here(client: TestClient) -> None:
    sizes = client.get("/lab/data/speed").json()["sizes"]
    assert sizes["fry"]["tokens_per_second"] > 100 and sizes["fry"]["run"]


def test_a_worker_that_does_not_answer_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(characters, "PATIENCE", 0.0)
    worker = characters._Worker()
    assert worker.ask({"persona": "guppy", "count": 1, "seed": 0}) is None
    monkeypatch.setattr(characters, "PATIENCE", 30.0)
    assert len(worker.ask({"persona": "moon", "count": 1, "seed": 0})["samples"]) == 1
