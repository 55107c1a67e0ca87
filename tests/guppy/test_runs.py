import errno
import json
import math
import os
import time

import pandas
import pytest
import torch
from ponds import make_corpus, make_run, model_config, same, train_config

from guppy import runs
from guppy.budget import checkpoint_steps
from guppy.corpus import Corpus
from guppy.errors import GuppyError
from guppy.evaluate import heldout_loss
from guppy.runs import create_run, files, find_run, list_runs, open_run, train_run
from guppy.runs.tensors import write_tensors
from guppy.surgery import Surgery


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    """A finished run; tests only read it."""
    run = make_run(tmp_path_factory.mktemp("runs") / "done", corpus, surgery=Surgery(heads_off=((0, 1),)), notes="why")
    return train_run(run, corpus=corpus)


@pytest.fixture
def own(corpus, tmp_path):
    """A finished run to damage."""
    return train_run(make_run(tmp_path / "own", corpus, steps=4), corpus=corpus)


# -- reading -----------------------------------------------------------------------------------


def test_a_run_is_what_the_design_says(trained):
    assert sorted(p.name for p in trained.path.iterdir()) == [
        "metrics.jsonl", "run.json", "samples.jsonl", "steps", "tokenizer.json",
    ]  # fmt: skip
    steps = checkpoint_steps(20, 6)
    assert trained.steps == steps
    assert sorted(p.name for p in (trained.path / "steps").iterdir()) == [f"{step:06d}" for step in steps]
    manifest = json.loads((trained.path / "run.json").read_text())
    assert manifest == trained.manifest
    expected = {"format": 1, "id": "done", "name": "done", "status": "finished", "seed": 0, "parent": None}
    expected |= {"device": "cpu", "dtype": "float32", "steps_done": 20, "notes": "why", "threads": 1}
    assert {key: manifest[key] for key in expected} == expected
    assert manifest["surgery"]["heads_off"] == [[0, 1]] and trained.surgery == Surgery(heads_off=((0, 1),))
    assert manifest["corpus"]["kind"] == "path" and len(manifest["corpus"]["sha256"]) == 64
    assert manifest["reference"].keys() == {"log_v", "unigram", "bigram"}
    assert manifest["seconds"] > 0 and manifest["versions"]["torch"] == torch.__version__


def test_curves_and_samples_are_tables(trained, corpus):
    metrics = trained.metrics
    assert isinstance(metrics, pandas.DataFrame)
    losses = metrics[metrics.kind == "step"]
    assert losses.step.tolist() == list(range(1, 21)) and losses.loss.notna().all()
    evals = metrics[metrics.kind == "eval"]
    assert evals.step.tolist() == trained.steps
    assert (evals.heldout_loss == evals.masked_loss).all() and (evals.future_mass == 0).all()
    assert set(trained.samples.columns) == {"step", "prompt", "text"}
    assert len(trained.samples) == len(trained.steps) * len(corpus.probes)


def test_any_checkpoint_is_a_model(trained, corpus):
    from guppy.batches import heldout_batches

    metrics = trained.metrics.set_index("step")
    for step in trained.steps:
        model = trained.model(step)
        assert not model.training and model.surgery == trained.surgery
        logged = metrics[metrics.kind == "eval"].heldout_loss[step]
        assert math.isclose(heldout_loss(model, heldout_batches(corpus.heldout, 64, 24, 0, 8)), logged, rel_tol=1e-6)
    assert same(trained.model().state_dict(), trained.model(20).state_dict())
    assert trained.tokenizer.sha256 == corpus.tokenizer.sha256


def test_a_model_does_not_change_with_its_file(own):
    model = own.model(4)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    path = own.path / "steps/000004/model.safetensors"
    with path.open("r+b") as file:  # in place, where a memory map would show it
        file.seek(-64, os.SEEK_END)
        file.write(b"\xff" * 64)
    assert same(model.state_dict(), before)


def test_a_missing_step_names_those_there_are(trained):
    with pytest.raises(GuppyError, match="no checkpoint at step 3; it has 0, 1, 2, 4"):
        trained.model(3)
    with pytest.raises(GuppyError, match="no checkpoint at step -1"):
        trained.model(-1)


def test_a_queued_run_has_no_checkpoint_yet(corpus, tmp_path):
    run = make_run(tmp_path / "queued", corpus)
    assert run.status == "queued" and run.steps == []
    assert run.metrics.empty and run.samples.empty
    with pytest.raises(GuppyError, match="no checkpoint yet"):
        run.model()


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "one bit", "gone"])
def test_damaged_weights_are_named_and_the_others_open(own, damage):
    path = own.path / "steps/000002/model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1 if damage == "one bit" else 0
    damaged = {"truncated": content[:-100], "empty": b"", "garbage": os.urandom(500), "one bit": content, "gone": None}
    if damaged[damage] is None:
        path.unlink()
        with pytest.raises(GuppyError, match="no checkpoint at step 2; it has 0, 1"):
            own.model(2)
    else:
        path.write_bytes(damaged[damage])
        with pytest.raises(
            GuppyError, match=r"steps/000002/model.safetensors is .*corrupt.*steps 0, 1, .*can still be"
        ):
            own.model(2)
    assert own.model(1) and own.model(4)


def test_weights_are_checked_against_the_manifest(own):
    path = own.path / "steps/000004/model.safetensors"
    tensors = own.weights(4)
    cases = {
        "it lacks embed.weight": {k: v for k, v in tensors.items() if k != "embed.weight"},
        "it has extra": tensors | {"extra": torch.zeros(1)},
        r"embed.weight has the shape \[3, 3\]": tensors | {"embed.weight": torch.zeros(3, 3)},
        "embed.weight is float16": tensors | {"embed.weight": tensors["embed.weight"].half()},
    }
    for message, changed in cases.items():
        write_tensors(path, changed)
        with pytest.raises(GuppyError, match=f"does not fit the run's manifest: {message}"):
            own.model(4)


def test_a_half_written_last_line_is_ignored(own):
    whole = len(own.metrics)
    with (own.path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"kind": "step", "step": 99, "lo')
    assert len(own.metrics) == whole
    with (own.path / "metrics.jsonl").open("ab") as file:
        file.write(b'\n{"kind": "step", "step": 5}\nnot json\n')
    assert len(own.metrics) == whole + 1


def test_news_since_a_cursor(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert files.read_rows(path) == ([], "", True)
    path.write_bytes(b'{"step": 1}\n{"step": 2}\n{"ste')
    rows, cursor, anew = files.read_rows(path)
    assert [row["step"] for row in rows] == [1, 2] and anew
    with path.open("ab") as file:
        file.write(b'p": 3}\n')
    rows, cursor, anew = files.read_rows(path, cursor)
    assert [row["step"] for row in rows] == [3] and not anew
    assert files.read_rows(path, cursor)[0] == []
    files.drop_rows(path, 2)
    rows, cursor, anew = files.read_rows(path, cursor)
    assert [row["step"] for row in rows] == [1, 2] and anew
    assert files.read_rows(path, "nonsense")[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "is of format 2; this guppy reads up to 1"),
        ({"format": None}, "is of format None"),
        ({"model": None}, "no usable 'model'"),
        ({"model": {"vocab_size": 64, "wings": 2}}, "damaged: ModelConfig has no setting wings"),
        ({"train": {}}, "damaged: Give exactly one"),
        ({"surgery": {"mlp_off": [40]}}, "damaged: There is no layer 40"),
        ({"status": 3}, "no usable 'status'"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_said(own, change, message):
    manifest = json.loads((own.path / "run.json").read_text()) | change
    (own.path / "run.json").write_text(json.dumps(manifest))
    with pytest.raises(GuppyError, match=message):
        open_run(own.path)


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00\xff"])
def test_a_broken_manifest_is_listed_with_its_error(own, text):
    (own.path / "run.json").write_text(text)
    with pytest.raises(GuppyError, match=r"run\.json"):
        open_run(own.path)
    (listed,) = list_runs(own.path.parent)
    assert listed.id == "own" and "run.json" in listed.error and listed.steps == []


def test_runs_are_listed_newest_first(corpus, tmp_path):
    for name in ("a", "b"):
        make_run(tmp_path / name, corpus, surgery=Surgery(mlp_off=(0,)) if name == "b" else None)
        time.sleep(0.002)
    (tmp_path / "no-run").mkdir()
    listed = list_runs(tmp_path)
    assert [run.id for run in listed] == ["b", "a"]
    assert listed[0].surgery == ["no-mlp:0"] and "layer 0" in listed[0].surgery_text and listed[1].surgery == []
    assert not listed[0].bundled and listed[0].status == "queued" and listed[0].error is None


def test_runs_are_found_by_id_in_every_root(corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("GUPPY_CHECKPOINTS", str(tmp_path))
    run = make_run(tmp_path / "mine", corpus)
    assert runs.roots()[0] == tmp_path and runs.roots()[-1].name == "checkpoints"
    assert find_run("mine") == run.path and open_run("mine").id == "mine"
    assert "mine" in [listed.id for listed in list_runs()]


@pytest.mark.parametrize("name", ["../etc", "a/b", "", ".", "..", "UPPER", "a" * 81, "sp ace", "nul\x00", "ä"])
def test_a_run_id_is_never_a_path(name):
    with pytest.raises(GuppyError, match="is not the name of a run"):
        find_run(name)


def test_an_unknown_run_says_how_to_find_one(tmp_path, monkeypatch):
    monkeypatch.setenv("GUPPY_CHECKPOINTS", str(tmp_path))
    for name in ("nemo", tmp_path / "nemo", "../nemo"):
        with pytest.raises(GuppyError, match=r"There is no run .*guppy runs"):
            open_run(name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(GuppyError, match=r"run\.json is missing"):
        open_run(tmp_path / "empty")


# -- creating ----------------------------------------------------------------------------------


def test_a_manifest_tells_the_rate_that_the_width_gave(corpus, tmp_path):
    run = make_run(tmp_path / "wide", corpus, model={"d_model": 256}, lr=None)
    assert run.train_config.lr == run.manifest["train"]["lr"] == 0.006


def test_a_run_is_not_written_over_another(own, corpus):
    with pytest.raises(GuppyError, match="exists already"):
        make_run(own.path, corpus)


def test_names_that_are_no_ids_are_refused(corpus, tmp_path):
    for name in ("My Run", ".hidden", "x" * 81):
        with pytest.raises(GuppyError, match="is no name for a run"):
            make_run(tmp_path / name, corpus)


def test_nothing_is_left_of_a_run_that_could_not_be_created(corpus, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write_json", full)
    with pytest.raises(GuppyError, match="disk is full"):
        make_run(tmp_path / "new", corpus)
    assert list(tmp_path.iterdir()) == []


def test_surgery_that_does_not_fit_is_refused(corpus, tmp_path):
    with pytest.raises(GuppyError, match="no layer 9"):
        make_run(tmp_path / "new", corpus, surgery=Surgery(mlp_off=(9,)))
    assert not (tmp_path / "new").exists()


def test_create_run_needs_a_fitting_device(corpus, tmp_path):
    with pytest.raises(GuppyError, match="no device"):
        create_run(tmp_path / "run", model=model_config(corpus), train=train_config(), corpus=corpus, device="abacus")


def test_a_name_means_the_run_even_where_a_folder_is_called_so(trained, tmp_path, monkeypatch):
    (tmp_path / trained.id).mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GUPPY_CHECKPOINTS", str(trained.path.parent))
    assert open_run(trained.id).path == trained.path


@pytest.mark.parametrize("name", ["fry", "guppy"])
def test_bundled_runs_open_and_speak(name):
    run = open_run(runs.roots()[-1] / name)
    assert run.status == "finished" and "python -m guppy train" in run.manifest["notes"]
    replies = {row.prompt: row.text for row in run.samples[run.samples.step == run.steps[-1]].itertuples()}
    food = ("food", "flake", "pellet", "crumb")
    assert any(word in replies["what is the meaning of life?"] for word in food)
    assert torch.isfinite(run.model().embed.weight).all()
