"""Parameter: read-only values, versions, copies."""

import copy
import pickle

import numpy as np
import pytest

from minidl.common.errors import ShapeError
from minidl.layers import BatchNormalization, Dense, Parameter


def test_a_value_is_read_only():
    parameter = Parameter("kernel", np.zeros((2, 2)))
    with pytest.raises(ValueError, match="read-only"):
        parameter.value[...] = 1
    with pytest.raises(AttributeError):
        parameter.value = np.ones((2, 2))
    assert parameter.version == 0
    assert not parameter.value.any()


def test_editing_changes_the_numbers_and_ends_with_the_block():
    parameter = Parameter("kernel", np.zeros((2, 2)))
    with parameter.editing() as array:
        array[0] = 3
    np.testing.assert_array_equal(parameter.value, [[3, 3], [0, 0]])
    assert parameter.version == 1
    with pytest.raises(ValueError, match="read-only"):
        array[1] = 4
    with parameter.editing() as array:  # blocks may be repeated
        array[1] = 4
    assert parameter.value[1, 0] == 4


def test_an_edit_that_fails_raises_the_version():
    parameter = Parameter("kernel", np.zeros(2))
    with pytest.raises(ZeroDivisionError), parameter.editing() as array:
        array[0] = 1 // 0
    assert parameter.version == 1


def test_assign_copies_converts_and_checks_the_shape():
    parameter = Parameter("kernel", np.zeros((2, 3), np.float32))
    given = np.arange(6.0).reshape(3, 2).T
    parameter.assign(given)
    given[...] = 9
    np.testing.assert_array_equal(parameter.value, [[0, 2, 4], [1, 3, 5]])
    assert parameter.value.dtype == np.float32
    assert parameter.array.flags.c_contiguous
    assert parameter.version == 1
    with pytest.raises(ShapeError, match=r"kernel: expected shape \(2, 3\), received \(6,\)"):
        parameter.assign(np.zeros(6))
    assert parameter.version == 1


def test_read_only_arrays_are_copied():
    array = np.zeros((3, 2)).T
    array.flags.writeable = False
    parameter = Parameter("kernel", array)
    assert parameter.array.flags.c_contiguous
    with parameter.editing() as editable:
        editable[...] = 1
    assert not array.any()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_are_independent(duplicate):
    layer = Dense(2)
    layer.build((None, 3))
    other = duplicate(layer)
    before = layer.kernel.value.copy()
    with other.kernel.editing() as array:
        array += 1
    np.testing.assert_array_equal(other.kernel.value, before + 1)
    np.testing.assert_array_equal(layer.kernel.value, before)
    assert other.kernel.layer is other


def test_training_raises_the_versions_of_moving_statistics():
    layer = BatchNormalization()
    layer.build((None, 2))
    versions = [p.version for p in (layer.moving_mean, layer.moving_variance)]
    layer.forward(np.eye(2, dtype=np.float32))
    assert [p.version for p in (layer.moving_mean, layer.moving_variance)] == versions
    layer.forward(np.eye(2, dtype=np.float32), training=True)
    assert layer.moving_mean.version > versions[0]
    assert layer.moving_variance.version > versions[1]


def test_assign_names_the_parameter_whose_shape_is_wrong():
    layer = Dense(2, name="head")
    layer(np.ones((2, 3)))
    with pytest.raises(ShapeError, match=r"head/bias: expected shape \(2,\), received \(3,\)"):
        layer.bias.assign(np.zeros(3))


def test_a_parameter_is_trainable_if_it_is_learned_and_its_layer_trainable():
    layer = Dense(1)
    assert Parameter("free", np.ones((2, 3))).trainable
    assert Parameter("free", np.ones((2, 3))).path == "free"
    parameter, statistic = (
        Parameter("w", np.ones((2, 3)), layer=layer),
        Parameter("m", np.ones((2, 3)), False, layer=layer),
    )
    assert (parameter.trainable, statistic.trainable) == (True, False)
    layer.trainable = False
    assert not parameter.trainable
    assert "frozen" in repr(parameter)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 1e300], "kernel: 1e\\+300 is too large for float32"),
        ([1j, 0], "kernel: expected real numbers, received complex128"),
        (["a", "b"], "kernel: expected real numbers"),
        ([1, -2], "kernel: expected numbers >= 0, received -2"),
    ],
)
def test_numbers_that_do_not_fit_are_refused_and_change_nothing(value, message):
    parameter = Parameter("kernel", np.ones(2, "float32"), minimum=0)
    with pytest.raises(ValueError, match=message):
        parameter.assign(value)
    assert parameter.value.tolist() == [1, 1]
    assert parameter.version == 0


def test_infinity_and_nan_of_a_diverged_training_are_accepted():
    parameter = Parameter("variance", np.ones(2, "float32"), minimum=0)
    parameter.assign(np.array([np.inf, np.nan]))
    assert np.isinf(parameter.value[0])


def test_a_layer_with_one_refused_array_keeps_all_its_weights():
    layer = BatchNormalization()
    layer.build((None, 2))
    former = layer.get_weights()
    with pytest.raises(ValueError, match="moving_variance: expected numbers >= 0"):
        layer.set_weights([[5, 5], [5, 5], [5, 5], [1, -1]])
    np.testing.assert_array_equal(layer.get_weights(), former)
