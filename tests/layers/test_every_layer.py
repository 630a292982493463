"""What every layer owes its users: shapes, dtypes, no side effects, a faithful configuration."""

import pytest
from checks import check_layer
from hypothesis import given
from hypothesis import strategies as st
from layer_cases import CASES


@pytest.mark.parametrize("cls", CASES, ids=lambda cls: cls.__name__)
@given(data=st.data())
def test_a_layer_keeps_its_promises(cls, data):
    check_layer(*data.draw(CASES[cls]))
