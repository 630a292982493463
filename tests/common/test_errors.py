"""Exceptions of minidl."""

import pytest

from minidl.common import errors


@pytest.mark.parametrize("name", errors.__all__)
def test_every_exception_is_a_value_error_of_minidl(name):
    error = getattr(errors, name)
    assert issubclass(error, errors.MinidlError)
    assert issubclass(error, ValueError)
