import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from ponds import checkpoints_of, events_of, make_corpus, model_config, same, train_config

from guppy.batches import heldout_batches
from guppy.budget import checkpoint_steps
from guppy.config import TrainConfig
from guppy.corpus import Corpus
from guppy.errors import GuppyError
from guppy.evaluate import heldout_loss
from guppy.events import Checkpoint, Control, Done, Eval, Ratios, Sample, Step, TrainerState
from guppy.generate import generate
from guppy.model import Guppy
from guppy.optim import learning_rate
from guppy.precision import Precision
from guppy.surgery import Surgery


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# -- what it says ------------------------------------------------------------------------------


def test_events_come_in_order(corpus):
    events = list(events_of(corpus, train_config(steps=10)))
    taken = checkpoint_steps(10, 6)
    assert [event.step for event in events if isinstance(event, Checkpoint)] == taken
    for step in taken:
        kinds = [type(event) for event in events if event.step == step and not isinstance(event, (Done, Ratios))]
        expected = [Eval, *[Sample] * len(corpus.probes), Checkpoint]
        assert kinds == ([Step, *expected] if step else expected)
    assert [event.step for event in events if isinstance(event, Step)] == list(range(1, 11))
    assert [event.step for event in events] == sorted(event.step for event in events)
    assert events[-1] == Done(10, "finished", events[-1].message, decayed=True)


def test_numbers_are_what_they_say(corpus):
    config = train_config(steps=4, grad_clip=1e9)
    events = list(events_of(corpus, config))
    first = next(event for event in events if isinstance(event, Step))
    start = next(event for event in events if isinstance(event, Eval))
    assert abs(first.loss - math.log(model_config(corpus).vocab_size)) < 0.02 * first.loss
    assert first.tokens > 0 and first.grad_norm > 0
    weights = checkpoints_of(iter(events))[4].weights
    model = Guppy(model_config(corpus)).eval()
    assert math.isclose(start.loss, heldout_loss(model, heldout_batches(corpus.heldout, 64, 24, 0, 8)), rel_tol=1e-6)
    model.load_state_dict(weights)
    end = [event for event in events if isinstance(event, Eval)][-1]
    assert math.isclose(end.loss, heldout_loss(model, heldout_batches(corpus.heldout, 64, 24, 0, 8)), rel_tol=1e-6)
    assert end.masked_loss == end.loss and end.future_mass == 0
    said = {event.prompt: event.text for event in events if isinstance(event, Sample) and event.step == 4}
    (reply,) = generate(model, corpus.tokenizer, [corpus.encode_probe(corpus.probes[0])], max_tokens=4)
    assert said[corpus.probes[0]] == reply.text


def test_a_step_is_one_update_by_the_clipped_gradient(corpus):
    """The first update by hand: AdamW's first step has the size of the learning rate in each direction."""
    config = train_config(steps=4, weight_decay=0, warmup=0, decay=0, lr=0.01, optimizer="adamw")
    checkpoints = checkpoints_of(events_of(corpus, config))
    moved = [checkpoints[1].weights[name] - checkpoints[0].weights[name] for name in checkpoints[0].weights]
    sizes = torch.cat([delta.abs().flatten() for delta in moved])
    assert sizes.max() <= 0.01001 and (sizes > 0.0099).float().mean() > 0.5


def test_it_learns(corpus):
    evals = [event for event in events_of(corpus, train_config(steps=150, lr=0.01)) if isinstance(event, Eval)]
    assert evals[-1].loss < 0.45 * evals[0].loss


def test_surgery_trains_too(corpus):
    events = events_of(corpus, train_config(steps=3), surgery=Surgery(causal_mask=False))
    evals = [event for event in events if isinstance(event, Eval)]
    assert all(event.loss != event.masked_loss and event.future_mass > 0.2 for event in evals)


def test_twins_start_alike(corpus):
    surgeries = (Surgery(), Surgery(causal_mask=False), Surgery(mlp_off=(0,)))
    first = [checkpoints_of(events_of(corpus, train_config(steps=1), surgery=surgery))[0] for surgery in surgeries]
    assert same(first[0].weights, first[1].weights) and same(first[0].weights, first[2].weights)


def test_long_runs_thin_their_rows_and_lose_no_loss(corpus, monkeypatch):
    module = __import__("sys").modules["guppy.train"]
    every = [event for event in events_of(corpus, train_config(steps=20)) if isinstance(event, Step)]
    monkeypatch.setattr(module, "ROWS_PER_THINNING", 4)
    thinned = [event for event in events_of(corpus, train_config(steps=20)) if isinstance(event, Step)]
    assert len(thinned) < len(every) == 20
    taken, previous = {event.step: event.loss for event in every}, 0
    for row in thinned:
        window = [taken[step] for step in range(previous + 1, row.step + 1)]
        assert math.isclose(row.loss, sum(window) / len(window), rel_tol=1e-6)
        previous = row.step
    assert previous == 20


def test_the_rate_follows_the_schedule(corpus):
    config = train_config(steps=20, warmup=0.2, decay=0.5)
    rates = [event.lr for event in events_of(corpus, config) if isinstance(event, Step)]
    assert rates == [learning_rate((step + 0.5) / 20, config) for step in range(20)]
    assert min(rates) > 0


# -- budgets -----------------------------------------------------------------------------------


def test_a_budget_of_tokens_ends_nearest_to_it(corpus):
    events = list(events_of(corpus, train_config(tokens=3000)))
    steps = [event for event in events if isinstance(event, Step)]
    batches = [b.tokens - a.tokens for a, b in pairwise(steps)]
    assert abs(steps[-1].tokens - 3000) <= max(batches) / 2 + sum(batches) / len(batches) / 2
    assert events[-1].status == "finished"
    assert len(checkpoints_of(iter(events))) == 6


def test_waiting_ends_with_an_order(monkeypatch):
    class Impatient(Control):
        polls = 0

        def poll(self) -> None:
            self.polls += 1
            self.paused = self.polls < 3

    control = Impatient()
    control.paused = True
    assert 0.05 < control.wait() < 5 and control.polls == 3


# -- stopping and going on -----------------------------------------------------------------------


def stopped_at(step: int) -> Control:
    class Stop(Control):
        steps = 0

        def poll(self) -> None:
            self.steps += 1
            self.stop = self.steps == step

    return Stop()


CASES = {
    "steps": ({"steps": 20}, {}),
    "tokens": ({"tokens": 3500}, {}),
    "dropout": ({"steps": 20}, {"dropout": 0.3}),
    "bfloat16": ({"steps": 20, "dtype": "bfloat16"}, {}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("at", [1, 7, 13])
def test_stopped_and_resumed_is_never_stopped(corpus, case, at):
    settings, model = CASES[case]
    config = train_config(**settings)
    whole = checkpoints_of(events_of(corpus, config, model=model))
    events = list(events_of(corpus, config, model=model, control=stopped_at(at)))
    assert events[-1].status == "stopped" and events[-1].step == at
    left = checkpoints_of(iter(events))[at]
    # Through JSON and back, as a run on disk does.
    state = TrainerState.from_dict(left.trainer.to_dict(), left.trainer.tensors)
    rest = list(events_of(corpus, config, model=model, resume=state, init=left.weights))
    resumed = checkpoints_of(iter(rest))
    assert rest[-1].status == "finished"
    assert resumed.keys() == {step for step in whole if step > at}
    for step, checkpoint in resumed.items():
        assert same(checkpoint.weights, whole[step].weights), step
        assert same(checkpoint.trainer.tensors, whole[step].trainer.tensors), step


def test_resuming_where_it_ended_only_says_so(corpus):
    config = train_config(steps=3)
    last = checkpoints_of(events_of(corpus, config))[3]
    assert [type(e) for e in events_of(corpus, config, resume=last.trainer, init=last.weights)] == [Done]


def test_checkpoints_are_copies(corpus):
    kept = {}
    for event in events_of(corpus, train_config(steps=5)):
        if isinstance(event, Checkpoint):
            kept[event.step] = (event, {name: tensor.clone() for name, tensor in event.weights.items()})
    for event, weights in kept.values():
        assert same(event.weights, weights)
        assert all(tensor.dtype == torch.float32 for tensor in weights.values())


def test_dropout_leaves_the_callers_random_numbers_alone(corpus):
    events = events_of(corpus, train_config(steps=3), model={"dropout": 0.2})
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert len(list(events)) > 3
    assert torch.equal(torch.rand(3), expected)


def test_the_seed_decides(corpus):
    def last(seed: int) -> dict[str, torch.Tensor]:
        return checkpoints_of(events_of(corpus, train_config(steps=3, seed=seed)))[3].weights

    assert same(last(1), last(1)) and not same(last(1), last(2))


def test_float16_goes_on_with_its_scale(corpus, monkeypatch):
    """A loss scaler on the CPU stands for the one on a T4."""
    module = __import__("sys").modules["guppy.train"]
    monkeypatch.setattr(module, "pick_precision", lambda *_: Precision(torch.device("cpu"), torch.float16, "test"))
    config = train_config(steps=8)
    whole = checkpoints_of(events_of(corpus, config))
    state = whole[4].trainer
    assert state.scaler["scale"] > 1
    rest = checkpoints_of(events_of(corpus, config, resume=state, init=whole[4].weights))
    assert same(rest[8].weights, whole[8].weights)
    assert rest[8].trainer.scaler == whole[8].trainer.scaler


# -- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize("lr", [1e4, 1e18, 1e38])
def test_a_diverged_run_stops_before_it_keeps_anything_broken(corpus, lr):
    config = train_config(steps=200, lr=lr, warmup=0, decay=0)
    events = list(events_of(corpus, config, surgery=Surgery(layernorm=False)))
    done = events[-1]
    assert isinstance(done, Done) and done.status == "diverged"
    assert "--lr" in done.message and done.message.count(".") >= 1 and "\n" not in done.message
    for event in events:
        if isinstance(event, Checkpoint):
            assert all(tensor.isfinite().all() for tensor in event.weights.values())
        if isinstance(event, Step | Eval):
            assert math.isfinite(event.loss)
    assert 0 in checkpoints_of(iter(events))


def test_an_infinite_gradient_is_a_divergence_though_the_loss_is_finite(corpus, monkeypatch):
    original = torch.nn.utils.clip_grad_norm_
    calls = Counter()

    def explode(parameters, limit):
        calls["steps"] += 1
        return original(parameters, limit) * (math.inf if calls["steps"] == 6 else 1.0)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", explode)
    events = list(events_of(corpus, train_config(steps=12)))
    assert events[-1].status == "diverged" and "step 6" in events[-1].message
    assert max(checkpoints_of(iter(events))) <= 5


def test_a_corpus_with_more_tokens_than_the_model_is_refused_at_once(corpus):
    from guppy.train import train

    small = replace(model_config(corpus), vocab_size=64)
    with pytest.raises(GuppyError, match="The model knows 64 tokens"):
        train(small, TrainConfig(steps=1), corpus)


def test_a_head_that_is_not_there_is_refused_at_once(corpus):
    with pytest.raises(GuppyError, match="no layer 7"):
        events_of(corpus, train_config(), surgery=Surgery(mlp_off=(7,)))


def test_a_state_of_something_else_is_refused():
    with pytest.raises(GuppyError, match="cannot be read"):
        TrainerState.from_dict({"progress": {}}, {})
    with pytest.raises(GuppyError, match="cannot be read"):
        TrainerState.from_dict(TrainerState().to_dict() | {"colour": "red"}, {})
