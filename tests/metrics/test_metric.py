"""The weighted mean."""

import pytest

from minidl.metrics import Mean


def test_mean_of_values():
    mean = Mean("loss")
    mean.update_state(2.0, sample_weight=3)
    mean.update_state([1.0, 5.0])
    assert mean.result() == pytest.approx(12 / 5)
    mean.reset_state()
    mean.update_state([[1.0, 3.0], [5.0, 7.0]], sample_weight=[3, 1])
    assert mean.result() == 3.0
