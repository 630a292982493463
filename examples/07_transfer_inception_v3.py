"""Transfer learning with InceptionV3: one neuron on the features of an upper layer.

    python examples/07_transfer_inception_v3.py --data PHOTOS --weights inception_notop.h5
    python examples/07_transfer_inception_v3.py --data PHOTOS --weights FILE --image-size 299

The last layers of a network are specific to the thousand classes of ImageNet. The features of
"mixed8", slightly below, are at least as good for other tasks. The network ends there, so the
weight file may lack the later layers. The frozen features are computed once per photo, and twenty
epochs take about as long as one. A single neuron separates cats from dogs.

All photos of the folder are used for training; learning rate and weight decay were chosen by
cross-validation on them. With --fine-tune LAYER, such as mixed7, the layers from there on are
trained afterwards, on augmented photos.
"""

import common

from minidl import Input, Sequential, layers, optimizers
from minidl.applications import InceptionV3
from minidl.applications.small_cnn import augmentation
from minidl.training import fine_tune

EPOCHS = 20


def build(options) -> Sequential:
    """Return the network for square RGB images with values 0..255."""
    shape = (options.image_size, options.image_size, 3)
    base = InceptionV3(
        weights=options.weights,
        include_top=False,
        input_shape=shape,
        pooling="avg",
        until=options.until,
    )
    base.trainable = False
    varied = augmentation() if options.fine_tune else []
    head = [layers.Dropout(0.3), layers.Dense(1, activation="sigmoid")]
    return Sequential([Input(shape), *varied, base, *head])


def train_once(options, seed):
    """Train the head and optionally fine-tune; return model, history and the test data."""
    train, _, test = common.load(options, seed, validation=0)
    model = build(options)
    steps = options.epochs * len(train)
    schedule = optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=1e-2, warmup_steps=steps // 20
    )
    model.compile(
        optimizers.AdamW(schedule, weight_decay=0.05), "binary_crossentropy", metrics=["accuracy"]
    )
    # Features of random augmentations cannot be cached: cache those of four versions instead.
    passes = 4 if options.fine_tune else 0
    history = model.fit(train, epochs=options.epochs, augmented_passes=passes)
    if options.fine_tune and not history.interrupted:
        model.compile(optimizers.Adam(1e-4), "binary_crossentropy", metrics=["accuracy"])
        history = fine_tune(model, train, None, 0, 3, options.fine_tune)
    return model, history, test


def add_options(parser):
    """Add the options of this example."""
    parser.add_argument("--until", default="mixed8", help="the features' layer; default mixed8")
    parser.add_argument("--fine-tune", metavar="LAYER", help="the lowest layer to tune")


if __name__ == "__main__":
    options = common.parse(
        __doc__, epochs=EPOCHS, cartoon_size=96, weights="InceptionV3", add=add_options
    )
    common.run(options, "transfer_inception_v3", train_once)
