"""Layers are named as Keras names them, once for all networks that contain them."""

import pytest

from minidl import Input, Model, layers
from minidl.layers.names import NameScope, snake_case


def test_layers_are_numbered_in_the_order_of_construction():
    first, second, third = (layers.Dense(2) for _ in range(3))
    NameScope().resolve("Model 'a'", [third, first, second])
    assert [layer.name for layer in (first, second, third)] == ["dense", "dense_1", "dense_2"]


def test_names_of_users_are_kept_and_avoided():
    named, unnamed = layers.Dense(2, name="dense"), layers.Dense(2)
    NameScope().resolve("Model 'a'", [unnamed, named])
    assert (named.name, unnamed.name) == ("dense", "dense_1")


def test_two_layers_with_one_name_of_a_user_are_refused():
    pair = [layers.Dense(2, name="head"), layers.ReLU(name="head")]
    with pytest.raises(ValueError, match=r"Model 'a': expected unique layer names.*'head' twice"):
        NameScope().resolve("Model 'a'", pair)


def test_a_renamed_layer_gets_a_number_that_no_network_has():
    names = NameScope()
    inner, outer = [layers.Dense(2) for _ in range(3)], [layers.Dense(2)]
    names.resolve("Model 'inner'", inner)
    names.resolve("Model 'outer'", outer)
    assert outer[0].name == "dense"
    names.resolve("Model 'joined'", [*inner, *outer])
    assert [layer.name for layer in inner] == ["dense", "dense_1", "dense_2"]
    assert outer[0].name == "dense_3"


def test_a_kept_name_gives_way_at_a_collision_only():
    names = NameScope()
    kept, named = layers.Rescaling(2.0, name="x"), layers.Dense(2, name="x")
    names.keep(kept, "x")
    names.resolve("Model 'a'", [kept])
    assert kept.name == "x"
    names.resolve("Model 'b'", [kept, named])
    assert (kept.name, named.name) == ("rescaling_1", "x")


def test_joined_networks_have_unique_names():
    def network():
        x = Input((2,))
        return Model(x, layers.Dense(2)(x))

    x = Input((2,))
    joined = Model(x, network()(network()(x)))
    names = [layer.name for layer in joined.layers]
    assert len(set(names)) == len(names) == 3


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Conv2D", "conv2d"),
        ("MaxPooling2D", "max_pooling2d"),
        ("BatchNormalization", "batch_normalization"),
        ("GlobalAveragePooling2D", "global_average_pooling2d"),
        ("ReLU", "re_lu"),
        ("Add", "add"),
    ],
)
def test_names_are_keras(name, expected):
    assert snake_case(name) == expected
