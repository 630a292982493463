"""State dicts: both forms of files, every type of numbers, strides, wraps; what is not one."""

from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pytorch_files import BFloat16, WithMetadata, torch_bytes
from support.tiny import refused

from minidl.common.errors import FileFormatError
from minidl.formats.pytorch.state_dict import read_state_dict
from minidl.formats.reading import read_weight_file

FORMS = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])


def numbers(*shape, dtype="f4", seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(dtype)


NETWORK = OrderedDict(
    {
        "conv.weight": numbers(4, 3, 2, 5),
        "conv.bias": numbers(4),
        "bn.weight": numbers(4, seed=1),
        "bn.bias": numbers(4, seed=2),
        "bn.running_mean": numbers(4, seed=3),
        "bn.running_var": numbers(4, seed=4) ** 2,
        "bn.num_batches_tracked": np.array(17, "i8"),
        "fc.weight": numbers(6, 4),
        "fc.bias": numbers(6),
    }
)


@pytest.fixture
def read(tmp_path):
    def read(content):
        path = tmp_path / "model.pth"
        path.write_bytes(content)
        return read_state_dict(path)

    return read


def layers_of(file):
    return {layer.name: layer.tensors for layer in file.layers}


@FORMS
def test_layers_roles_and_layouts(read, legacy):
    file = read(torch_bytes(NETWORK, legacy))
    found = layers_of(file)
    assert list(found) == ["conv", "bn", "fc"]
    # (out, in, height, width) -> (height, width, in, out), and (out, in) -> (in, out)
    kernel = np.moveaxis(NETWORK["conv.weight"], [0, 1], [3, 2])
    np.testing.assert_array_equal(found["conv"]["kernel"], kernel, strict=True)
    np.testing.assert_array_equal(found["conv"]["bias"], NETWORK["conv.bias"], strict=True)
    np.testing.assert_array_equal(found["fc"]["kernel"], NETWORK["fc.weight"].T, strict=True)
    roles = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean"}
    for theirs, ours in {**roles, "running_var": "moving_variance"}.items():
        np.testing.assert_array_equal(found["bn"][ours], NETWORK[f"bn.{theirs}"], strict=True)
    assert file.ignored == ("bn.num_batches_tracked",)
    assert file.layers[0].places == {"kernel": "conv.weight", "bias": "conv.bias"}


@FORMS
def test_the_content_decides_and_not_the_name(tmp_path, legacy):
    path = tmp_path / "model.h5"
    path.write_bytes(torch_bytes(NETWORK, legacy))
    form = "PyTorch state dict (legacy form)" if legacy else "PyTorch state dict"
    assert read_weight_file(path).dialect == form


@FORMS
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_types_of_numbers_are_kept(read, legacy, dtype):
    array = numbers(3, 2, dtype=dtype)
    kernel = layers_of(read(torch_bytes({"a.weight": array}, legacy)))["a"]["kernel"]
    np.testing.assert_array_equal(kernel, array.T, strict=True)
    kernel[0] = 5  # it can be written to


@FORMS
def test_bfloat16_becomes_float32_exactly(read, legacy):
    array = np.array([1.5, -3.25, 2.0**-100], np.float32)  # their lower halves are zero
    found = layers_of(read(torch_bytes({"a.bias": BFloat16(array)}, legacy)))
    np.testing.assert_array_equal(found["a"]["bias"], array, strict=True)


@given(
    shape=st.lists(st.integers(1, 4), min_size=4, max_size=4),
    order=st.permutations(range(4)),
    before=st.integers(0, 5),
    after=st.integers(0, 5),
    legacy=st.booleans(),
)
def test_offsets_and_permuted_strides(tmp_path_factory, shape, order, before, after, legacy):
    count = int(np.prod(shape))
    storage = np.arange(before + count + after, dtype="f4")
    view = storage[before : before + count].reshape(shape).transpose(order)
    view = np.lib.stride_tricks.as_strided(view, view.shape, view.strides)
    path = tmp_path_factory.mktemp("strides") / "a.pt"
    path.write_bytes(torch_bytes({"a.weight": view}, legacy))
    found = layers_of(read_state_dict(path))["a"]["kernel"]
    np.testing.assert_array_equal(found, view.transpose(2, 3, 1, 0), strict=True)


def test_strides_of_axes_with_one_element_mean_nothing(read):
    array = np.lib.stride_tricks.as_strided(numbers(3), (3, 1), (4, 4_000_000))
    assert layers_of(read(torch_bytes({"a.weight": array})))["a"]["kernel"].shape == (1, 3)


@FORMS
def test_the_attribute_of_modules_is_accepted(read, legacy):
    file = read(torch_bytes(WithMetadata(NETWORK), legacy))
    assert list(layers_of(file)) == ["conv", "bn", "fc"]


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "net"])
def test_wraps_of_training_scripts(read, key):
    optimizer = {"state": {0: {"exp_avg": numbers(2)}}, "param_groups": [{"lr": 0.1}]}
    file = read(torch_bytes({"epoch": 3, key: NETWORK, "optimizer": optimizer, "best": None}))
    assert list(layers_of(file)) == ["conv", "bn", "fc"]
    assert file.ignored == ("bn.num_batches_tracked", "epoch", "optimizer", "best")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model."])
def test_names_of_wrapping_modules_become_the_scope(read, prefix):
    file = read(torch_bytes({f"{prefix}{name}": array for name, array in NETWORK.items()}))
    assert list(layers_of(file)) == ["conv", "bn", "fc"]
    assert {layer.scope for layer in file.layers} == {prefix.rstrip(".").replace(".", "/")}


def test_a_module_of_that_name_beside_others_is_no_wrap(read):
    file = read(torch_bytes({"model.weight": numbers(2, 2), "head.weight": numbers(2, 2)}))
    assert list(layers_of(file)) == ["model", "head"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, ["state dict", "dict of nothing"]),
        (5, ["int"]),
        ([1], ["list"]),
        ({"epoch": 1, "lr": 0.5}, ["epoch, lr", "torch.save"]),
        ({"a.weight": numbers(2, 2), "b": 7}, ["'b'", "int"]),
        ({"model": {"a.bias": numbers(2)}, "net": {"a.bias": numbers(2)}}, ["several", "net"]),
        ({"a.weight": numbers(2, 2, 2)}, ["'a.weight'", "(2, 2, 2)", "role"]),
        ({"a.weight": numbers(2, 2, 2, 2, 2)}, ["role"]),
        ({"weight": numbers(2, 2)}, ["'weight'", "role"]),
        ({"a.in_proj_weight": numbers(2, 2)}, ["role"]),
        ({"a.bias": numbers(2, 2)}, ["role"]),
        ({"a.weight": np.ones((2, 2), "i8")}, ["LongStorage", "float32"]),
        ({"a.weight": np.ones((2, 2), "b1")}, ["BoolStorage"]),
        ({"a.weight": np.ones((0, 2), "f4")}, ["(0, 2)"]),
        ({"a.bias": np.array([1, np.nan], "f4")}, ["a.bias", "NaN"]),
    ],
)
def test_what_is_no_state_dict_is_refused(read, content, words):
    with refused(FileFormatError, "model.pth", *words):
        read(torch_bytes(content))
