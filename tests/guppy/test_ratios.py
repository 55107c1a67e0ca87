import copy

import pytest
import torch
from ponds import make_corpus, model_config, train_config

from guppy.batches import BatchSampler
from guppy.evaluate import batch_loss
from guppy.events import Checkpoint, Ratios
from guppy.model import Guppy
from guppy.ratios import Watch
from guppy.runs import create_run, train_run
from guppy.train import train


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("pond"))


def test_ratios_are_those_of_the_weights_before_and_after(corpus):
    shape = model_config(corpus)
    events = list(train(shape, train_config(steps=3, checkpoints=100, dtype="float32"), corpus, device="cpu"))
    weights = {event.step: event.weights for event in events if isinstance(event, Checkpoint)}
    ratios = {event.step: event for event in events if isinstance(event, Ratios)}
    assert set(weights) == {0, 1, 2, 3} and set(ratios) == {1, 2, 3}
    for step, told in ratios.items():
        before, after = weights[step - 1], weights[step]
        assert set(told.update) == {name for name, value in before.items() if value.ndim > 1}
        for name, share in told.update.items():
            expected = (after[name] - before[name]).norm() / before[name].norm()
            assert share == pytest.approx(expected.item(), rel=1e-4)


def test_gradients_are_those_before_clipping(corpus):
    model = Guppy(model_config(corpus))
    batch = BatchSampler(corpus.train, 4, 24, corpus.tokenizer.pad_id, 0).next()
    watch = Watch(model)
    (1000 * batch_loss(model, batch)).backward()
    expected = {name: (p.grad.norm() / p.norm()).item() for name, p in model.named_parameters() if p.ndim > 1}
    watch.see_gradients()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-6)
    told = watch.ratios(1)
    assert told.gradient == pytest.approx(expected) and set(told.update.values()) == {0.0}


def test_what_is_no_number_is_not_told(corpus):
    model = Guppy(model_config(corpus))
    watch = Watch(copy.deepcopy(model))
    watch.see_gradients()
    with torch.no_grad():
        watch.matrices["embed.weight"][0, 0] = float("nan")
    assert watch.ratios(1) is None


def test_a_run_keeps_them(corpus, tmp_path):
    made = create_run(
        tmp_path / "run",
        model=model_config(corpus),
        train=train_config(steps=4, checkpoints=3),
        corpus=corpus,
        threads=1,
    )
    rows = train_run(made).metrics.query("kind == 'ratios'")
    assert rows.step.tolist()[0] == 1 and len(rows) >= 2
    assert 0 < rows["update"].iloc[0]["blocks.0.mlp.up.weight"] < 1
