"""The package without the folder minidl/onnx: everything else imports and works."""

import shutil
import subprocess
import sys
from pathlib import Path

import minidl

PROGRAM = """
import importlib, pathlib, pkgutil, sys

# An editable installation would find the folder in the checkout.
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
import minidl
from minidl import Input, Sequential, layers

assert pathlib.Path(minidl.__file__).parent == pathlib.Path(__file__).parent / "minidl"
for module in pkgutil.walk_packages(minidl.__path__, "minidl."):
    if module.name != "minidl.__main__":
        importlib.import_module(module.name)
model = Sequential([Input((2,)), layers.Dense(1)])
model.save("model.h5")
minidl.load_model("model.h5")
try:
    model.export("model.onnx")
except minidl.errors.MinidlError as error:
    print(error)
"""


def test_everything_else_works_without_the_folder(tmp_path):
    source = Path(minidl.__file__).parent
    ignored = shutil.ignore_patterns("onnx", "__pycache__")
    shutil.copytree(source, tmp_path / "minidl", ignore=ignored)
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "program.py"]
    result = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "model.onnx: expected an installation with the package minidl.onnx" in result.stdout
