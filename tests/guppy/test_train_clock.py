"""Budgets of seconds against a clock of our own: the real trainer, but no real steps and no waiting."""

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
import torch
from ponds import events_of, make_corpus, train_config

from guppy.corpus import Corpus
from guppy.errors import GuppyError
from guppy.events import Checkpoint, Control, Cooldown, Event, Ratios, Step


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@dataclass
class Machine:
    """How long things take on it, in seconds; from `slow_from` on everything takes `slower` times as long."""

    step: float
    checkpoint: float
    first_checkpoint: float | None = None
    first_step: float | None = None
    prepare: float = 0.0
    slow_from: float = 1e9
    slower: float = 2.0
    now: float = 0.0
    shares: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def spend(self, seconds: float) -> None:
        self.now += seconds * (self.slower if self.now >= self.slow_from else 1.0)

    def train(
        self, monkeypatch: pytest.MonkeyPatch, corpus: Corpus, *, tell: Any = None, **settings: Any
    ) -> list[Event]:
        """The events of a run on this machine; `tell(event, control)` may give orders."""
        module, machine = sys.modules["guppy.train"], self
        monkeypatch.setattr(module.time, "perf_counter", lambda: machine.now)
        monkeypatch.setattr(module._Trainer, "measure", lambda trainer: iter(()))

        def prepare(*arguments: Any) -> Any:
            machine.spend(machine.prepare)
            return build(*arguments)

        build = module.build_optimizer
        monkeypatch.setattr(module, "build_optimizer", prepare)

        def learn(trainer: Any) -> Iterator[Ratios]:
            machine.shares.append(trainer.share(0.5, 0, trainer.pace.seconds / 2))
            machine.rates.append(trainer.rate(100))
            machine.spend(machine.step if machine.rates[1:] else machine.first_step or machine.step)
            trainer.step, trainer.tokens = trainer.step + 1, trainer.tokens + 100
            at = Step(trainer.step, trainer.tokens, trainer.seconds, 0.0, machine.rates[-1], 0.0, 0.0)
            trainer.pending.append((at, torch.tensor(1.0), torch.tensor(1.0)))
            yield from ()

        monkeypatch.setattr(module._Trainer, "learn", learn)
        control, events = Control(), []
        for event in events_of(corpus, train_config(**{"checkpoints": 24, "lr": 1e-3, **settings}), control=control):
            if isinstance(event, Checkpoint):
                first = self.first_checkpoint if event.step == 0 else None
                self.spend(self.checkpoint if first is None else first)
            if tell:
                tell(event, control)
            events.append(event)
        return events


BUDGETS = [
    (6, 0.02, 0.2),
    (6, 0.2, 0.5),
    (60, 0.02, 0.2),
    (60, 0.02, 3.0),
    (60, 0.2, 1.0),
    (60, 2.0, 0.2),
    (60, 2.0, 3.0),
    (480, 0.05, 0.2),
    (480, 0.05, 3.0),
    (480, 2.0, 3.0),
]


@pytest.mark.parametrize("slower", [1.0, 2.0, 0.5])
@pytest.mark.parametrize(("seconds", "step", "checkpoint"), BUDGETS)
def test_it_ends_in_time_and_decayed(corpus, monkeypatch, seconds, step, checkpoint, slower):
    machine = Machine(step, checkpoint, slow_from=seconds / 2, slower=slower)
    events = machine.train(monkeypatch, corpus, max_seconds=seconds)
    assert events[-1].status == "finished" and events[-1].decayed
    # Half a step is as near as steps can come.
    last = step * max(1.0, slower)
    assert abs(machine.now - seconds) <= max(0.05 * seconds, 0.5 * last + 0.01 * seconds)
    assert machine.shares[-1] >= min(0.97, 1 - last / seconds - 0.01)
    assert machine.rates[-1] <= max(0.08, 2.6 * last / seconds) * 1e-3
    assert max(machine.rates) == 1e-3


def checkpoints_of(events: list[Event]) -> list[Checkpoint]:
    return [event for event in events if isinstance(event, Checkpoint)]


def test_checkpoints_are_planned_as_for_steps_with_one_at_the_end(corpus, monkeypatch):
    machine = Machine(0.06, 0.2)
    taken = checkpoints_of(machine.train(monkeypatch, corpus, max_seconds=60))
    steps = [event.step for event in taken]
    assert len(steps) == 24 and steps[:6] == [0, 1, 2, 4, 8, 16] and steps[-1] == len(machine.shares)
    gaps = [b - a for a, b in pairwise(event.trainer.progress.seconds for event in taken[12:])]
    assert max(gaps) < 1.3 * min(gaps)


def test_costly_checkpoints_become_few(corpus, monkeypatch):
    machine = Machine(0.06, 1.5)
    taken = checkpoints_of(machine.train(monkeypatch, corpus, max_seconds=60))
    assert abs(machine.now - 60) < 0.5
    assert len(taken) == 4  # six seconds at 1.5 s each
    assert 0.3 < taken[2].trainer.progress.seconds / 60 < 0.7, "they do not all come at the beginning"


def test_a_slow_first_checkpoint_does_not_cost_the_others(corpus, monkeypatch):
    machine = Machine(0.06, 0.3, first_checkpoint=3.0)
    assert len(checkpoints_of(machine.train(monkeypatch, corpus, max_seconds=60))) >= 10


def test_a_slow_beginning_costs_time_but_no_warm_up(corpus, monkeypatch):
    """Building the model, the first evaluation and the first step: whatever warms up."""
    machine = Machine(0.02, 0.2, prepare=2.0, first_checkpoint=4.0, first_step=3.0)
    machine.train(monkeypatch, corpus, max_seconds=20, warmup=0.05)
    assert abs(machine.now - 20) < 0.5 and machine.shares[-1] > 0.97
    assert machine.shares[0] < 0.01 and machine.rates[0] < 1e-4


def test_no_checkpoint_takes_the_time_of_the_last_steps(corpus, monkeypatch):
    machine = Machine(0.02, 3.0)
    taken = checkpoints_of(machine.train(monkeypatch, corpus, max_seconds=60, checkpoints=200))
    assert taken[-1].step - taken[-2].step > 100 and machine.rates[-1] < 2e-5


def test_a_budget_that_is_over_before_the_first_step_is_a_sentence(corpus, monkeypatch):
    with pytest.raises(GuppyError, match=r"^The 2 s were over before the first step: it took 3\.0 s to begin; give 12"):
        Machine(0.02, 3.0).train(monkeypatch, corpus, max_seconds=2)


def test_pauses_do_not_count(corpus, monkeypatch):
    machine = Machine(0.06, 0.0)

    def wait(control: Control) -> float:
        machine.now += 500
        control.paused = False
        return 500.0

    def pause(event: Event, control: Control) -> None:
        control.paused = control.paused or (isinstance(event, Step) and event.step == 20)

    monkeypatch.setattr(Control, "wait", wait)
    machine.train(monkeypatch, corpus, tell=pause, max_seconds=5)
    assert abs(machine.now - 505) < 0.1


# -- cool-downs ----------------------------------------------------------------------------------


def cool_at(seconds: float) -> Any:
    def tell(event: Event, control: Control) -> None:
        control.cool = control.cool or (isinstance(event, Step) and event.seconds >= seconds)

    return tell


@pytest.mark.parametrize("slower", [1.0, 2.0])
@pytest.mark.parametrize("at", [6, 20, 34, 45, 50, 54, 57])
@pytest.mark.parametrize(("step", "checkpoint"), [(0.02, 0.2), (0.05, 3.0), (0.5, 1.0)])
def test_a_cool_down_is_as_long_as_it_said_and_never_beyond_the_budget(
    corpus, monkeypatch, step, checkpoint, at, slower
):
    machine = Machine(step, checkpoint, slow_from=at + 1, slower=slower)
    events = machine.train(monkeypatch, corpus, tell=cool_at(at), max_seconds=60)
    done = events[-1]
    assert machine.now <= 63 and done.decayed
    if at + checkpoint >= 60:  # it was making its last checkpoint already
        assert done.status == "finished"
        return
    (said,) = (event for event in events if isinstance(event, Cooldown))
    assert machine.rates[-1] < max(0.15 * machine.rates[said.step - 1], 0.51e-3 / said.steps, 0.08e-3)
    assert 1 <= said.steps <= math.ceil(said.step / 10) or done.status == "finished"
    if slower == 1.0:
        assert abs(done.step - said.step - said.steps) <= max(1, 0.15 * said.steps)
        assert machine.now == pytest.approx(at + said.seconds, abs=0.1 * said.seconds + checkpoint + 2 * step + 0.3)
    if done.status == "stopped":
        raw, end = checkpoints_of(events)[-2:]
        assert (raw.step, raw.cooled, end.step, end.cooled) == (said.step, False, done.step, True)


def test_a_slow_machine_is_given_no_longer_cool_down_than_it_may_have(corpus, monkeypatch):
    def tell(event: Event, control: Control) -> None:
        control.cooldown_seconds = 2.0
        cool_at(100)(event, control)

    machine = Machine(0.05, 0.2)
    events = machine.train(monkeypatch, corpus, tell=tell, max_seconds=480)
    (said,) = (event for event in events if isinstance(event, Cooldown))
    assert said.steps == 40 and events[-1].step == said.step + 40 and machine.rates[-1] < 2e-5
