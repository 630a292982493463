"""Transfer learning with VGG16: first a new head, then the last three convolutions.

    python examples/05_transfer_vgg16.py --data PHOTOS --weights vgg16_notop.h5 --seed 0 1 2

VGG16 was trained on the 1.3 million photos of ImageNet. Its first ten convolutions stay frozen. The
head consists of global average pooling, a dense layer of 128, batch normalization and dropout. It
is trained first, on cached features. Then the last three convolutions are trained with a twentieth
of the learning rate, because the large gradients of an untrained head would destroy their
features. The network takes raw RGB and preprocesses it itself.
"""

import common

from minidl import Sequential, layers, optimizers
from minidl.applications import VGG16
from minidl.training import fine_tune

EPOCHS = 20


def build(image_size: int, weights: str) -> Sequential:
    """Return the network for square RGB images with values 0..255, its base frozen."""
    base = VGG16(weights=weights, include_top=False, input_shape=(image_size, image_size, 3))
    base.trainable = False
    return Sequential(
        [
            base,
            layers.GlobalAveragePooling2D(),
            layers.Dense(128, activation="relu"),
            layers.BatchNormalization(momentum=0.9),
            layers.Dropout(0.3),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


def train_once(options, seed):
    """Train the head, then the last block; return model, history and the test data."""
    train, validation, test = common.load(options, seed, validation=0.1)
    model = build(options.image_size, options.weights)
    model.compile(optimizers.Adam(1e-3), "binary_crossentropy", metrics=["accuracy"])
    history = fine_tune(
        model,
        train,
        validation,
        head_epochs=options.epochs,
        epochs=max(1, options.epochs // 4),
        from_layer="block5_conv1",
        learning_rate_multiplier=0.05,
    )
    return model, history, test


if __name__ == "__main__":
    options = common.parse(__doc__, epochs=EPOCHS, weights="VGG16")
    common.run(options, "transfer_vgg16", train_once)
