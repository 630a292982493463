"""Errors of file readers: the path in front, and one exception type."""

import numpy as np
import pytest
from support.tiny import refused

from minidl.common.errors import FileFormatError
from minidl.formats.file_errors import check_file, check_finite, file_errors, first_line


def test_the_path_is_added_once():
    with pytest.raises(FileFormatError) as caught, file_errors("a.h5"), file_errors("a.h5"):
        raise FileFormatError("no layers")
    assert str(caught.value) == "a.h5: no layers"


def test_other_exceptions_become_file_format_errors_with_their_cause():
    with pytest.raises(FileFormatError) as caught, file_errors("a.h5", "save it again"):
        raise KeyError("kernel\nsecond line")
    assert isinstance(caught.value.__cause__, KeyError)
    assert str(caught.value).startswith("a.h5: cannot be read (")
    assert str(caught.value).endswith("; save it again")


def test_interrupts_are_not_converted():
    with pytest.raises(KeyboardInterrupt), file_errors("a.h5"):
        raise KeyboardInterrupt


def test_check_file(tmp_path):
    path = tmp_path / "a.h5"
    with refused(FileNotFoundError, "a.h5"):
        check_file(path)
    with refused(IsADirectoryError, str(tmp_path), "folder"):
        check_file(tmp_path)
    path.touch()
    check_file(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_check_finite(value):
    array = np.zeros((2, 3), "float32")
    check_finite(array, "dense/kernel")
    array[1, 2] = value
    with refused(FileFormatError, "'dense/kernel'"):
        check_finite(array, "dense/kernel")


def test_first_line():
    assert first_line(ValueError("\n first\nsecond")) == "first"
    assert first_line(ValueError()) == "ValueError"
    assert len(first_line(ValueError("x" * 1000))) == 200
