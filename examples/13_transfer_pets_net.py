"""Transfer learning without a download: a new head on the frozen PetsNet.

    python examples/13_transfer_pets_net.py                    # cartoons of four species
    python examples/13_transfer_pets_net.py --data PHOTOS --seed 0 1 2

The example trains a new head on the frozen network and, for comparison, a small network from
scratch on the same images. For photos of cats and dogs the head is one neuron on the last
features. Drawings of four species are a different domain and task: there the base ends one block
lower, where its features are less specific, and the head has a convolution of its own. Pretraining
helps most when there are few training images.
"""

import common
import numpy as np

import minidl
from minidl import Input, Sequential, datasets, layers, optimizers
from minidl.applications import PetsNet, small_cnn
from minidl.data import ArrayDataset

EPOCHS = 60
CARTOONS = 200  # training images


def load(options, seed: int):
    """Return the training and the test images."""
    if options.data is not None:
        train, _, test = common.load(options, seed, batch_size=16, validation=0)
        return train, test, len(train.class_names)
    species = tuple(datasets.CARTOON_SPECIES)
    size = options.image_size
    x, y = datasets.cartoon_pets(CARTOONS, size, seed=seed, species=species)
    train = ArrayDataset(x, y, batch_size=16, shuffle=True, seed=seed)
    test = ArrayDataset(*datasets.cartoon_pets(500, size, seed=1000, species=species))
    return train, test, len(species)


def on_base(options, classes: int) -> Sequential:
    """Return a new head on the frozen PetsNet."""
    shape = (options.image_size, options.image_size, 3)
    if options.data is not None:
        base, head = PetsNet(include_top=False, input_shape=shape, pooling="avg"), []
    else:
        base = PetsNet(include_top=False, input_shape=shape, until="stage2_block2_out")
        head = [
            layers.Conv2D(64, 3, padding="same", use_bias=False, kernel_initializer="he_normal"),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.GlobalMaxPooling2D(),
        ]
    base.trainable = False
    last = (1, "sigmoid") if classes == 2 else (classes, "softmax")
    return Sequential([Input(shape), base, *head, layers.Dropout(0.3), layers.Dense(*last)])


def accuracy(model, train, test, classes: int, rate: float, epochs: int) -> float:
    """Train with AdamW, warm-up and cosine; return the test accuracy."""
    steps = epochs * len(train)
    schedule = optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=rate, warmup_steps=steps // 20
    )
    loss = "binary_crossentropy" if classes == 2 else "sparse_categorical_crossentropy"
    model.compile(optimizers.AdamW(schedule, weight_decay=0.05), loss, metrics=["accuracy"])
    history = model.fit(train, epochs=epochs, verbose=0)
    if history.interrupted:
        raise KeyboardInterrupt
    return model.evaluate(test, return_dict=True, verbose=0)["accuracy"]


def main(options) -> None:
    found = []
    for seed in options.seed:
        minidl.set_random_seed(seed)
        train, test, classes = load(options, seed)
        shape = (options.image_size, options.image_size, 3)
        pair = [
            accuracy(on_base(options, classes), train, test, classes, 3e-3, options.epochs),
            accuracy(small_cnn(shape, classes), train, test, classes, 2e-3, options.epochs),
        ]
        found.append(pair)
        print(f"seed {seed}: on PetsNet {pair[0]:.4f}, from scratch {pair[1]:.4f}", flush=True)
    mean = np.mean(found, axis=0)
    print(f"mean test accuracy: on PetsNet {mean[0]:.4f}, from scratch {mean[1]:.4f}")


if __name__ == "__main__":
    with common.guarded("transfer_pets_net"):
        options = common.parse(
            __doc__, epochs=EPOCHS, image_size=128, cartoon_size=96, other_test=False,
            drawn="cartoons of four species",
        )  # fmt: skip
        main(options)
