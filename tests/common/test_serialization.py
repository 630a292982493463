"""Serialization: recorded arguments, forms for JSON, and objects by name."""

import json

import numpy as np
import pytest

from minidl.common.serialization import Configurable, lookup, serialize


class Part(Configurable):
    def __init__(self, size, rate=0.5, **options):
        self.size, self.rate, self.options = size, rate, options


class Whole(Configurable):
    def __init__(self, part):
        self.part = part


def test_arguments_are_recorded():
    assert Part(3).get_config() == {"size": 3}
    assert Part(3, rate=0.1, name="a").get_config() == {"size": 3, "rate": 0.1, "name": "a"}


def test_changed_numbers_are_saved_with_their_present_value():
    part = Part(3, 0.5)
    part.rate = 0.25
    part.size = [1, 2]  # not a number: the argument describes the object
    assert part.get_config() == {"size": 3, "rate": 0.25}


def test_a_copy_is_created_from_the_configuration():
    copy = Part.from_config(json.loads(json.dumps(Part(3, name="a").get_config())))
    assert (copy.size, copy.rate, copy.options) == (3, 0.5, {"name": "a"})


def test_missing_arguments_raise_pythons_own_message():
    with pytest.raises(TypeError, match=r"missing 1 required positional argument: 'size'"):
        Part()
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'size'"):
        Whole(size=3)


PART = {"class_name": "Part", "config": {"size": 1}}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
        ((1, "a", [2.0]), [1, "a", [2.0]]),
        ({1: (2,)}, {"1": [2]}),
        (np.dtype("float32"), "float32"),
        (np.float64, "float64"),
        (Whole(Part(1)), {"class_name": "Whole", "config": {"part": PART}}),
    ],
)
def test_values_get_a_form_for_json(value, expected):
    result = serialize(value)
    assert result == expected
    assert type(result) is type(expected)
    json.dumps(result)


@pytest.mark.parametrize("value", [len, object(), {1, 2}, [len]])
def test_other_values_cannot_be_saved(value):
    with pytest.raises(TypeError, match="cannot be saved: expected numbers, text, lists"):
        serialize(value)


def test_objects_are_found_by_name_configuration_class_and_object():
    ready = Part(9)
    known = {"Part": Part, "ready": ready}
    assert lookup("part", "READY", known, Part) is ready
    assert lookup("part", ready, known, Part) is ready
    found = lookup("part", {"class_name": "part", "config": {"size": 4}}, known, Part)
    assert (type(found), found.size) == (Part, 4)

    class Default(Part):
        def __init__(self):
            super().__init__(7)

    assert lookup("part", Default, {}, Part).size == 7


def test_unknown_names_and_types_are_rejected():
    with pytest.raises(ValueError, match="^part: expected one of Part, ready, received 'other'$"):
        lookup("part", "other", {"Part": Part, "ready": Part(1)}, Part)
    with pytest.raises(TypeError, match="^part: expected a name or a Part, received 3$"):
        lookup("part", 3, {"Part": Part}, Part)
