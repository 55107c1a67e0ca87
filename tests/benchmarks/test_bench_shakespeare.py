from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from benchmarks import nanogpt_reference, shakespeare
from benchmarks.shakespeare_text import make_corpus, parts, read_text, validation_loss
from guppy.errors import GuppyError

ROOT = Path(__file__).resolve().parents[2]
TEXT = "".join(
    f"{who}:\nThou speak'st of {what}, and I of rain.\n\n"
    for who in "ABCDEF"
    for what in ("fishes", "bread", "sky", "sea")
)
EVALUATION_SECONDS = 0.6

# A stand-in with nanoGPT's files, command line and habits, of our own making: a table of pairs that learns.
PREPARE = """
import os
import pickle

import numpy as np
import requests

here = os.path.dirname(__file__)
if not os.path.exists(os.path.join(here, "input.txt")):
    requests.get("https://example.org")
with open(os.path.join(here, "input.txt")) as file:
    text = file.read()
ids = [sorted(set(text)).index(character) for character in text]
cut = int(len(ids) * SHARE)
np.array(ids[:cut], dtype=np.uint16).tofile(os.path.join(here, "train.bin"))
np.array(ids[cut:], dtype=np.uint16).tofile(os.path.join(here, "val.bin"))
with open(os.path.join(here, "meta.pkl"), "wb") as file:
    pickle.dump({"vocab_size": len(set(text))}, file)
"""
MODEL = """
import torch.nn.functional as F
from torch import nn


class GPT(nn.Module):
    def __init__(self, vocab_size):
        super().__init__()
        self.table = nn.Embedding(vocab_size, vocab_size)
        nn.init.zeros_(self.table.weight)

    def forward(self, ids, targets):
        logits = self.table(ids)
        return logits, F.cross_entropy(logits.flatten(0, 1), targets.flatten())
"""
TRAIN = """
import pickle
import sys
import time

import numpy as np
import torch

from model import GPT

settings = dict(pair.removeprefix("--").split("=") for pair in sys.argv[2:])
exec(open(sys.argv[1]).read())
steps, every, block = (int(settings[name]) for name in ("max_iters", "eval_interval", "block_size"))
folder = "data/shakespeare_char/"
vocab_size = pickle.load(open(folder + "meta.pkl", "rb"))["vocab_size"]
splits = {name: np.fromfile(folder + name + ".bin", dtype=np.uint16).astype(np.int64) for name in ("train", "val")}
model = GPT(vocab_size)
optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)


def batch(split):
    data = torch.from_numpy(splits[split])
    starts = torch.randint(len(data) - block, (4,))
    windows = torch.stack([data[i : i + block + 1] for i in starts])
    return windows[:, :-1], windows[:, 1:]


@torch.no_grad()
def estimate_loss():
    model.eval()
    time.sleep(EVALUATION_SECONDS)
    losses = {split: model(*batch(split))[1].item() for split in splits}
    model.train()
    return losses


for step in range(steps + 1):
    if step % every == 0:
        losses = estimate_loss()
        print(f"step {step}: train loss {losses['train']:.4f}, val loss {losses['val']:.4f}")
        torch.save(model.state_dict(), "never.pt")
    model(*batch("train"))[1].backward()
    optimizer.step()
    optimizer.zero_grad()
    print(f"iter {step}: loss 1.0000, time 1.00ms, mfu -100.00%")
"""


def checkout(folder: Path, train: str = TRAIN, model: str = MODEL, share: float = 0.9) -> Path:
    files = {
        "train.py": train.replace("EVALUATION_SECONDS", str(EVALUATION_SECONDS)),
        "model.py": model,
        "configurator.py": "",
        nanogpt_reference.CONFIG: "LEARNING_RATE = 30.0\n",
        f"{nanogpt_reference.DATA}/prepare.py": PREPARE.replace("SHARE", str(share)),
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


@pytest.fixture(scope="module")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "plays.txt"
    path.write_bytes(TEXT.replace("\n", "\r\n").encode())
    return path


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, text_file: Path) -> Path:
    """What a run of both sides leaves behind."""
    folder = tmp_path_factory.mktemp("bench")
    reference = checkout(folder / "nanogpt")
    sizes = ["--budget-tokens", "4096", "--batch", "8", "--reference-steps", "8", "--target", "3.2", "--device", "cpu"]
    places = ["--json", str(folder / "out.json"), "--plot", str(folder / "out.html")]
    shakespeare.main(["--data", str(text_file), "--reference", str(reference), *sizes, *places])
    return folder


def test_both_sides_are_measured(measured: Path) -> None:
    document = json.loads((measured / "out.json").read_text())
    (row,) = document["rows"]
    assert document["data"] == {
        "train": len(TEXT) * 9 // 10,
        "validation": -(-len(TEXT) // 10),
        "different": len(set(TEXT)),
    }
    theirs, ours = row["nanogpt"], row["guppy"]
    assert [point["step"] for point in theirs["curve"]] == list(range(9))
    assert (theirs["steps"], theirs["tokens"], theirs["parameters"]) == (9, 9 * 12 * 64, len(set(TEXT)) ** 2)
    assert theirs["curve"][0]["loss"] == pytest.approx(theirs["curve"][0]["printed"], abs=1e-3)  # a table of zeros
    assert theirs["best"]["loss"] < theirs["curve"][0]["loss"] - 0.3
    assert ours["steps"] == 8 and 3500 < ours["tokens"] <= 4096  # the last window of an epoch is a short one
    assert ours["curve"][0]["step"] == 0 and ours["curve"][-1]["loss"] < ours["curve"][0]["loss"] - 0.3
    for side in (theirs, ours):
        seconds = [point["seconds"] for point in side["curve"]]
        assert seconds == sorted(seconds) and seconds[-1] <= side["seconds"]
        assert side["peak_memory_mib"] > 50 and side["tokens_per_second"] == side["tokens"] / side["seconds"]
    goals = {entry["name"]: entry["loss"] for entry in row["compared"]}
    assert goals == {"target": 3.2, "end of nanoGPT": theirs["best"]["loss"]}


def test_the_references_clock_stands_still_while_it_evaluates(measured: Path) -> None:
    curve = json.loads((measured / "out.json").read_text())["rows"][0]["nanogpt"]["curve"]
    between = [after["seconds"] - before["seconds"] for before, after in pairwise(curve)]
    assert sorted(between)[len(between) // 2] < EVALUATION_SECONDS / 3


def test_the_checkout_is_left_as_it_was(measured: Path) -> None:
    left = {path.relative_to(measured / "nanogpt").as_posix() for path in (measured / "nanogpt").rglob("*.*")}
    assert left == set(nanogpt_reference.NEEDED)


def test_the_plot_shows_both_sides(measured: Path) -> None:
    page = (measured / "out.html").read_text()
    assert "nanogpt on cpu" in page and "guppy on cpu" in page


def test_the_report_says_what_was_not_measured(measured: Path) -> None:
    document = json.loads((measured / "out.json").read_text())
    text = shakespeare.report(document)
    assert "unmeasured, no CUDA GPU" in text
    assert "4 layers, 4 heads, 128 wide, context 64" in text
    assert f"{document['rows'][0]['nanogpt']['best']['printed']:.4f}" in text


# -- the arithmetic ------------------------------------------------------------------------------


def test_every_character_but_the_first_is_scored() -> None:
    table = torch.randn(7, 7, generator=torch.Generator().manual_seed(0))
    ids = torch.randint(0, 7, (1 + 100 * 8 + 3,), generator=torch.Generator().manual_seed(1))
    loss = validation_loss(lambda inputs, _: table[inputs], ids, context=8)
    assert loss == pytest.approx(F.cross_entropy(table[ids[:-1]], ids[1:]).item(), rel=1e-5)


def test_windows_follow_one_another() -> None:
    seen: list[int] = []

    def logits(inputs: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        seen.extend(inputs[:, 0].tolist())
        return torch.zeros(*inputs.shape, 50)

    validation_loss(logits, torch.arange(23), context=5)
    assert seen == [0, 5, 10, 15, 20]


def test_both_sides_cut_at_the_same_character(text_file: Path) -> None:
    text = read_text(text_file)
    assert text == TEXT
    corpus = make_corpus(text)
    learned, scored = parts(text)
    assert corpus.tokenizer.decode(corpus.train.tokens) == learned
    assert corpus.tokenizer.decode(corpus.heldout.tokens) == scored
    assert learned + scored == text and len(learned) == int(0.9 * len(text))


def test_seconds_are_read_off_the_line_between_evaluations() -> None:
    curve = [{"seconds": s, "loss": loss} for s, loss in ((1.0, 4.0), (2.0, 3.0), (4.0, 2.0), (5.0, 2.5))]
    assert shakespeare.seconds_to(curve, 4.5) == 1.0
    assert shakespeare.seconds_to(curve, 2.5) == 3.0
    assert shakespeare.seconds_to(curve, 2.0) == 4.0
    assert shakespeare.seconds_to(curve, 1.9) is None


def test_the_ratio_is_how_many_times_fewer_seconds_ours_are() -> None:
    ours = {"curve": [{"seconds": 2.0, "loss": 4.0}, {"seconds": 4.0, "loss": 1.9}]}
    theirs = {"curve": [{"seconds": 1.0, "loss": 4.0}, {"seconds": 12.0, "loss": 1.9}], "best": {"loss": 1.9}}
    target, end = shakespeare.compare(shakespeare.CPU, ours, theirs)
    assert (target["guppy"], target["nanogpt"], target["ratio"]) == (None, None, None)
    assert (end["guppy"], end["nanogpt"], end["ratio"]) == (4.0, 12.0, 3.0)
    (alone,) = shakespeare.compare(shakespeare.CPU, ours, None)
    assert alone["nanogpt"] is None and alone["ratio"] is None


# -- what can be wrong ---------------------------------------------------------------------------


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An empty folder, and all that running the reference changes put back."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path)
    for where, name in ((sys, "argv"), (torch, "save")):
        monkeypatch.setattr(where, name, getattr(where, name))
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = dict(sys.modules)
    yield tmp_path / "work"
    for name in set(sys.modules) - set(before):
        if name in ("model", "requests"):
            del sys.modules[name]
    sys.modules.update(before)


def reference_complains(reference: Path, work: Path) -> str:
    with pytest.raises(GuppyError) as caught:
        shakespeare.run_reference(shakespeare.CPU, TEXT, None, reference, work, print)
    return str(caught.value)


def test_a_reference_that_splits_otherwise(tmp_path: Path, untouched: Path) -> None:
    assert "not the last 10%" in reference_complains(checkout(tmp_path / "other", share=0.8), untouched)


def test_a_reference_that_fails(tmp_path: Path, untouched: Path) -> None:
    broken = checkout(tmp_path / "broken", train="raise ValueError('no\\nluck')")
    assert "train.py failed (ValueError: no)" in reference_complains(broken, untouched)


def test_a_reference_that_never_evaluates(tmp_path: Path, untouched: Path) -> None:
    assert "does not evaluate" in reference_complains(checkout(tmp_path / "idle", train="import model"), untouched)


def test_a_reference_without_its_model(tmp_path: Path, untouched: Path) -> None:
    odd = checkout(tmp_path / "odd", model="raise OSError('gone')")
    assert "model.py cannot be imported (OSError: gone)" in reference_complains(odd, untouched)


def test_a_reference_with_another_model(tmp_path: Path, untouched: Path) -> None:
    assert "model.py has no GPT" in reference_complains(checkout(tmp_path / "other", model="x = 1"), untouched)


def test_the_reference_does_not_download(tmp_path: Path, untouched: Path) -> None:
    nanogpt_reference.copy(checkout(tmp_path / "net"), TEXT, untouched)
    (untouched / nanogpt_reference.DATA / "input.txt").unlink()
    with pytest.raises(GuppyError, match=r"prepare.py failed \(AttributeError"):
        nanogpt_reference.prepare(untouched)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ([], "give a Shakespeare text with --data"),
        (["--data", "nowhere.txt"], "nowhere.txt cannot be read"),
        (["--data", "{folder}"], "cannot be read"),
        (["--data", "{folder}/binary"], "not UTF-8"),
        (["--data", "{folder}/short.txt"], "30 characters is too short"),
        (["--data", "{text}", "--reference", "{folder}"], "no checkout of nanoGPT: it has no train.py"),
        (["--data", "{text}", "--reference", "nowhere"], "no checkout of nanoGPT"),
        (
            ["--data", "{text}", "--budget-tokens", "500", "--batch", "8"],
            "budget of 500 tokens is under one step of 512",
        ),
        (["--data", "{text}", "--budget-tokens", "many"], "invalid int value"),
        (["--data", "{text}", "--batch", "0"], "batch of 0 windows"),
        (["--data", "{text}", "--lr", "-1"], "lr must be above 0"),
        (["--data", "{text}", "--target", "0"], "target loss must be above 0"),
        (["--data", "{text}", "--target", "nan"], "target loss must be above 0"),
        (["--data", "{text}", "--threads", "0"], "--threads must be at least 1"),
        (["--data", "{text}", "--reference-steps", "0"], "--reference-steps must be at least 1"),
        (["--data", "{text}", "--plot", "curves.png"], "should end in .html"),
        (["--data", "{text}", "--json", "nowhere/out.json"], "cannot be written"),
        (["--data", "{text}", "--speed", "9"], "unrecognized arguments: --speed"),
    ],
)
def test_what_can_be_mended_is_said_at_once(
    options: list[str], complaint: str, tmp_path: Path, text_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "binary").write_bytes(bytes(range(128, 256)) * 20)
    (tmp_path / "short.txt").write_text("x" * 30)
    monkeypatch.setattr(shakespeare, "measure", lambda *_: pytest.fail("it began to measure"))
    with pytest.raises(GuppyError, match=complaint):
        shakespeare.main([option.format(folder=tmp_path, text=text_file) for option in options])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_gpu_row_without_a_gpu(text_file: Path) -> None:
    assert shakespeare.pick_rows("auto") == [shakespeare.CPU]
    with pytest.raises(GuppyError, match="no cuda device"):
        shakespeare.main(["--data", str(text_file), "--device", "cuda"])


def test_a_complaint_is_one_line_and_exit_code_1() -> None:
    command = [sys.executable, "-m", "benchmarks.shakespeare", "--data", "nowhere.txt"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: nowhere.txt cannot be read") and done.stderr.count("\n") == 1
