"""The description of the environment."""

import json
import os

import numba
import pytest

import minidl
from minidl.common import environment as module
from minidl.common.environment import environment


def test_versions_machine_and_threads_are_reported():
    found = environment()
    assert found["minidl"] == minidl.__version__
    assert found["numba"] == numba.__version__
    assert found["threads"] == minidl.get_num_threads()
    assert found["processor"].endswith(f", {os.cpu_count()} cores")
    json.dumps(found)


@pytest.mark.parametrize(
    ("setting", "expected"), [("", "__pycache__ beside the kernels"), ("/cache", "/cache")]
)
def test_the_folder_of_the_kernel_cache_is_reported(setting, expected, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", setting)
    assert environment()["kernel cache"] == expected


def test_the_processor_has_a_name_without_proc(monkeypatch):
    def missing(*arguments, **options):
        raise OSError

    monkeypatch.setattr(module, "open", missing, raising=False)
    assert module._processor()
