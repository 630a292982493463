import json
import math

import pytest

from minidl.optimizers import SGD, schedules
from minidl.optimizers.schedules import (
    CosineDecay,
    ExponentialDecay,
    LearningRateSchedule,
    PiecewiseConstantDecay,
    StepDecay,
)

ALL = [
    ExponentialDecay(0.1, 10, 0.5),
    ExponentialDecay(0.1, 10, 0.5, staircase=True),
    PiecewiseConstantDecay([5, 10], [0.1, 0.01, 0.001]),
    StepDecay(0.1, 10, 0.5),
    CosineDecay(0.1, 20, alpha=0.1, warmup_target=0.2, warmup_steps=5),
]


def test_exponential_decay():
    smooth, stairs = ALL[:2]
    assert smooth(5) == pytest.approx(0.1 * math.sqrt(0.5))
    assert [stairs(step) for step in (0, 9, 10, 25)] == [0.1, 0.1, 0.05, 0.025]


def test_piecewise_constant_decay_changes_after_its_boundary():
    assert [ALL[2](step) for step in (0, 5, 6, 10, 11)] == [0.1, 0.1, 0.01, 0.01, 0.001]


def test_step_decay():
    assert [ALL[3](step) for step in (0, 9, 10, 29)] == [0.1, 0.1, 0.05, 0.025]


def test_cosine_decay_warms_up_then_falls_to_alpha_and_stays():
    schedule = ALL[4]
    assert schedule(0) == 0.1
    assert schedule(4) == pytest.approx(0.18)
    assert schedule(5) == pytest.approx(0.2)
    assert schedule(15) == pytest.approx(0.2 * 0.55)  # half-way between 1 and alpha
    assert schedule(25) == schedule(1000) == pytest.approx(0.02)


@pytest.mark.parametrize("schedule", ALL, ids=lambda schedule: schedule.name)
def test_a_schedule_survives_json(schedule):
    config = {"class_name": type(schedule).__name__, "config": schedule.get_config()}
    again = schedules.get(json.loads(json.dumps(config)))
    assert [again(step) for step in range(30)] == [schedule(step) for step in range(30)]


def test_schedules_can_be_imported_where_keras_has_them():
    from minidl.optimizers.schedules import CosineDecay as Found

    assert Found is CosineDecay


def test_an_optimizer_follows_its_schedule_and_a_custom_one():
    class Halving(LearningRateSchedule):
        def __call__(self, step):
            return 2.0**-step

    optimizer = SGD(Halving())
    rates = []
    for _ in range(3):
        rates.append(optimizer.current_learning_rate())
        optimizer.apply([], [])
    assert rates == [1, 0.5, 0.25]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ExponentialDecay(0.1, 0, 0.5), "decay_steps to be a number > 0"),
        (lambda: ExponentialDecay(-0.1, 10, 0.5), "rates to be a number >= 0, received -0.1"),
        (lambda: StepDecay(0.1, 10, 0), "factor to be a number > 0"),
        (lambda: PiecewiseConstantDecay([5], [0.1]), "one value more than boundaries"),
        (lambda: PiecewiseConstantDecay([5, 5], [3, 2, 1]), "increasing boundaries"),
        (lambda: CosineDecay(0.1, -1), "decay_steps to be a number > 0"),
        (lambda: CosineDecay(0.1, 10, warmup_steps=5), "needs a warmup_target"),
    ],
)
def test_wrong_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
