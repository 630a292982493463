"""What ``import minidl`` costs, and that all public names are there and documented."""

import importlib
import inspect
import json
import pkgutil
import subprocess
import sys

import pytest

import minidl

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


def in_a_new_process(code):
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return json.loads(result.stdout)


def test_importing_is_quick_and_imports_nothing_heavy():
    code = (
        "import json, sys, time\n"
        "import numpy\n"
        "start = time.perf_counter()\n"
        "import minidl\n"
        "seconds = time.perf_counter() - start\n"
        f"print(json.dumps([seconds, [n for n in {HEAVY} if n in sys.modules]]))\n"
    )
    runs = [in_a_new_process(code) for _ in range(3)]
    assert all(heavy == [] for _, heavy in runs)
    assert min(seconds for seconds, _ in runs) < 0.3


def test_building_a_model_is_quick_and_compiles_nothing():
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
    seconds, heavy = min(in_a_new_process(code) for _ in range(2))
    assert "numba" not in heavy
    assert "h5py" not in heavy
    assert "matplotlib" not in heavy
    assert seconds < 1.0


def test_the_names_of_the_public_api_are_there():
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
