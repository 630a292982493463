"""LearningRateScheduler."""

import pytest
from support.scripted import fit
from support.tiny import classifier, refused

from minidl.callbacks import (
    LearningRateScheduler,
)


@pytest.mark.parametrize(
    "schedule", [lambda epoch: 0.1 / 2**epoch, lambda epoch, rate: rate / 2 if epoch else 0.1]
)
def test_learning_rate_scheduler(schedule, capsys):
    model = classifier()
    _, history = fit(LearningRateScheduler(schedule, verbose=1), model=model, epochs=3)
    assert history.history["learning_rate"] == [0.1, 0.05, 0.025]
    assert capsys.readouterr().out.splitlines()[-1] == "Epoch 3: learning rate 0.025"


def test_learning_rate_scheduler_refuses_what_is_no_rate():
    with refused(TypeError, "LearningRateScheduler", "function", "0.1"):
        LearningRateScheduler(0.1)
    with refused(TypeError, "LearningRateScheduler", "number", "'fast'"):
        fit(LearningRateScheduler(lambda epoch: "fast"))
    with refused(ValueError, "learning_rate", ">= 0", "-1"):
        fit(LearningRateScheduler(lambda epoch: -1))

    def fails(epoch, rate):
        return epoch + "1"

    with pytest.raises(TypeError, match="unsupported operand"):  # not hidden by a second try
        fit(LearningRateScheduler(fails))
