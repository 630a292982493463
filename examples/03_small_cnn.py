"""A small convolutional network trained from scratch: three convolutions and a dense layer.

    python examples/03_small_cnn.py                      # on cartoon cats and dogs
    python examples/03_small_cnn.py --data PHOTOS --seed 0 1 2

Convolutions detect the same patterns at every position, and max pooling reduces the resolution. The
learning rate is halved when the training loss stops falling. No decision depends on validation
photos, so all photos are used for training.
"""

import common

from minidl import Input, Sequential, callbacks, layers, optimizers

EPOCHS = 25


def build(image_size: int) -> Sequential:
    """Return the network for square RGB images with values 0..255."""
    stack = [Input((image_size, image_size, 3)), layers.Rescaling(1 / 127.5, offset=-1)]
    for filters in (32, 64, 128):
        stack += [layers.Conv2D(filters, 3, activation="relu"), layers.MaxPooling2D(2)]
    stack += [
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dropout(0.3),
        layers.Dense(1, activation="sigmoid"),
    ]
    return Sequential(stack)


def train_once(options, seed):
    """Train one network and return it with its history and the test data."""
    train, _, test = common.load(options, seed, validation=0)
    model = build(options.image_size)
    model.compile(optimizers.Adam(1e-3), "binary_crossentropy", metrics=["accuracy"])
    history = model.fit(
        train,
        epochs=options.epochs,
        callbacks=[callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=2)],
    )
    return model, history, test


if __name__ == "__main__":
    common.run(common.parse(__doc__, epochs=EPOCHS), "small_cnn", train_once)
