"""Transfer learning with a completely frozen ResNet50.

    python examples/06_transfer_resnet50.py --data PHOTOS --weights resnet50_notop.h5 --seed 0 1 2

ResNet50 expects BGR images minus the mean color of ImageNet. With other inputs it still returns
predictions, but a published study of these photos lost a quarter of its accuracy. In minidl the
network includes its preprocessing and takes raw RGB. Its BatchNormalization layers use their moving
statistics and do not update them.
"""

import common

from minidl import Sequential, layers, optimizers
from minidl.applications import ResNet50

EPOCHS = 20


def build(image_size: int, weights: str) -> Sequential:
    """Return the network for square RGB images with values 0..255."""
    shape = (image_size, image_size, 3)
    base = ResNet50(weights=weights, include_top=False, input_shape=shape, pooling="avg")
    base.trainable = False
    return Sequential([base, layers.Dropout(0.3), layers.Dense(1, activation="sigmoid")])


def train_once(options, seed):
    """Train the head and return the model with its history and the test data."""
    train, _, test = common.load(options, seed, validation=0)
    model = build(options.image_size, options.weights)
    steps = options.epochs * len(train)
    schedule = optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=1e-2, warmup_steps=steps // 20
    )
    model.compile(
        optimizers.AdamW(schedule, weight_decay=0.05), "binary_crossentropy", metrics=["accuracy"]
    )
    return model, model.fit(train, epochs=options.epochs), test


if __name__ == "__main__":
    options = common.parse(__doc__, epochs=EPOCHS, weights="ResNet50")
    common.run(options, "transfer_resnet50", train_once)
