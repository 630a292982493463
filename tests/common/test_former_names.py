"""Imports of scripts that were written for version 0.1."""

import importlib

import pytest

from minidl.common.former_names import FORMER_NAMES


@pytest.mark.parametrize("former", FORMER_NAMES)
def test_a_former_name_is_the_present_module(former):
    module = importlib.import_module(former)
    assert module is importlib.import_module(FORMER_NAMES[former])
    assert module.__name__ == FORMER_NAMES[former]
    assert module.__spec__.name == FORMER_NAMES[former]


def test_an_unknown_name_is_still_an_error():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("minidl.unknown")
