import json
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from networks import some_ids, tiny
from ponds import make_corpus, make_run
from test_inspect_neurons import some_split

import guppy.inspect
from guppy.batches import Split
from guppy.errors import GuppyError
from guppy.inspect import neuron_index
from guppy.inspect.neuron_activity import activity
from guppy.inspect.neurons import activations
from guppy.runs import corpus_of, open_run, train_run
from guppy.surgery import Surgery


def by_brute_force(model, split, k):
    """For each neuron the k best (value, text, position), one place a text: texts in the order of their tokens, one
    after another, and of each only the positions whose beginning no earlier one has (without a mask: all)."""
    n_ctx = model.config.n_ctx
    texts = sorted(
        {
            tuple(split.row(row)[at : min(at + n_ctx, len(split.row(row)) - 1)].tolist())
            for row in range(len(split))
            for at in range(0, len(split.row(row)) - 1, n_ctx)
        }
    )
    seen, found = set(), {}
    for text in texts:
        post = activations(model, torch.tensor(text)).post
        own = [i for i in range(len(text)) if not model.causal or text[: i + 1] not in seen]
        seen |= {text[: i + 1] for i in own}
        for layer in range(post.shape[0]):
            for neuron in range(post.shape[2]):
                best = max(((float(post[layer, i, neuron]), text, i) for i in own), default=(0.0, text, 0))
                if best[0] > 0:
                    found.setdefault((layer, neuron), []).append(best)
    return {each: sorted(places, reverse=True)[:k] for each, places in found.items()}


@pytest.mark.parametrize(
    ("act_fn", "surgery"),
    [("relu", Surgery()), ("gelu", Surgery()), ("relu", Surgery(causal_mask=False)), ("relu", Surgery(residual=False))],
)
def test_the_index_is_what_brute_force_finds(monkeypatch, act_fn, surgery):
    monkeypatch.setattr(neuron_index.Texts.batches, "__defaults__", (48,))  # many batches, so that merging is tried
    model, split = tiny(surgery, act_fn=act_fn), some_split()
    with torch.no_grad():
        model.blocks[0].mlp.up.bias[4] = -1000.0
    found = neuron_index.index(model, split, k=6)
    expected = by_brute_force(model, split, k=6)
    assert found.value.shape == (2, 24, 6)
    for layer in range(2):
        for neuron in range(24):
            places = expected.get((layer, neuron), [])
            n = len(places)
            assert (found.text[layer, neuron, n:] == -1).all() and (found.value[layer, neuron, n:] == 0).all()
            torch.testing.assert_close(found.value[layer, neuron, :n], torch.tensor([each[0] for each in places]))
            for i, (_, text, position) in enumerate(places):
                assert tuple(found.text_ids(found.text[layer, neuron, i]).tolist()) == text
                assert found.position[layer, neuron, i] == position
    assert found.dead[0, 4] and (found.text[0, 4] == -1).all()
    assert int(found.text.max()) + 1 == len(found.rows) == len(found.copies) == len(found.offsets) - 1
    whole = activity(model, split, most=10_000)
    for name in ("share", "mean", "largest", "counts", "dead"):
        torch.testing.assert_close(getattr(found, name), getattr(whole, name))


def test_texts_that_begin_alike_count_once():
    model = tiny()
    split = Split.from_rows([[9, 8, 7, i, 0] for i in range(20)] * 2, [""] * 40)
    found = neuron_index.index(model, split, k=20)
    post = activations(model, torch.tensor([9, 8, 7])).post  # what all of them share
    assert (found.copies == 2).all()
    for layer, neuron in ((0, 1), (1, 2)):
        early = found.position[layer, neuron][found.text[layer, neuron] >= 0] < 3
        assert early.sum() <= 1, "the common beginning stands for one of them"
        if float(post[layer, :, neuron].max()) > float(found.value[layer, neuron, 0]) - 1e-6 and early.any():
            assert early[0]
    assert (found.largest - found.value[..., 0].clamp(min=0)).clamp(min=0).max() < 1e-5, "the best of all is there"


# -- kept with a run -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pond(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pond")
    threads = torch.get_num_threads()
    run = train_run(make_run(folder / "fish", make_corpus(folder), steps=6, checkpoints=3))
    torch.set_num_threads(threads)
    return run


@pytest.fixture
def run(pond, tmp_path):
    return open_run(shutil.copytree(pond.path, tmp_path / "fish"))


def test_it_is_kept_and_found_again(run):
    step, told = run.last_step, []
    assert neuron_index.find(run, step) is None and neuron_index.about_index(run, step) is None
    made = neuron_index.make(run, step, lambda done, of: told.append((done, of)))
    assert told[-1] == (made.tokens, made.tokens) and [done for done, _ in told] == sorted(done for done, _ in told)
    found = neuron_index.find(run, step)
    for name, value in vars(made).items():
        kept = getattr(found, name)
        assert torch.equal(kept, value) if isinstance(value, torch.Tensor) else kept == value
    about = neuron_index.about_index(run, step)
    assert about["step"] == step and about["corpus"] == run.manifest["corpus"]["sha256"] and about["k"] == 20
    assert sorted(path.name for path in (run.path / "derived" / f"neurons-{step:06d}").iterdir()) == [
        "index.json",
        "index.safetensors",
    ]
    told.clear()
    neuron_index.make(run, step, lambda done, of: told.append(done))
    assert not told, "what is there is not built again"
    assert neuron_index.find(run, run.steps[0]) is None
    with pytest.raises(GuppyError, match="no checkpoint at step 5"):
        neuron_index.find(run, 5)


def test_texts_are_the_corpuss(run):
    found = neuron_index.make(run, run.last_step)
    split = corpus_of(run).train
    for i in (0, len(found.rows) // 2, len(found.rows) - 1):
        row = split.row(int(found.rows[i]))[:-1].tolist()
        text = found.text_ids(i).tolist()
        assert any(row[at : at + len(text)] == text for at in range(0, len(row), 24))


def test_other_weights_or_another_version_are_another_index(run, monkeypatch):
    step = run.last_step
    neuron_index.make(run, step)
    monkeypatch.setattr(neuron_index, "VERSION", 0)
    assert neuron_index.find(run, step) is None
    monkeypatch.undo()
    assert neuron_index.find(run, step) is not None
    weights = run.step_path(step) / "model.safetensors"
    shutil.copy(run.step_path(run.steps[0]) / "model.safetensors", weights)
    assert neuron_index.find(run, step) is None


def test_a_damaged_one_is_built_anew(run):
    step = run.last_step
    made = neuron_index.make(run, step)
    path = run.path / "derived" / f"neurons-{step:06d}"
    tensors = (path / "index.safetensors").read_bytes()
    for damage in (
        lambda: (path / "index.safetensors").write_bytes(tensors[:-40] + b"x" * 40),
        lambda: (path / "index.safetensors").unlink(),
        lambda: (path / "index.json").write_text("{"),
        lambda: (path / "index.json").write_text("[]"),
    ):
        damage()
        assert neuron_index.about_index(run, step) is None
        assert neuron_index.find(run, step) is None
        assert torch.equal(neuron_index.make(run, step).value, made.value)


def test_what_ends_it_leaves_nothing(run):
    def stop(done, of):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        neuron_index.make(run, run.last_step, stop)
    assert neuron_index.find(run, run.last_step) is None
    assert not list((run.path / "derived").rglob("*.*"))


def test_a_folder_that_cannot_be_written_is_named_before_the_work(run):
    (run.path / "derived").write_text("in the way")
    told = []
    with pytest.raises(GuppyError, match="cannot be written"):
        neuron_index.make(run, run.last_step, lambda done, of: told.append(done))
    assert not told


def test_two_at_once_leave_one(run):
    step, made = run.last_step, []
    together = threading.Barrier(2)

    def build():
        together.wait()
        made.append(neuron_index.make(run, step))

    threads = [threading.Thread(target=build) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = neuron_index.find(run, step)
    assert len(made) == 2 and torch.equal(found.value, made[0].value) and torch.equal(found.value, made[1].value)


def test_the_module_tells_how_far_it_is(run):
    command = [sys.executable, "-m", "guppy.inspect.neuron_index", str(run.path), str(run.last_step)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["done"] == last["of"] == neuron_index.find(run, run.last_step).tokens
    missing = subprocess.run([*command[:-1], "5"], capture_output=True, text=True, check=False)
    assert missing.returncode == 1 and missing.stderr.startswith("Run fish has no checkpoint at step 5")


def test_one_neurons_texts_are_read_again(run):
    step = run.last_step
    with pytest.raises(GuppyError, match="not built yet; `python -m guppy inspect fish --step"):
        guppy.inspect.ask(run, "neuron-top", step=step, layer=1, neuron=3)
    made = neuron_index.make(run, step)
    model = run.model(step)
    neuron = int(made.share[1].argmax())
    told = guppy.inspect.ask(run, "neuron-top", step=step, layer=1, neuron=neuron)
    assert len(told.tokens) == 20 and told.texts_there == made.texts
    for i in range(20):
        ids = made.text_ids(made.text[1, neuron, i])
        assert told.tokens[i] == run.tokenizer.token_strings(ids)
        alone = activations(model, ids, [1], [neuron]).post[0, :, 0].detach()
        torch.testing.assert_close(told.activation[i, : len(ids)], alone, rtol=1e-4, atol=1e-5)
        assert told.activation[i, len(ids) :].isnan().all()
        torch.testing.assert_close(told.activation[i, told.position[i]], told.value[i], rtol=1e-4, atol=1e-5)
    everywhere = guppy.inspect.ask(run, "neuron-activity", step=step, texts=0)
    assert torch.equal(everywhere.counts, made.counts) and everywhere.exactness == "exact"
    some = guppy.inspect.ask(run, "neuron-activity", step=step, texts=7)
    assert some.texts == 7 and some.exactness.startswith("approximate: a sample of 7 texts")
    assert torch.equal(guppy.inspect.ask(run, "neuron-index", step=step).value, made.value)
    with pytest.raises(GuppyError, match="There is no neuron 32"):
        guppy.inspect.ask(run, "neuron-top", step=step, layer=1, neuron=32)


def test_a_dead_neuron_has_no_texts(run):
    model = run.model()
    with torch.no_grad():
        model.blocks[0].mlp.up.bias[2] = -1000.0
    found = neuron_index.index(model, corpus_of(run).train)
    subject = guppy.inspect.asking.Subject(model, run.tokenizer, some_ids(model)[0], [])
    told = neuron_index.top_texts(subject, found, 0, 2)
    assert told.tokens == [] and told.activation.shape == (0, 0) and not np.isnan(told.value.numpy()).any()
