"""Transfer learning with InceptionV3: features of a layer in its upper third, and one neuron.

    python examples/07_transfer_inception_v3.py --data PHOTOS --weights inception_notop.h5
    python examples/07_transfer_inception_v3.py --data PHOTOS --weights FILE --image-size 299

The last layers of a network know about the thousand classes it was trained for; a little below,
at "mixed8", its features serve other tasks as well or better. The network is cut there: the file
may lack what comes after. What is frozen needs to be computed only once for each photo, so
twenty epochs cost hardly more than one. Then a single neuron tells cats from dogs.

All photos of the folder are trained on; rate and decay were chosen by cross-validation on them.
With --fine-tune LAYER, such as mixed7, the layers from there on are tuned afterwards, on photos
that look different in every epoch.
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
    """Train the head, tune the base if asked to; return model, history and the test data."""
    train, _, test = common.load(options, seed, validation=0)
    model = build(options)
    steps = options.epochs * len(train)
    schedule = optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=1e-2, warmup_steps=steps // 20
    )
    model.compile(
        optimizers.AdamW(schedule, weight_decay=0.05), "binary_crossentropy", metrics=["accuracy"]
    )
    # Augmented photos would have to be computed anew in each epoch: four versions are kept.
    passes = 4 if options.fine_tune else 0
    history = model.fit(train, epochs=options.epochs, augmented_passes=passes)
    if options.fine_tune and not history.interrupted:
        model.compile(optimizers.Adam(1e-4), "binary_crossentropy", metrics=["accuracy"])
        history = fine_tune(model, train, None, 0, 3, options.fine_tune)
    return model, history, test


def add_options(parser):
    """Add what only this example has."""
    parser.add_argument("--until", default="mixed8", help="the features' layer; default mixed8")
    parser.add_argument("--fine-tune", metavar="LAYER", help="the lowest layer to tune")


if __name__ == "__main__":
    options = common.parse(
        __doc__, epochs=EPOCHS, cartoon_size=96, weights="InceptionV3", add=add_options
    )
    common.run(options, "transfer_inception_v3", train_once)
