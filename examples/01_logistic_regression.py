"""Logistic regression: one neuron on the pixels of a small image.

    python examples/01_logistic_regression.py            # on cartoon cats and dogs
    python examples/01_logistic_regression.py --data PHOTOS --seed 0 1 2

The neuron computes a weighted sum of all inputs, and a sigmoid turns it into the probability of
class 1. Its accuracy is the baseline for all other examples. The image is first averaged over
blocks of ten by ten pixels, because a few hundred photos cannot fit the weights of all pixels.
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
