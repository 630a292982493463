"""Keras configurations: JSON parsing and access to layers."""

import pytest
from support.tiny import refused

from minidl.common.errors import FileFormatError
from minidl.formats.keras.configuration import (
    inner_layers,
    is_model,
    layer_name,
    parse_configuration,
    texts_of,
)

DENSE = {"class_name": "Dense", "config": {"name": "head", "units": 2}}


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, b"\xff\xfe", "[]", "3", "{}"])
def test_text_without_a_model_is_refused(text):
    with refused(FileFormatError, "model_config"):
        parse_configuration(text, "model_config")


def test_models_list_their_layers_in_both_forms():
    for config in ({"layers": [DENSE]}, [DENSE]):  # Keras 1 wrote a Sequential as a list
        model = {"class_name": "Sequential", "config": config}
        assert inner_layers(model) == [DENSE]
        assert is_model(model)
    assert inner_layers(DENSE) == []
    assert not is_model(DENSE)


@pytest.mark.parametrize("item", [None, 3, {}, {"class_name": 3, "config": {}}, {"config": {}}])
def test_damaged_layers_are_skipped(item):
    assert inner_layers({"config": {"layers": [item, DENSE]}}) == [DENSE]
    assert inner_layers(item) == []


def test_layer_name_prefers_the_outer_name():
    assert layer_name(DENSE) == "head"
    assert layer_name({**DENSE, "name": "outer"}) == "outer"
    assert layer_name({"class_name": "Sequential", "config": [DENSE]}) == ""


def test_texts_of_finds_nested_strings_only():
    config = {"a": "1", "b": [{"a": "2", "c": {"a": 3}}, "a"], "d": {"e": "4"}}
    assert sorted(texts_of(config, ("a", "e"))) == ["1", "2", "4"]
