from itertools import pairwise

import pytest

from guppy.budget import Budget, CheckpointPlan, Progress, checkpoint_steps
from guppy.config import TrainConfig


@pytest.mark.parametrize("steps", [1, 2, 5, 10, 100, 300, 1000, 2000, 20000])
@pytest.mark.parametrize("wanted", [2, 6, 12, 24])
def test_checkpoints_are_as_many_as_wanted_with_both_ends(steps, wanted):
    taken = checkpoint_steps(steps, wanted)
    assert taken[0] == 0 and taken[-1] == steps and taken == sorted(set(taken))
    assert min(steps + 1, wanted) - 1 <= len(taken) <= wanted


def test_they_double_then_they_are_even():
    taken = checkpoint_steps(2000, 24)
    assert taken[:9] == [0, 1, 2, 4, 8, 16, 32, 64, 128]
    gaps = [b - a for a, b in pairwise(taken[8:])]
    assert max(gaps) - min(gaps) <= 1


def test_few_checkpoints_of_a_long_run_reach_its_later_part():
    assert sum(step > 1000 for step in checkpoint_steps(5000, 12)) >= 4


def test_shares_count_from_the_start():
    start = Progress(100, 5000, 30.0)
    assert Budget(TrainConfig(steps=50), start).share(125, 0, 0) == 0.5
    assert Budget(TrainConfig(tokens=1000), start).share(0, 5250, 0) == 0.25
    assert Budget(TrainConfig(max_seconds=20), start).share(0, 0, 40.0) == 0.5
    assert Budget(TrainConfig(max_seconds=20), start).share(0, 0, 40.0, reserve=4) == 10 / 16
    assert Budget(TrainConfig(steps=50), start).share(125, 0, 0, reserve=4) == 0.5


def test_a_reserve_leaves_half_of_the_time_for_training():
    assert Budget(TrainConfig(max_seconds=10)).share(0, 0, 5.0, reserve=100) == 1.0


def test_only_seconds_limit_checkpoints():
    def affordable(cost, spent, share=1.0, **budget):
        return Budget(TrainConfig(**budget)).affordable(cost, spent, share)

    assert affordable(1.0, 100.0, steps=50) is None
    assert affordable(0.0, 0.0, max_seconds=600) is None
    assert affordable(2.0, 20.0, max_seconds=600) == 20  # a tenth of 600 s is 60 s
    assert affordable(0.5, 1.0, max_seconds=20) == 8  # a quarter of 20 s is 5 s
    assert affordable(0.5, 1.0, max_seconds=40) == 10  # 6 s
    assert affordable(2.0, 17.0, share=0.0, max_seconds=600) == 21  # a third of it at once
    assert affordable(2.0, 19.0, share=0.0, max_seconds=600) == 0
    assert affordable(2.0, 19.0, share=0.03, max_seconds=600) == 20


def test_what_cannot_be_afforded_is_not_due():
    plan = CheckpointPlan(wanted=24)
    plan.take(0, 0.0)
    assert plan.due(1, 0.01) and plan.due(1, 0.01, affordable=5)
    assert not plan.due(1, 0.01, affordable=1)
    assert not plan.due(500, 0.9, affordable=-3)


def test_a_plan_goes_on_from_its_json():
    plan, taken = CheckpointPlan(12), []
    for step in range(1, 1000):
        plan = CheckpointPlan(**plan.to_dict())
        if step == 1:
            plan.take(0, 0.0)
        if plan.due(step, step / 1000):
            plan.take(step, step / 1000)
            taken.append(step)
    assert [0, *taken, 1000] == checkpoint_steps(1000, 12)
