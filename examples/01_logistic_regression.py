"""Logistic regression: one neuron that looks at every pixel of a small picture.

    python examples/01_logistic_regression.py            # on drawn cats and dogs
    python examples/01_logistic_regression.py --data PHOTOS --seed 0 1 2

The neuron adds up all inputs, each with a weight of its own, and a sigmoid turns the sum into
the probability of class 1. It can only say "this colour here, that one there": its accuracy is
what every other example has to beat. The picture is averaged over a grid of ten by ten blocks
first: with fewer, calmer inputs a few hundred photos are enough to fit the weights.
"""

import common

from minidl import Input, Sequential, layers, optimizers
from minidl.layers.regularizers import L2

EPOCHS = 60


def build(image_size: int) -> Sequential:
    """Return the model for square RGB images with values 0..255."""
    return Sequential(
        [
            Input((image_size, image_size, 3)),
            layers.RandomFlip("horizontal"),
            layers.Rescaling(1 / 127.5, offset=-1),
            layers.AveragePooling2D(max(1, image_size // 10)),
            layers.Flatten(),
            layers.Dense(
                1, activation="sigmoid", kernel_initializer="zeros", kernel_regularizer=L2(0.003)
            ),
        ]
    )


def train_once(options, seed):
    """Train one model and return it with its history and the test data."""
    train, validation, test = common.load(options, seed, validation=0.1)
    model = build(options.image_size)
    model.compile(optimizers.Adam(1e-2), "binary_crossentropy", metrics=["accuracy"])
    history = model.fit(train, epochs=options.epochs, validation_data=validation)
    return model, history, test


if __name__ == "__main__":
    common.run(common.parse(__doc__, epochs=EPOCHS), "logistic_regression", train_once)
