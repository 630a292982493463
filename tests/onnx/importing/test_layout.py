"""Layouts: any sequence of reshapes and transpositions beside NumPy, and the layers it needs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper
from support.onnx_suite import import_proto, make

from minidl.common.errors import FileFormatError
from minidl.onnx.importing.layout import Axis, Value, moves, permutation, reorder, split_to


def factors(draw, size):
    """Return random sizes whose product is `size`."""
    sizes = []
    while size > 1 and len(sizes) < 3:
        choice = draw(st.sampled_from([n for n in range(1, size + 1) if size % n == 0]))
        sizes.append(choice)
        size //= choice
    return [*sizes, size] if size > 1 or not sizes else sizes


@st.composite
def steps(draw):
    """Draw an input shape, and reshapes and transpositions that keep the batch first."""
    shape = [2, *(draw(st.sampled_from([1, 2, 3, 4, 6])) for _ in range(draw(st.integers(1, 3))))]
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    y, nodes, constants = x, [], {}
    for i in range(draw(st.integers(1, 5))):
        if draw(st.booleans()):
            target = [0, *factors(draw, int(np.prod(y.shape[1:])))]
            constants[f"shape{i}"] = np.array(target, np.int64)
            nodes.append(helper.make_node("Reshape", [f"v{i}", f"shape{i}"], [f"v{i + 1}"]))
            y = y.reshape([2, *target[1:]])
        else:
            perm = [0, *draw(st.permutations(range(1, y.ndim)))]
            nodes.append(helper.make_node("Transpose", [f"v{i}"], [f"v{i + 1}"], perm=perm))
            y = y.transpose(perm)
    return x, y, nodes, constants


@given(case=steps())
def test_views_equal_numpy(case):
    x, y, nodes, constants = case
    flat = helper.make_node("Flatten", [nodes[-1].output[0]], ["flat"])
    model = import_proto(
        make([*nodes, flat], {"v0": ["N", *x.shape[1:]]}, {"flat": None}, constants)
    )
    is_channels_last = list(nodes[0].attribute[0].ints) == [0, 3, 1, 2] if nodes[0].attribute else 0
    is_image = x.ndim == 4 and not is_channels_last
    stored = np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if is_image else x
    np.testing.assert_array_equal(model.infer(stored), y.reshape(2, -1))


def test_opposite_transpositions_need_no_layer():
    nodes = [
        helper.make_node("Transpose", ["x"], ["a"], perm=[0, 2, 3, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Transpose", ["b"], ["y"], perm=[0, 3, 1, 2]),
        helper.make_node("GlobalAveragePool", ["y"], ["z"]),
    ]
    model = import_proto(make(nodes, {"x": ["N", 3, 4, 5]}, {"z": None}))
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == ["InputLayer", "ReLU", "GlobalAveragePooling2D"]
    assert model.input_shape == (None, 4, 5, 3)


def test_a_channel_shuffle_becomes_reshape_permute_reshape():
    shapes = {"split": np.array([0, 2, 3, 4, 4]), "join": np.array([0, 6, 4, 4])}
    nodes = [
        helper.make_node("Reshape", ["x", "split"], ["a"]),
        helper.make_node("Transpose", ["a"], ["b"], perm=[0, 2, 1, 3, 4]),
        helper.make_node("Reshape", ["b", "join"], ["y"]),
    ]
    model = import_proto(make(nodes, {"x": ["N", 6, 4, 4]}, {"y": None}, shapes))
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == ["InputLayer", "Reshape", "Permute", "Reshape"]
    x = np.arange(6.0).reshape(1, 1, 1, 6) * np.ones((1, 4, 4, 1))
    assert model.infer(x)[0, 0, 0].tolist() == [0, 3, 1, 4, 2, 5]


def test_moves_never_touch_the_batch():
    n, a, b = Axis(None), Axis(2), Axis(3)
    with pytest.raises(FileFormatError, match="mixes the samples"):
        moves(((n,), (a,), (b,)), ((a,), (n,), (b,)))
    with pytest.raises(FileFormatError, match="loses an axis"):
        moves(((n,), (a,), (b,)), ((n,), (a,)))


def test_open_sizes_can_be_permuted_and_joined_but_not_guessed():
    n, h, w, c = Axis(None), Axis(None), Axis(None), Axis(3)
    stored = ((n,), (h,), (w,), (c,))
    assert moves(stored, ((n,), (c,), (h,), (w,))).dims == (3, 1, 2)
    assert moves(stored, ((n,), (h, w, c))).joined == (-1,)
    with pytest.raises(FileFormatError, match="fixed size"):
        moves(stored, ((n,), (h,), (w, c), ()))


def test_an_axis_is_split_only_where_it_divides():
    x = Axis(6)
    value = Value(None, ((x,),), ((x,),))
    assert split_to(value, value.view, [4, 2]) is None
    assert split_to(value, value.view, [6, 2]) is None
    split = split_to(value, value.view, [2, 3])
    assert [axis.size for axis in split.stored[0]] == [2, 3]


def test_permutations_ignore_axes_of_size_one_only_in_the_view():
    n, c, h = Axis(None), Axis(2), Axis(3)
    value = Value(None, ((n,), (h,), (c,)), ((n,), (c,), (), (h,)))
    assert permutation(value) == (0, 3, 1)
    assert permutation(Value(None, ((n,), (h, c)), ((n,), (c,), (h,)))) is None


def test_reorder_along_a_later_axis():
    g, k = Axis(2), Axis(2)
    array = np.arange(8).reshape(2, 4)
    moved = reorder(array, (g, k), (k, g), axis=1)
    assert moved.tolist() == [[0, 2, 1, 3], [4, 6, 5, 7]]
