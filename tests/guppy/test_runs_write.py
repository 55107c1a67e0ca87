import errno

import pandas
import pytest
import torch
from ponds import make_corpus, make_run, same

from guppy import runs
from guppy.budget import checkpoint_steps
from guppy.corpus import Corpus
from guppy.errors import GuppyError
from guppy.events import Checkpoint, Control, Step
from guppy.runs import files, open_run, resume_run, train_run, training
from guppy.runs.tensors import read_tensors, write_tensors
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


def rows_of(run, name) -> list[dict]:
    return files.read_rows(run.path / name)[0]


# -- writing -----------------------------------------------------------------------------------


def test_events_are_on_disk_before_they_are_yielded(corpus, tmp_path):
    run = make_run(tmp_path / "run", corpus)
    for event in training(run, corpus=corpus):
        if isinstance(event, Step):
            assert rows_of(run, "metrics.jsonl")[-1]["step"] == event.step
        if isinstance(event, Checkpoint):
            assert run.steps[-1] == event.step and same(run.weights(event.step), event.weights)
            assert open_run(run.path).manifest["steps_done"] == event.step
            assert open_run(run.path).status == "running"


def test_only_the_newest_checkpoints_keep_their_optimizer_unless_asked(corpus, tmp_path):
    def kept(run):
        return [step for step in run.steps if (run.step_path(step) / "trainer.safetensors").exists()]

    last = train_run(make_run(tmp_path / "last", corpus), corpus=corpus)
    assert kept(last) == last.steps[-2:]
    assert all((last.step_path(step) / "trainer.json").exists() for step in last.steps)
    everything = train_run(make_run(tmp_path / "all", corpus, keep_trainer="all"), corpus=corpus)
    assert kept(everything) == everything.steps


def test_nothing_but_safetensors_and_json_is_written(trained):
    kinds = {path.suffix for path in trained.path.rglob("*") if path.is_file()}
    assert kinds == {".safetensors", ".json", ".jsonl"}


def test_a_stopped_run_goes_on_to_the_same_end(corpus, tmp_path):
    whole = train_run(make_run(tmp_path / "whole", corpus), corpus=corpus)
    run = make_run(tmp_path / "parts", corpus)
    control = Control()
    for event in training(run, control, corpus=corpus):
        control.stop = control.stop or (isinstance(event, Step) and event.step >= 7)
    stopped = open_run(run.path)
    assert stopped.status == "stopped" and stopped.last_step < 20
    assert "Stopped at step" in stopped.manifest["message"]
    finished = resume_run(run, corpus=corpus)
    assert finished.status == "finished" and same(finished.weights(), whole.weights())
    drop = ["seconds", "tokens_per_second"]
    extra = set(finished.steps) - set(whole.steps)
    rows = finished.metrics[~((finished.metrics.kind == "eval") & finished.metrics.step.isin(extra))]
    pandas.testing.assert_frame_equal(rows.drop(columns=drop).reset_index(drop=True), whole.metrics.drop(columns=drop))


def test_resuming_forgets_what_came_after_the_checkpoint(own, corpus):
    for name in ("metrics.jsonl", "samples.jsonl"):
        with (own.path / name).open("ab") as file:
            file.write(b'{"kind": "step", "step": 77, "prompt": "", "text": ""}\n{"kind": "st')
    files.write_json(own.path / "run.json", own.manifest | {"status": "running"})
    resumed = resume_run(own.path, corpus=corpus)
    assert 77 not in resumed.metrics.step.tolist() and 77 not in resumed.samples.step.tolist()
    assert (own.path / "metrics.jsonl").read_bytes().endswith(b"}\n")


def test_a_damaged_last_checkpoint_costs_only_that_one(corpus, tmp_path):
    whole = train_run(make_run(tmp_path / "whole", corpus), corpus=corpus)
    run = train_run(make_run(tmp_path / "run", corpus), corpus=corpus)
    path = run.step_path(20) / "trainer.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    files.write_json(run.path / "run.json", run.manifest | {"status": "running"})
    assert same(resume_run(run.path, corpus=corpus).weights(20), whole.weights(20))
    assert run.metrics.step.is_monotonic_increasing


def test_when_no_checkpoint_can_be_read_nothing_is_thrown_away(own, corpus):
    for step in own.steps:
        (own.step_path(step) / "model.safetensors").write_bytes(b"broken")
    files.write_json(own.path / "run.json", own.manifest | {"status": "stopped"})
    rows = (own.path / "metrics.jsonl").read_bytes()
    with pytest.raises(GuppyError, match="corrupt"):
        resume_run(own.path, corpus=corpus)
    assert open_run(own.path).status == "failed" and (own.path / "metrics.jsonl").read_bytes() == rows


def test_a_finished_run_is_left_alone(own, corpus):
    before = {path: path.stat().st_mtime_ns for path in own.path.rglob("*")}
    assert resume_run(own.path).status == "finished"
    assert {path: path.stat().st_mtime_ns for path in own.path.rglob("*") if path in before} == before


def test_data_that_changed_are_refused(corpus, tmp_path):
    run = make_run(tmp_path / "run", corpus)
    files.write_json(run.path / "run.json", run.manifest | {"corpus": run.manifest["corpus"] | {"sha256": "0" * 64}})
    with pytest.raises(GuppyError, match="data of run run are not what they were"):
        train_run(run.path)
    assert open_run(run.path).status == "failed"


def test_the_corpus_is_made_again_from_the_manifest(corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("GUPPY_CHECKPOINTS", str(tmp_path))
    assert train_run(make_run(tmp_path / "run", corpus, steps=1)).status == "finished"


def test_a_diverged_run_keeps_its_last_good_checkpoint(corpus, tmp_path):
    run = make_run(tmp_path / "run", corpus, lr=1e38, warmup=0, surgery=Surgery(layernorm=False))
    done = train_run(run, corpus=corpus)
    assert done.status == "diverged" and "--lr" in done.manifest["message"]
    assert done.steps and all(t.isfinite().all() for t in done.weights().values())
    assert "NaN" not in (run.path / "metrics.jsonl").read_text()


# -- a full disk -------------------------------------------------------------------------------


@pytest.mark.parametrize("fails_at", ["model.safetensors", "trainer.json", "metrics.jsonl"])
def test_a_full_disk_loses_nothing_that_was_there(corpus, tmp_path, monkeypatch, fails_at):
    run = make_run(tmp_path / "run", corpus)
    whole = train_run(make_run(tmp_path / "whole", corpus), corpus=corpus)
    written = []

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    real_bytes, real_rows = files.write_bytes, runs.write.files.row_bytes

    def write_bytes(path, data):
        if path.name == fails_at and len(written) > 2 and path.parent.parent.name == "steps":
            real_bytes(path, data[: len(data) // 2])
            full()
        written.extend([path] if path.name == fails_at else [])
        return real_bytes(path, data)

    def row_bytes(row):
        if row.get("step") == 6 and fails_at == "metrics.jsonl":
            full()
        return real_rows(row)

    for module in (files, runs.tensors):
        monkeypatch.setattr(module, "write_bytes", write_bytes)
    monkeypatch.setattr(files, "row_bytes", row_bytes)
    with pytest.raises(GuppyError, match="disk is full"):
        train_run(run, corpus=corpus)
    failed = open_run(run.path)
    assert failed.status == "failed" and "disk is full" in failed.manifest["message"]
    assert failed.steps == checkpoint_steps(20, 6)[: len(failed.steps)] and len(failed.steps) >= 3
    assert all(failed.model(step) for step in failed.steps)
    assert not list(run.path.rglob(files.UNFINISHED + "*")) and not (run.path / files.LOCK).exists()
    monkeypatch.undo()
    assert same(resume_run(run.path, corpus=corpus).weights(), whole.weights())


def test_a_disk_too_full_for_the_manifest_still_says_why(corpus, tmp_path, monkeypatch):
    run = make_run(tmp_path / "run", corpus)

    def write_bytes(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    events = training(run, corpus=corpus)
    next(events)
    for module in (files, runs.tensors):
        monkeypatch.setattr(module, "write_bytes", write_bytes)
    with pytest.raises(GuppyError, match="disk is full"):
        list(events)
    assert open_run(run.path).status == "interrupted"


# -- tensors -----------------------------------------------------------------------------------


def test_tensors_come_back_bit_for_bit(tmp_path):
    tensors = {
        "a": torch.randn(3, 4), "b": torch.randn(5).bfloat16(), "step": torch.tensor(7.0), "none": torch.zeros(0, 3),
        "view": torch.randn(4, 4).T,
    }  # fmt: skip
    write_tensors(tmp_path / "x.safetensors", tensors)
    assert same(read_tensors(tmp_path / "x.safetensors", ""), tensors)
    for _ in range(8):
        write_tensors(tmp_path / "y.safetensors", tensors)
        assert (tmp_path / "x.safetensors").read_bytes() == (tmp_path / "y.safetensors").read_bytes()


def test_a_written_file_replaces_the_old_one_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "file"
    files.write_bytes(path, b"old")

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="Input"):
        files.write_bytes(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_whole_directory_appears_at_once_or_not_at_all(tmp_path):
    path = tmp_path / "new"
    with pytest.raises(RuntimeError), files.whole_directory(path) as draft:
        (draft / "file").touch()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with files.whole_directory(path) as draft:
        (draft / "file").write_text("first")
        assert not path.exists()
    with pytest.raises(OSError, match=r"not empty|exists"), files.whole_directory(path) as draft:
        (draft / "file").write_text("second")
    assert (path / "file").read_text() == "first" and list(tmp_path.iterdir()) == [path]
    with files.whole_directory(path, replace=True) as draft:
        (draft / "file").write_text("third")
    assert (path / "file").read_text() == "third" and list(tmp_path.iterdir()) == [path]
