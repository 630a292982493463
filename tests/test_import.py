"""Import time of minidl, its public names and their documentation, and imports of the root."""

import ast
import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import minidl

PACKAGE = Path(minidl.__file__).parent
HEAVY = ("numba", "h5py", "PIL", "matplotlib", "tqdm", "threadpoolctl")

NAMES = """
    Input Model Sequential layers losses metrics optimizers callbacks data io training datasets
    load_model set_num_threads get_num_threads set_random_seed
    layers.Conv2D layers.DepthwiseConv2D layers.Dense layers.Flatten layers.Reshape
    layers.Activation layers.ReLU layers.Sigmoid layers.Tanh layers.Softmax layers.GELU
    layers.SiLU layers.ZeroPadding2D layers.MaxPooling2D layers.AveragePooling2D
    layers.GlobalAveragePooling2D layers.GlobalMaxPooling2D layers.BatchNormalization
    layers.Dropout layers.Add layers.Concatenate layers.Rescaling layers.RandomFlip
    layers.RandomRotation layers.RandomZoom layers.RandomTranslation layers.RandomShear
    layers.RandomBrightness layers.RandomContrast layers.RandomCrop layers.Layer
    losses.BinaryCrossentropy losses.CategoricalCrossentropy losses.MeanSquaredError
    losses.SparseCategoricalCrossentropy metrics.AUC metrics.Precision metrics.Recall
    metrics.ConfusionMatrix metrics.TopKCategoricalAccuracy optimizers.SGD optimizers.RMSprop
    optimizers.Adam optimizers.AdamW optimizers.schedules.CosineDecay
    callbacks.EarlyStopping callbacks.ModelCheckpoint callbacks.ReduceLROnPlateau
    callbacks.LearningRateScheduler callbacks.CSVLogger callbacks.TerminateOnNaN
    callbacks.LambdaCallback data.ImageFolder training.gradcheck datasets.cartoon_pets
    Model.compile Model.fit Model.evaluate Model.predict Model.train_on_batch Model.summary
    Model.get_layer Model.tap Model.save Model.save_weights Model.load_weights Model.forward
    Model.backward Model.weights Model.trainable_weights Model.freeze Model.unfreeze
"""


def run_in_new_process(code):
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return json.loads(result.stdout)


def test_import_is_fast_and_loads_no_heavy_module():
    code = (
        "import json, sys, time\n"
        "import numpy\n"
        "start = time.perf_counter()\n"
        "import minidl\n"
        "seconds = time.perf_counter() - start\n"
        f"print(json.dumps([seconds, [n for n in {HEAVY} if n in sys.modules]]))\n"
    )
    runs = [run_in_new_process(code) for _ in range(3)]
    assert all(heavy == [] for _, heavy in runs)
    assert min(seconds for seconds, _ in runs) < 0.3


def test_building_a_model_is_fast_and_compiles_nothing():
    code = (
        "import json, sys, time\n"
        "import numpy\n"
        "start = time.perf_counter()\n"
        "from minidl import Input, Sequential, layers\n"
        "model = Sequential([Input((32, 32, 3)), layers.Conv2D(8, 3), layers.Flatten(),\n"
        "                    layers.Dense(1)])\n"
        "model.compile('adam', 'mse')\n"
        "seconds = time.perf_counter() - start\n"
        f"print(json.dumps([seconds, [n for n in {HEAVY} if n in sys.modules]]))\n"
    )
    seconds, heavy = min(run_in_new_process(code) for _ in range(2))
    assert "numba" not in heavy
    assert "h5py" not in heavy
    assert "matplotlib" not in heavy
    assert seconds < 1.0


def test_public_names_exist():
    for name in NAMES.split():
        value = minidl
        for part in name.split("."):
            value = getattr(value, part)


def test_dir_lists_the_public_names():
    assert set(dir(minidl)) == set(minidl.__all__)
    for name in minidl.__all__:
        assert getattr(minidl, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'layer'"):
        _ = minidl.layer


def modules():
    found = [minidl]
    for item in pkgutil.walk_packages(minidl.__path__, "minidl."):
        if item.name != "minidl.__main__":
            found.append(importlib.import_module(item.name))
    return found


def test_every_module_class_and_function_is_documented():
    missing = []
    for module in modules():
        if not module.__doc__:
            missing.append(module.__name__)
        for name in getattr(module, "__all__", []):
            value = getattr(module, name)
            documented = inspect.isclass(value) or inspect.isfunction(value)
            if documented and not value.__doc__:
                missing.append(f"{module.__name__}.{name}")
    assert missing == []


def test_every_name_in_all_exists():
    for module in modules():
        for name in getattr(module, "__all__", []):
            assert hasattr(module, name), f"{module.__name__}.{name}"


def root_imports(path):
    """Return the lines of a module that use the root package instead of a module below it."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            # `import minidl.data` binds the root; `import minidl.data as data` binds the module.
            uses_root = [
                item.name == "minidl" or (item.name.startswith("minidl.") and not item.asname)
                for item in node.names
            ]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module == "minidl":
            uses_root = [not is_module(item.name) for item in node.names]
        else:
            continue
        if any(uses_root):
            found.append(node.lineno)
    return found


def is_module(name):
    return (PACKAGE / name / "__init__.py").exists() or (PACKAGE / f"{name}.py").exists()


def test_no_module_below_the_root_imports_the_root():
    """import-linter cannot check this, because the root package is the container of its layers."""
    found = [
        f"{path.relative_to(PACKAGE)}:{line}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path not in (PACKAGE / "__init__.py", PACKAGE / "__main__.py")
        for line in root_imports(path)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("import minidl", [1]),
        ("def f():\n    import minidl.data", [2]),
        ("from minidl import Model", [1]),
        ("from minidl import layers, load_model", [1]),
        ("from minidl import layers, losses", []),
        ("import minidl.data as data", []),
        ("from minidl.models.model import Model", []),
        ('"""\n>>> import minidl\n"""', []),
    ],
)
def test_root_imports_finds_each_form(code, lines, tmp_path):
    path = tmp_path / "module.py"
    path.write_text(code)
    assert root_imports(path) == lines
