"""JSON without NaN and infinite numbers."""

import json
import math

from minidl.common.finite_json import finite


def test_numbers_that_are_not_finite_become_null():
    value = {"a": [1, math.nan, (math.inf, -math.inf)], "b": {"c": math.nan, "d": 0.5}}
    assert finite(value) == {"a": [1, None, [None, None]], "b": {"c": None, "d": 0.5}}
    json.dumps(finite(value), allow_nan=False)


def test_other_values_stay_the_same():
    value = {"text": "nan", "none": None, "bool": True, "int": 10**400, "empty": []}
    assert finite(value) == value
