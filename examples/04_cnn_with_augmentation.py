"""A deeper network with batch normalization and data augmentation.

    python examples/04_cnn_with_augmentation.py          # on cartoon cats and dogs
    python examples/04_cnn_with_augmentation.py --data PHOTOS --seed 0 1 2
    python examples/04_cnn_with_augmentation.py --data MANY_PHOTOS --image-size 96 --epochs 15

With a few hundred photos a network overfits. Here each photo is flipped, rotated, zoomed, shifted
and changed in brightness at random in every epoch. Batch normalization speeds up the training of
five convolutional blocks. Global average pooling instead of a large dense layer reduces the network
to 0.4 million weights. The learning rate warms up and then follows a cosine to zero, with weight
decay.
"""

import common

from minidl import Input, Sequential, layers, optimizers

EPOCHS = 60


def build(image_size: int) -> Sequential:
    """Return the network for square RGB images with values 0..255."""
    stack = [
        Input((image_size, image_size, 3)),
        layers.RandomFlip("horizontal"),
        layers.RandomRotation(0.05),
        layers.RandomZoom(0.15),
        layers.RandomTranslation(0.1, 0.1),
        layers.RandomContrast(0.2),
        layers.RandomBrightness(0.1),
        layers.Rescaling(1 / 127.5, offset=-1),
    ]
    for filters in (16, 32, 64, 128, 256):
        stack += [
            layers.Conv2D(
                filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal"
            ),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.MaxPooling2D(2),
        ]
    stack += [
        layers.GlobalAveragePooling2D(),
        layers.Dropout(0.3),
        layers.Dense(1, activation="sigmoid"),
    ]
    return Sequential(stack)


def train_once(options, seed):
    """Train one network and return it with its history and the test data."""
    train, validation, test = common.load(options, seed, validation=0.1)
    steps = options.epochs * len(train)
    schedule = optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=2e-3, warmup_steps=steps // 20
    )
    model = build(options.image_size)
    model.compile(
        optimizers.AdamW(schedule, weight_decay=0.05), "binary_crossentropy", metrics=["accuracy"]
    )
    history = model.fit(train, epochs=options.epochs, validation_data=validation)
    return model, history, test


if __name__ == "__main__":
    common.run(common.parse(__doc__, epochs=EPOCHS), "cnn_with_augmentation", train_once)
