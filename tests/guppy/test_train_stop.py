"""Stopping early: raw or with a cool-down, and going on from either as if nothing had been."""

from itertools import pairwise

import pytest
import torch
from ponds import checkpoints_of, events_of, make_corpus, make_run, same, train_config

from guppy.corpus import Corpus
from guppy.errors import GuppyError
from guppy.events import Checkpoint, Control, Cooldown, Step, TrainerState
from guppy.runs import files, fork, open_run, resume_run, send, train_run, training


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Told(Control):
    """Told to cool down, to stop, and to wait a moment, after so many steps."""

    def __init__(self, cool: int = 0, stop: int = 0, pause: int = 0) -> None:
        self.at = {"cool": cool, "stop": stop, "paused": pause}
        self.steps = self.waited = 0

    def poll(self) -> None:
        self.steps += 1
        for name, step in self.at.items():
            if self.steps == step:
                setattr(self, name, True)

    def wait(self) -> float:
        self.waited += 1
        self.paused = False
        return 0.0


LONG = {"steps": 200, "checkpoints": 4, "warmup": 0.05, "decay": 0.4}


def test_a_cool_down_is_a_straight_line_over_a_tenth_of_the_steps(corpus):
    config = train_config(**LONG, min_lr=1e-4)
    events = list(events_of(corpus, config, control=Told(cool=100)))
    (said,) = (event for event in events if isinstance(event, Cooldown))
    assert (said.step, said.steps) == (100, 10) and said.seconds > 0
    rates = [event.lr for event in events if isinstance(event, Step)]
    assert len(rates) == 110 and rates[99] == config.lr
    assert rates[100:] == pytest.approx([3e-3 + (1e-4 - 3e-3) * (k + 0.5) / 10 for k in range(10)])
    done = events[-1]
    assert (done.step, done.status, done.decayed) == (110, "stopped", True)
    assert done.message.startswith("Cooled down over 10 steps after a stop at step 100; ended at step 110 after ")
    assert {event.step: event.cooled for event in events if isinstance(event, Checkpoint)}[100] is False
    assert {event.step: event.cooled for event in events if isinstance(event, Checkpoint)}[110] is True


def test_a_cool_down_takes_no_more_than_is_left(corpus):
    events = list(events_of(corpus, train_config(**{**LONG, "decay": 0.0}), control=Told(cool=193)))
    assert next(event.steps for event in events if isinstance(event, Cooldown)) == 7
    rates = [event.lr for event in events if isinstance(event, Step)]
    assert events[-1].step == 200 and all(b < a for a, b in pairwise(rates[192:])) and rates[-1] < 0.1 * rates[192]


def test_where_the_decay_ends_sooner_the_run_is_finished_as_if_never_stopped(corpus):
    config = train_config(**LONG)
    events = list(events_of(corpus, config, control=Told(cool=185)))
    assert next((event.step, event.steps) for event in events if isinstance(event, Cooldown)) == (185, 15)
    assert (events[-1].status, events[-1].step, events[-1].decayed) == ("finished", 200, True)
    assert same(checkpoints_of(iter(events))[200].weights, checkpoints_of(events_of(corpus, config))[200].weights)


@pytest.mark.parametrize("at", [100, 150])
def test_the_raw_checkpoint_goes_on_as_if_never_stopped(corpus, at):
    config = train_config(**LONG)
    whole = checkpoints_of(events_of(corpus, config))
    left = checkpoints_of(events_of(corpus, config, control=Told(cool=at)))[at]
    state = TrainerState.from_dict(left.trainer.to_dict(), left.trainer.tensors)
    rest = checkpoints_of(events_of(corpus, config, resume=state, init=left.weights))
    assert same(rest[200].weights, whole[200].weights)
    assert same(rest[200].trainer.tensors, whole[200].trainer.tensors)


def test_a_pause_in_a_cool_down_changes_nothing(corpus):
    config, paused = train_config(**LONG), Told(cool=100, pause=104)
    weights = [checkpoints_of(events_of(corpus, config, control=each))[110] for each in (Told(cool=100), paused)]
    assert paused.waited == 1 and same(weights[0].weights, weights[1].weights)


def test_a_pause_ends_with_the_order_to_cool_down():
    control = Told(cool=3)
    control.paused = True
    assert Control.wait(control) < 5 and control.steps == 3


def test_a_second_stop_ends_the_cool_down_at_once(corpus):
    events = list(events_of(corpus, train_config(**LONG), control=Told(cool=100, stop=104)))
    done = events[-1]
    assert (done.step, done.status, done.decayed) == (104, "stopped", False)
    assert done.message.startswith("Stopped at step 104 after ")
    assert done.message.endswith(", 4 steps into the cool-down of 10 from step 100.")
    assert checkpoints_of(iter(events))[104].cooled


def test_nothing_is_cooled_down_before_the_first_step(corpus):
    control = Told()
    control.cool = True
    events = list(events_of(corpus, train_config(**LONG), control=control))
    assert (events[-1].step, events[-1].status) == (0, "stopped") and list(checkpoints_of(iter(events))) == [0]


def test_a_cool_down_helps(corpus):
    """At a rate so high that the last steps are mostly noise, as it is in the stable phase of a real run."""
    config = train_config(steps=1000, checkpoints=2, lr=0.02, warmup=0.01, decay=0.1)
    events = events_of(corpus, config, control=Told(cool=400))
    losses = [event.loss for event in events if hasattr(event, "masked_loss")]
    assert losses[-1] < losses[-2] - 0.02


# -- on disk -------------------------------------------------------------------------------------


@pytest.fixture
def cooled(corpus, tmp_path):
    """A run that was stopped at step 100 and cooled down to 110."""
    run = train_run(make_run(tmp_path / "cooled", corpus, **LONG), Told(cool=100), corpus=corpus)
    assert run.status == "stopped" and run.steps[-2:] == [100, 110]
    return run


def test_the_manifest_tells_of_it(cooled):
    assert cooled.manifest["stop"] == {"step": 100, "cooldown_steps": 10}
    assert cooled.manifest["message"].startswith("Cooled down over 10 steps") and cooled.manifest["steps_done"] == 110
    kept = [step for step in cooled.steps if (cooled.step_path(step) / files.TRAINER_TENSORS).exists()]
    assert kept[-1] == 100
    rates = cooled.metrics.query("kind == 'step' and step > 100").lr
    assert len(rates) == 10 and rates.is_monotonic_decreasing


def test_it_resumes_from_before_the_cool_down(cooled, corpus, tmp_path):
    whole = train_run(make_run(tmp_path / "whole", corpus, **LONG), corpus=corpus)
    resumed = resume_run(cooled, corpus=corpus)
    assert resumed.status == "finished" and resumed.manifest["stop"] is None
    assert same(resumed.weights(), whole.weights())
    assert set(resumed.steps) == {*whole.steps, 100}, "the end of the cool-down is gone"
    kept = ["kind", "step", "tokens", "loss", "lr", "grad_norm"]
    told = [run.metrics[run.metrics.kind == "step"][kept].reset_index(drop=True) for run in (resumed, whole)]
    assert told[0].equals(told[1])


@pytest.mark.parametrize("step", [100, 110])
def test_both_ends_can_be_forked(cooled, corpus, tmp_path, step):
    more = {} if step == 100 else {"steps": 20}
    child = train_run(fork(cooled, step, out=tmp_path / "child", corpus=corpus, **more), corpus=corpus)
    assert child.status == "finished" and child.last_step == (200 if step == 100 else 130)
    assert open_run(cooled.path).steps[-1] == 110
    if step == 100:
        whole = train_run(make_run(tmp_path / "whole", corpus, **LONG), corpus=corpus)
        assert same(child.weights(), whole.weights())


def test_killed_in_its_cool_down_it_goes_on_from_before_it(corpus, tmp_path):
    run = make_run(tmp_path / "run", corpus, **LONG)
    events = training(run, Told(cool=100), corpus=corpus)
    next(event for event in events if isinstance(event, Step) and event.step == 104)
    events.close()
    assert open_run(run.path).manifest["stop"] == {"step": 100, "cooldown_steps": 10}
    whole = train_run(make_run(tmp_path / "whole", corpus, **LONG), corpus=corpus)
    assert same(resume_run(run, corpus=corpus).weights(), whole.weights())


def test_a_command_in_its_directory_cools_it_down(corpus, tmp_path):
    run = make_run(tmp_path / "run", corpus, **{**LONG, "steps": 100_000})
    for event in training(run, corpus=corpus):
        if isinstance(event, Step) and event.step == 20:
            send(run.path, "cool")
        if isinstance(event, Cooldown):
            assert open_run(run.path).manifest["stop"] == {"step": event.step, "cooldown_steps": event.steps}
    stopped = open_run(run.path)
    assert stopped.status == "stopped" and not (run.path / files.CONTROL).exists()
    assert stopped.last_step == stopped.manifest["stop"]["step"] + stopped.manifest["stop"]["cooldown_steps"]


def test_a_stop_in_the_schedules_own_decay_is_a_raw_one(corpus, tmp_path):
    run = train_run(make_run(tmp_path / "run", corpus, **LONG), Told(cool=185, stop=190), corpus=corpus)
    assert run.status == "stopped" and run.last_step == 190 and run.manifest["stop"] is None
    whole = train_run(make_run(tmp_path / "whole", corpus, **LONG), corpus=corpus)
    assert same(resume_run(run, corpus=corpus).weights(), whole.weights())


def test_manifests_from_before_are_read(cooled, corpus):
    manifest = {key: value for key, value in cooled.manifest.items() if key != "stop"}
    files.write_json(cooled.path / files.MANIFEST, manifest | {"status": "stopped"})
    files.drop_steps(cooled.path, 100)
    assert resume_run(cooled.path, corpus=corpus).status == "finished"


def test_a_budget_too_short_to_begin_is_a_sentence(corpus, tmp_path):
    run = make_run(tmp_path / "run", corpus, max_seconds=1e-6)
    with pytest.raises(GuppyError, match="were over before the first step"):
        train_run(run, corpus=corpus)
    assert open_run(run.path).status == "failed"
