import json
import math

import pytest
import torch
from ponds import make_corpus, make_run, same, write_pairs

from guppy.batches import heldout_batches
from guppy.corpus import Corpus
from guppy.errors import GuppyError
from guppy.evaluate import heldout_loss
from guppy.runs import bundle, files, fork, open_run, resume_run, train_run, training
from guppy.surgery import Surgery


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def parent(corpus, tmp_path_factory):
    """A finished run of 20 steps that kept every optimizer state; tests only read it."""
    run = make_run(tmp_path_factory.mktemp("runs") / "parent", corpus, keep_trainer="all")
    return train_run(run, corpus=corpus)


@pytest.fixture(scope="module")
def light(parent, tmp_path_factory):
    """The same run as it is bundled."""
    return open_run(bundle(parent, tmp_path_factory.mktemp("light") / "light"))


@pytest.mark.parametrize("step", [0, 2, 12])
def test_a_fork_that_changes_nothing_goes_on_bit_for_bit(parent, corpus, tmp_path, step):
    child = fork(parent, step, out=tmp_path / "child", corpus=None)
    assert child.status == "queued" and child.parent == {"run": "parent", "step": step}
    child = train_run(child, corpus=corpus)
    assert child.steps == [s for s in parent.steps if s >= step]
    for at in child.steps:
        assert same(child.weights(at), parent.weights(at)), at


def test_a_fork_begins_with_what_the_change_did_at_once(parent, corpus, tmp_path):
    child = fork(parent, 12, surgery=Surgery(causal_mask=False), out=tmp_path / "child", corpus=corpus)
    assert same(child.weights(12), parent.weights(12)) and child.surgery == Surgery(causal_mask=False)
    child = train_run(child, corpus=corpus)
    evals = child.metrics[child.metrics.kind == "eval"].set_index("step")
    parents = parent.metrics[parent.metrics.kind == "eval"].set_index("step")
    assert evals.index[0] == 12
    assert evals.masked_loss[12] == parents.heldout_loss[12] != evals.heldout_loss[12]
    assert child.samples.step.min() == 12
    assert not same(child.weights(), parent.weights())


def test_a_killed_fork_measures_its_first_step_once(parent, corpus, tmp_path):
    child = fork(parent, 12, out=tmp_path / "child", corpus=corpus)
    events = training(child, corpus=corpus)
    next(events)
    events.close()
    child = train_run(child, corpus=corpus)
    evals = child.metrics[child.metrics.kind == "eval"]
    assert evals.step.tolist() == child.steps
    assert same(child.weights(), parent.weights())


def test_a_new_budget_counts_from_the_fork(parent, corpus, tmp_path):
    child = train_run(fork(parent, 12, steps=8, out=tmp_path / "child", corpus=corpus), corpus=corpus)
    assert child.manifest["start"]["step"] == 12 and child.last_step == 20 and child.train_config.steps == 8
    assert child.steps[:4] == [12, 13, 14, 16]
    rates = child.metrics[child.metrics.kind == "step"].lr.tolist()
    assert len(rates) == 8 and rates[-1] < max(rates) and rates[-1] > 0
    longer = train_run(fork(parent, 20, tokens=500, out=tmp_path / "longer", corpus=corpus), corpus=corpus)
    assert longer.train_config.steps is None and longer.last_step > 20


def test_a_used_up_budget_asks_for_more(parent, light, corpus, tmp_path):
    for run in (parent, light):
        with pytest.raises(GuppyError, match="--steps"):
            fork(run, 20, out=tmp_path / "child", corpus=corpus)
    assert list(tmp_path.iterdir()) == []


def test_without_its_optimizer_a_fork_warms_up_for_what_is_left(parent, light, corpus, tmp_path):
    child = fork(light, 12, out=tmp_path / "child", corpus=corpus)
    assert child.train_config.steps == 8 and child.manifest["start"]["step"] == 12
    assert child.manifest["start"]["tokens"] == parent.metrics.set_index("step").tokens[12].iloc[0]
    assert same(child.weights(12), {k: v.bfloat16().float() for k, v in parent.weights(12).items()})
    child = train_run(child, corpus=corpus)
    assert child.last_step == 20 and child.status == "finished"


def test_pruned_checkpoints_keep_the_place_in_the_data(corpus, tmp_path):
    run = train_run(make_run(tmp_path / "run", corpus), corpus=corpus)
    child = fork(run, 2, out=tmp_path / "child", corpus=corpus)
    state = json.loads((child.step_path(2) / "trainer.json").read_text())
    assert state["sampler"]["cursor"] == 2 and state["progress"]["step"] == 2


def test_other_data_begin_at_their_beginning(parent, corpus, tmp_path):
    other = Corpus.from_path(write_pairs(tmp_path / "other.jsonl", rows=200), parent.tokenizer)
    child = fork(parent, 12, corpus=other, steps=2, out=tmp_path / "child")
    assert child.manifest["corpus"]["sha256"] == other.sha256 != corpus.sha256
    assert json.loads((child.step_path(12) / "trainer.json").read_text())["sampler"] == {}
    assert train_run(child, corpus=other).status == "finished"


def test_another_tokenizer_is_refused(parent, tmp_path):
    other = Corpus.from_path(write_pairs(tmp_path / "other.jsonl"), "bpe")
    with pytest.raises(GuppyError, match="keeps its parent's tokenizer"):
        fork(parent, 12, corpus=other, out=tmp_path / "child")


def test_settings_are_checked(parent, corpus, tmp_path):
    with pytest.raises(GuppyError, match="no setting wings"):
        fork(parent, 12, wings=2, out=tmp_path / "child", corpus=corpus)
    with pytest.raises(GuppyError, match="no checkpoint at step 13"):
        fork(parent, 13, out=tmp_path / "child", corpus=corpus)
    with pytest.raises(GuppyError, match="exists already"):
        fork(parent, 12, out=parent.path, corpus=corpus)


def test_a_fork_can_be_forked(parent, corpus, tmp_path):
    child = train_run(fork(parent, 12, steps=4, lr=1e-4, out=tmp_path / "child", corpus=corpus), corpus=corpus)
    grandchild = train_run(
        fork(child, 14, out=tmp_path / "grandchild", corpus=corpus, keep_trainer="all"), corpus=corpus
    )
    assert grandchild.parent == {"run": "child", "step": 14} and grandchild.train_config.lr == 1e-4
    assert grandchild.last_step == 16


def test_a_bundle_is_light_and_opens(parent, light, corpus):
    def size(run) -> int:
        return sum(path.stat().st_size for path in run.path.rglob("*.safetensors"))

    assert light.steps == parent.steps and size(light) < size(parent) / 3
    assert light.manifest["weights_dtype"] == "bfloat16" and light.id == "light"
    kinds = {path.name for path in light.path.rglob("*") if path.is_file()}
    assert kinds == {"run.json", "tokenizer.json", "metrics.jsonl", "samples.jsonl", "model.safetensors"}
    assert all(tensor.dtype == torch.float32 for tensor in light.weights().values())
    batches = heldout_batches(corpus.heldout, 64, 24, 0)
    assert math.isclose(heldout_loss(light.model(), batches), heldout_loss(parent.model(), batches), rel_tol=0.01)
    assert light.metrics.equals(parent.metrics)


def test_a_bundle_has_the_steps_that_were_chosen(parent, tmp_path):
    exact = open_run(bundle(parent, tmp_path / "exact", steps=[20, 2, 2], dtype="float32"))
    assert exact.steps == [2, 20] and same(exact.weights(2), parent.weights(2))
    with pytest.raises(GuppyError, match="no checkpoint at step 3"):
        bundle(parent, tmp_path / "none", steps=[3])
    with pytest.raises(GuppyError, match="exists already"):
        bundle(parent, tmp_path / "exact")
    assert [path.name for path in tmp_path.iterdir()] == ["exact"]


def test_a_bundle_cannot_be_resumed(light):
    files.write_json(light.path / files.MANIFEST, light.manifest | {"status": "stopped"})
    try:
        with pytest.raises(GuppyError, match=r"trainer\.json is missing; fork"):
            resume_run(light.path)
    finally:
        files.write_json(light.path / files.MANIFEST, light.manifest)
