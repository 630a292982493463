"""A dense network with one hidden layer.

    python examples/02_dense_network.py                  # on cartoon cats and dogs
    python examples/02_dense_network.py --data PHOTOS --seed 0 1 2

A hidden layer of 64 neurons with ReLU combines patterns of pixels. A dense network must learn each
pattern separately for every position in the image. Dropout reduces overfitting.
"""

import common

from minidl import Input, Sequential, layers, optimizers

EPOCHS = 60


def build(image_size: int) -> Sequential:
    """Return the network for square RGB images with values 0..255."""
    return Sequential(
        [
            Input((image_size, image_size, 3)),
            layers.Rescaling(1 / 127.5, offset=-1),
            layers.AveragePooling2D(max(1, image_size // 30)),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


def train_once(options, seed):
    """Train one network and return it with its history and the test data."""
    train, validation, test = common.load(options, seed, validation=0.1)
    model = build(options.image_size)
    model.compile(optimizers.Adam(3e-4), "binary_crossentropy", metrics=["accuracy"])
    history = model.fit(train, epochs=options.epochs, validation_data=validation)
    return model, history, test


if __name__ == "__main__":
    common.run(common.parse(__doc__, epochs=EPOCHS), "dense_network", train_once)
