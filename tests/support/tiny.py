"""Small data, small networks and one assertion that tests of models and training share."""

import contextlib

import numpy as np
import pytest
from PIL import Image

from minidl import Input, Model, Sequential, layers


def blobs(count=40, features=4, classes=2, seed=0):
    """Return x and labels of normal clouds, one for each class, that a small net can tell apart."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % classes
    centers = np.random.default_rng(99).normal(size=(classes, features)) * 2
    return (centers[y] + rng.normal(size=(count, features))).astype(np.float32), y


def pictures(count=24, size=8, seed=0):
    """Return noisy gray-to-white images (0-255) and the label: is the left half brighter?"""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % 2
    x = rng.uniform(0, 120, (count, size, size, 3))
    x[y == 1, :, : size // 2] += 120
    x[y == 0, :, size // 2 :] += 120
    return x.astype(np.float32), y


def classifier(*hidden, features=4, outputs=1, dtype="float32"):
    """Return a compiled dense network with the layers `hidden` inside, trained by SGD."""
    activation = "sigmoid" if outputs == 1 else "softmax"
    first = layers.Dense(6, activation="relu")
    stack = [first, *hidden, layers.Dense(outputs, activation=activation)]
    model = Sequential([Input((features,), dtype=dtype), *stack])
    loss = "binary_crossentropy" if outputs == 1 else "sparse_categorical_crossentropy"
    model.compile("sgd", loss, metrics=["accuracy"])
    return model


def picture_net(size=8):
    """Return a network with augmentation, batch statistics and dropout: all that is random."""
    return Sequential(
        [
            Input((size, size, 3)),
            layers.RandomFlip(),
            layers.RandomRotation(0.1),
            layers.RandomContrast(0.3),
            layers.Rescaling(1 / 127.5, -1),
            layers.Conv2D(4, 3, use_bias=False),
            layers.BatchNormalization(momentum=0.8),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


def two_by_two():
    """Return an uncompiled model with the inputs a, b and the outputs yes, kind."""
    a, b = Input((4,), name="a"), Input((2,), name="b")
    both = layers.Concatenate()([a, b])
    yes = layers.Dense(1, activation="sigmoid", name="yes")(both)
    kind = layers.Dense(3, activation="softmax", name="kind")(both)
    return Model([a, b], [yes, kind])


def assert_same_arrays(first, second):
    """Assert that two lists of arrays are equal bit by bit."""
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


def assert_same_training(first, second):
    """Assert equal weights, moving statistics and optimizer state, bit by bit."""
    assert_same_arrays(first.get_weights(), second.get_weights())
    one, two = first.optimizer.get_state(), second.optimizer.get_state()
    assert one["iterations"] == two["iterations"]
    assert one["learning_rate"] == two["learning_rate"]
    assert one["slots"].keys() == two["slots"].keys()
    for path, slots in one["slots"].items():
        assert_same_arrays(list(slots.values()), list(two["slots"][path].values()))


@contextlib.contextmanager
def refused(error, *words):
    """Expect `error` with one sentence, not too long, that contains all `words`."""
    with pytest.raises(error) as caught:
        yield
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    for word in words:
        assert word in message


def make_photos(folder, classes=("cats", "dogs"), count=6, seed=0):
    """Write `count` images of each class: the left half brighter, or the right one."""
    for i, image in enumerate(pictures(count * len(classes), 32, seed)[0]):
        target = folder / classes[i % len(classes)]
        target.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.astype(np.uint8)).save(target / f"{i}.png")
    return folder
