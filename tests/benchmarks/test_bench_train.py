"""Seconds to a loss: the yardstick, both sides on a tiny one, the arithmetic, and every complaint.

The reference is a stand-in of ours: a package of the same shape (names, files, calls), with a network of one layer.
"""

from __future__ import annotations

import gzip
import json
import math
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import torch.nn.functional as F

from benchmarks import report, yardstick
from benchmarks.guppylm_reference import train_reference
from benchmarks.time_to_loss import Point, Run, compare, multiplied_parameters, thinned
from benchmarks.train import main
from benchmarks.yardstick import CONTEXT, Yardstick, persona_folder, read_yardstick
from guppy.config import preset
from guppy.errors import GuppyError
from guppy.model import Guppy
from guppy.tokenizer import train_bpe

TRAIN_ROWS, EVAL_ROWS, NEW_ROWS = 64, 12, 4
FAKE_STEPS, FAKE_BATCH, FAKE_INTERVAL = 8, 8, 4

FAKE = f"""
import json, os
from dataclasses import dataclass
import torch
from torch import nn
from torch.utils.data import DataLoader
from tokenizers import Tokenizer

@dataclass
class GuppyConfig:
    vocab_size: int = 320
    max_seq_len: int = 128

@dataclass
class TrainConfig:
    batch_size: int = {FAKE_BATCH}
    max_steps: int = {FAKE_STEPS}
    eval_interval: int = {FAKE_INTERVAL}
    device: str = "nowhere"
    data_dir: str = "nowhere"
    output_dir: str = "nowhere"

class GuppyLM(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.tok_emb = nn.Embedding(config.vocab_size, 8)
        self.pos_emb = nn.Embedding(config.max_seq_len, 8)
        self.drop = nn.Dropout(0.5)
        self.lm_head = nn.Linear(8, config.vocab_size, bias=False)
        self.lm_head.weight = self.tok_emb.weight
    def forward(self, idx, targets=None):
        x = self.drop(self.tok_emb(idx) + self.pos_emb(torch.arange(idx.shape[1])))
        logits = self.lm_head(x)
        loss = None
        if targets is not None:
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=0)
        return logits, loss

def get_dataloader(path, tokenizer_path, max_len=512, batch_size=32, shuffle=True):
    tokenizer = Tokenizer.from_file(tokenizer_path)
    with open(path) as file:
        rows = [tokenizer.encode(json.loads(line)["text"]).ids[:max_len] for line in file]
    def collate(rows):
        longest = max(map(len, rows))
        padded = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        return padded[:, :-1], padded[:, 1:]
    return DataLoader(rows, batch_size=batch_size, shuffle=shuffle, collate_fn=collate)

def evaluate(model, loader, device, max_batches=50):
    raise AssertionError("the benchmark scores both sides itself")

def train():
    mc, tc = GuppyConfig(), TrainConfig()
    model = GuppyLM(mc).to(tc.device)
    files = [os.path.join(tc.data_dir, name) for name in ("train.jsonl", "eval.jsonl", "tokenizer.json")]
    loader = get_dataloader(files[0], files[2], mc.max_seq_len, tc.batch_size, shuffle=True)
    scored = get_dataloader(files[1], files[2], mc.max_seq_len, tc.batch_size, shuffle=False)
    print(len(loader.dataset), len(scored.dataset))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    os.makedirs(tc.output_dir)
    json.dump(vars(tc), open(os.path.join(tc.output_dir, "config.json"), "w"))
    model.train()
    step, best = 0, float("inf")
    while step < tc.max_steps:
        for x, y in loader:
            if step >= tc.max_steps:
                break
            _, loss = model(x, y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if step > 0 and step % tc.eval_interval == 0:
                assert model.training
                scored_loss = evaluate(model, scored, torch.device(tc.device))
                if scored_loss < best:
                    best = scored_loss
                    torch.save(model.state_dict(), os.path.join(tc.output_dir, f"best_{{step}}.pt"))
            step += 1
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    known = [(f"is it {i}?", f"it is {'cold ' * (i % 5)}here.") for i in range(TRAIN_ROWS)]
    new = [(f"is it dark, {i}?", f"no. {i} lights are on.") for i in range(NEW_ROWS)]
    rows = [known, [*known[: EVAL_ROWS - NEW_ROWS], *new, *known]]
    texts = [[f"<|im_start|>user\n{a}<|im_end|>\n<|im_start|>assistant\n{b}<|im_end|>" for a, b in r] for r in rows]
    texts[0][0] = texts[0][0].replace("cold", "") + "\n<|im_start|>user\n" + "well? " * 200  # longer than the context
    train_bpe(texts[0], 300).save(folder / "tokenizer.json")
    lines = ["".join(json.dumps({"text": text, "category": "x"}) + "\n" for text in part) for part in texts]
    (folder / "train.jsonl.gz").write_bytes(gzip.compress(lines[0].encode()))
    (folder / "eval.jsonl").write_text(lines[1])
    return folder


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkout(tmp_path_factory.mktemp("checkout"))


def make_checkout(folder: Path, code: str = FAKE) -> Path:
    (folder / "guppylm").mkdir()
    (folder / "guppylm" / "__init__.py").write_text("")
    (folder / "guppylm" / "train.py").write_text(code)
    return folder


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# -- the yardstick -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured_on(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Yardstick:
    return read_yardstick(data, EVAL_ROWS, tmp_path_factory.mktemp("work") / "plain")


def rows_of(path: Path) -> list[str]:
    return [json.loads(line)["text"] for line in path.read_text().splitlines()]


def test_tokens_are_those_that_the_reference_reads(measured_on: Yardstick, data: Path) -> None:
    plain = measured_on.tokenizer_path.parent
    texts = rows_of(plain / "train.jsonl")
    packed = gzip.decompress((data / "train.jsonl.gz").read_bytes())
    assert texts == [json.loads(line)["text"] for line in packed.splitlines()]
    assert rows_of(plain / "eval.jsonl") == rows_of(data / "eval.jsonl")
    theirs = tokenizers.Tokenizer.from_file(str(data / "tokenizer.json"))
    expected = [theirs.encode(text).ids[:CONTEXT] for text in texts]
    train = measured_on.train
    assert [train.row(i).tolist() for i in range(len(train))] == expected and len(expected[0]) == CONTEXT
    assert measured_on.tokens == sum(len(ids) - 1 for ids in expected)
    assert (len(train), measured_on.distinct) == (TRAIN_ROWS, len(set(texts)))
    assert (len(measured_on.known), len(measured_on.new)) == (EVAL_ROWS - NEW_ROWS, NEW_ROWS)


def test_the_score_is_the_mean_over_targets_row_by_row(measured_on: Yardstick, data: Path) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Embedding(320, 16), torch.nn.Dropout(0.5), torch.nn.Linear(16, 320)).train()
    score = measured_on.score(model, model, torch.device("cpu"))
    assert model.training
    model.eval()
    tokenizer = tokenizers.Tokenizer.from_file(str(data / "tokenizer.json"))
    losses, new = [], []
    for text in rows_of(data / "eval.jsonl")[:EVAL_ROWS]:
        ids = torch.tensor(tokenizer.encode(text).ids)
        row = F.cross_entropy(model(ids[:-1]), ids[1:], reduction="none").tolist()
        losses += row
        new += row if "lights" in text else []
    assert score.loss == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert score.new_replies == pytest.approx(sum(new) / len(new), rel=1e-5)


def test_without_data_it_is_our_own_persona(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUPPY_CHECKPOINTS", str(tmp_path / "runs"))
    monkeypatch.setattr(yardstick, "PERSONA_ROWS", 800)
    folder = persona_folder(tmp_path / "persona")
    made = read_yardstick(folder, 20, tmp_path / "plain")
    assert len(made.known) + len(made.new) == 20 and 600 < len(made.train) < 800
    assert not len(made.known), "our own held-out rows share no reply with training"
    model = torch.nn.Embedding(1536, 1536)
    assert math.isfinite(made.score(model, model, torch.device("cpu")).loss)


# -- both sides ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def result(data: Path, checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One whole run, in processes of its own."""
    out, before = tmp_path_factory.mktemp("out"), files_in(checkout)
    main(
        f"--data {data} --reference {checkout} --size fry --budgets 3000 --targets 5.6,0.001 --eval-rows {EVAL_ROWS} "
        f"--eval-every 2 --threads 1 --device cpu --profile --json {out / 'r.json'} --plot {out / 'r.html'}".split()
    )
    assert files_in(checkout) == before, "a checkout is left as it was"
    assert "loss" in (out / "r.html").read_text(encoding="utf-8")
    return json.loads((out / "r.json").read_text())


def test_ours_learns_within_its_budget(result: dict[str, Any], measured_on: Yardstick) -> None:
    (ours,) = result["ours"]
    points = ours["points"]
    assert points[0]["step"] == 0 and points[0]["loss"] == pytest.approx(math.log(320), abs=0.1)
    assert points[-1]["loss"] < points[0]["loss"] - 0.3 and len(points) == 2
    assert [point["seconds"] for point in points] == sorted(point["seconds"] for point in points)
    assert abs(ours["tokens"] - 3000) < 3000 / ours["steps"] and ours["status"] == "finished"
    shape = preset("fry", 320, n_ctx=CONTEXT)
    assert ours["parameters"] == Guppy(shape).n_params - CONTEXT * shape.d_model
    peak = result["throughput"]["peak_flops"]
    limit = 6 * ours["parameters"] * ours["tokens"] / peak
    assert ours["limit_seconds"] == pytest.approx(limit)
    assert ours["share_of_peak"] == pytest.approx(limit / ours["seconds"])
    assert ours["tokens_per_second"] == pytest.approx(ours["tokens"] / ours["seconds"])
    assert ours["peak_memory_mib"] > 100


def test_the_reference_runs_its_own_training(result: dict[str, Any], measured_on: Yardstick) -> None:
    theirs = result["reference"]
    # It scores where its code evaluates (after steps 2, 4, 6, counted from 0) and at its end.
    assert [point["step"] for point in theirs["points"]] == [3, 5, 7, 8]
    assert theirs["steps"] == theirs["planned_steps"] == FAKE_STEPS and theirs["status"] == "finished"
    assert theirs["tokens"] == measured_on.tokens, "eight batches of eight rows are all rows once"
    assert theirs["parameters"] == 320 * 8
    assert theirs["points"][-1]["loss"] < theirs["points"][0]["loss"]
    assert 0 < theirs["first_step_seconds"] < theirs["seconds"]


def test_what_is_compared_and_where_time_goes(result: dict[str, Any]) -> None:
    reached, never = result["targets"]
    first = next(point["seconds"] for point in result["ours"][0]["points"] if point["loss"] <= 5.6)
    assert reached["ours_seconds"] == first and never["ours_seconds"] is None and never["ratio"] is None
    assert result["data"]["train_rows"] == TRAIN_ROWS and result["data"]["new_reply_rows"] == NEW_ROWS
    steps = result["throughput"]
    assert list(steps["parts"]) == ["batch", "forward and backward", "clipping", "optimizer"]
    assert steps["seconds"] == pytest.approx(sum(steps["parts"].values())) and steps["tokens"] > steps["steps"]
    assert 5 < len(steps["profile"]) <= 15 and sum(row["share"] for row in steps["profile"]) <= 1.0001
    assert steps["profile"][0]["milliseconds"] >= steps["profile"][-1]["milliseconds"] > 0


@pytest.fixture
def reference(
    measured_on: Yardstick, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[Run, Path]]]:
    """Run a checkout in this process, which is put back in order afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    work = tmp_path / "work"
    work.mkdir()

    def run(checkout: Path, steps: int | None = None, every: int = 2, on: Yardstick = measured_on) -> tuple[Run, Path]:
        with warnings.catch_warnings():
            return train_reference(checkout, on, work, steps, every, "cpu", None, lambda line: None), work

    yield run
    for name in [name for name in sys.modules if name.split(".")[0] == "guppylm"]:
        del sys.modules[name]


def test_the_reference_can_be_stopped(reference, checkout: Path) -> None:
    run, work = reference(checkout, steps=3, every=100)
    assert [point.step for point in run.points] == [4] and run.steps == 4, "at its evaluation after step 3"
    assert (run.planned_steps, run.status, run.stopped_early) == (FAKE_STEPS, "stopped", True)
    assert run.whole_seconds() == pytest.approx(run.first_step_seconds + 7 * (run.seconds - run.first_step_seconds) / 3)
    told = json.loads((work / "checkpoints" / "config.json").read_text())
    assert told["max_steps"] == FAKE_STEPS and told["batch_size"] == FAKE_BATCH, "its own settings are its own"


def test_it_saves_its_best_model_as_often_as_by_itself(reference, checkout: Path) -> None:
    run, work = reference(checkout, every=1)
    assert [point.step for point in run.points] == list(range(2, FAKE_STEPS + 1))
    assert [path.name for path in sorted((work / "checkpoints").glob("*.pt"))] == [f"best_{FAKE_INTERVAL}.pt"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("import json, os", "import no_such_module"), "cannot be imported.*no_such_module"),
        (("def get_dataloader", "def get_batches"), "has no get_dataloader"),
        (("loss.backward()", "raise RuntimeError('out of water')"), "own code stopped: RuntimeError: out of water"),
        (("vocab_size: int = 320", "vocab_size: int = 100"), "room for 100 tokens"),
        ((f"max_steps: int = {FAKE_STEPS}", "max_steps: int = 1"), "without an evaluation"),
    ],
)
def test_a_reference_that_does_not_work_is_one_line(reference, tmp_path: Path, change, says: str) -> None:
    assert change[0] in FAKE
    (tmp_path / "broken").mkdir()
    with pytest.raises(GuppyError, match=says):
        reference(make_checkout(tmp_path / "broken", FAKE.replace(*change)))


# -- arithmetic ----------------------------------------------------------------------------------


def a_run(name: str, curve: list[tuple[float, float]], **changes: Any) -> Run:
    """A run of a step a point, of 100 tokens each."""
    points = [Point(i + 1, 100 * (i + 1), seconds, loss, None) for i, (seconds, loss) in enumerate(curve)]
    end = {"steps": len(points), "tokens": 100 * len(points), "seconds": points[-1].seconds}
    return Run(name, 1000, points, peak_memory_mib=1.0, **{**end, **changes})


def test_times_to_targets() -> None:
    short, long = a_run("short", [(1, 2.0), (4, 0.5)]), a_run("long", [(2, 0.9), (9, 0.3)])
    reference = a_run("theirs", [(10, 1.5), (40, 0.45), (90, 0.46)])
    half, one, never, deep = compare([0.5, 1.0, 0.1, 0.3], [short, long], reference)
    assert (half.ours_seconds, half.ours_run, half.reference_seconds, half.ratio) == (4, "short", 40, 10)
    assert (one.ours_seconds, one.ours_run, one.reference_seconds, one.ratio) == (2, "long", 40, 20)
    assert (never.ours_seconds, never.reference_seconds, never.ratio) == (None, None, None)
    assert (deep.ours_seconds, deep.reference_seconds, deep.extrapolated) == (9, None, False), "it was not stopped"
    assert [target.ratio for target in compare([0.5], [short], None)] == [None]


def test_only_the_last_target_of_a_stopped_reference_is_extrapolated() -> None:
    ours = a_run("ours", [(5, 0.3)])
    theirs = a_run("theirs", [(7, 3.0), (9, 2.0)], steps=5, seconds=15.0, planned_steps=101, first_step_seconds=7.0)
    assert theirs.step_seconds == 2 and theirs.whole_seconds() == 7 + 100 * 2
    middle, last = compare([0.5, 0.4], [ours], theirs)
    assert (middle.reference_seconds, middle.extrapolated) == (None, False)
    assert (last.reference_seconds, last.extrapolated, last.ratio) == (207, True, 207 / 5)
    (reached,) = compare([2.5], [ours], theirs)
    assert (reached.reference_seconds, reached.extrapolated) == (9, False)
    text = "\n".join(report.target_lines([middle, last], theirs))
    assert "stopped after 5 of its 101 steps" in text and "~207 (extrapolated)" in text and "2.000 s" in text
    assert "extrapolated" not in "\n".join(report.target_lines([reached], theirs))


def test_the_limit_is_six_operations_a_parameter_and_token() -> None:
    run = a_run("ours", [(1, 3.0), (10, 2.0)])  # 200 tokens, 1,000 parameters: 1.2 million operations
    assert run.flops == 1.2e6
    row = list(report.run_lines([run], 240_000.0, "bfloat16"))[-1].split()
    assert row == ["ours", "1,000", "10.0", "20", "50.0%", "5", "2.0", "1"]


def test_parameters_that_multiply() -> None:
    model = torch.nn.Module()
    model.tok_emb, model.pos_emb = torch.nn.Embedding(10, 4), torch.nn.Embedding(7, 4)
    model.head = torch.nn.Linear(4, 10, bias=False)
    model.head.weight = model.tok_emb.weight
    assert multiplied_parameters(model) == 40


def test_long_curves_are_thinned_to_be_read() -> None:
    points = a_run("x", [(i, 1.0) for i in range(1, 101)]).points
    shown = list(thinned(points, 15))
    assert len(shown) == 15 and shown[0] is points[0] and shown[-1] is points[-1]
    assert thinned(points[:15], 15) == points[:15]


# -- complaints ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--reference nowhere", "there is no folder .*nowhere"),
        ("--reference .", "has no guppylm/train.py"),
        ("--data nowhere", "there is no folder .*nowhere"),
        ("--data .", "there is no tokenizer at .*tokenizer.json"),
        ("--size whale", "no size 'whale'"),
        ("--budgets 100000,5", "a budget of 5 tokens is less than one step"),
        ("--budgets 10000,20000 --batches 8,16,32", "3 --batches for 2 --budgets"),
        ("--budgets many", "'many' is no whole number"),
        ("--targets 0.5,low", "'low' is no loss above 0"),
        ("--targets nan", "'nan' is no loss above 0"),
        ("--eval-rows 0", "'0' is no whole number"),
        ("--threads two", "'two' is no whole number"),
        ("--device toaster", "no device 'toaster'"),
        ("--json nowhere/r.json", "nowhere/r.json cannot be written"),
        ("--plot r.svg", "should end in .html"),
        ("--colour red", "unrecognized arguments: --colour red; see --help"),
    ],
)
def test_what_a_person_can_mend(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    given = arguments.split()
    with pytest.raises(GuppyError, match=says) as raised:
        main(given if "--data" in given else ["--data", str(data), *given])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("train.jsonl", None, "neither train.jsonl nor train.jsonl.gz"),
        ("train.jsonl", "", "train.jsonl is empty"),
        ("train.jsonl", '{"text": "a fish"}\n{"text": \n', "train.jsonl, line 2: this is not JSON"),
        ("train.jsonl", '{"text": ""}\n', "line 1: one of the texts is empty"),
        ("eval.jsonl", None, "neither eval.jsonl"),
        ("eval.jsonl", '{"words": "a fish"}\n', "eval.jsonl, line 1"),
        ("tokenizer.json", "{}", "is not a tokenizer.json"),
    ],
)
def test_data_that_do_not_work(data: Path, tmp_path: Path, name: str, content: str | None, says: str) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "tokenizer.json").write_bytes((data / "tokenizer.json").read_bytes())
    for split in ("train", "eval"):
        (folder / f"{split}.jsonl").write_text('{"text": "a fish swims"}\n')
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises(GuppyError, match=says):
        read_yardstick(folder, EVAL_ROWS, tmp_path / "plain")
