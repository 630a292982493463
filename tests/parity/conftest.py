"""Quiet, single-threaded TensorFlow, and nothing of Keras' global state left behind.

These variables are read when TensorFlow is imported, which happens in the test modules.
"""

import os
import sys

import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # the machine's cores are minidl's
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")


def pytest_configure(config):
    # Keras 3.15 hands tensors to NumPy in a way that NumPy 2 calls outdated.
    config.addinivalue_line("filterwarnings", "ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(autouse=True, scope="module")
def _forget_keras_session():
    """After each file Keras counts layer names from zero again and lets its graphs go."""
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].backend.clear_session()
