"""Tests of minidl.common.optional_formats."""

import pytest

import minidl
from minidl.common import optional_formats
from minidl.common.errors import MinidlError
from minidl.common.optional_formats import format_of, register_format, registered_extensions


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch):
    monkeypatch.setattr(optional_formats, "_packages", dict(optional_formats._packages))


def test_a_package_is_found_by_extension_in_any_case():
    register_format(".made", "minidl.version")
    assert format_of("a/B.MADE") is minidl.version
    assert ".made" in registered_extensions()


def test_other_extensions_have_no_package():
    assert format_of("model.h5") is None
    assert format_of("model") is None


def test_a_missing_package_is_named():
    register_format(".made", "minidl.no_such_package")
    with pytest.raises(MinidlError, match=r"model\.made: .* minidl\.no_such_package, which is mis"):
        format_of("model.made")
