"""The functional API: a model with two branches and two outputs.

    python examples/12_two_branches.py
    python examples/12_two_branches.py --seed 0 1 2

One branch processes the image at half resolution, so that three blocks see the whole animal. The
other processes it at full resolution and sees eyes, ears and fur. Their features are concatenated.
Two heads predict the species and whether the image is upside down. Each head has its own loss; the
second has a weight of one half.
"""

from pathlib import Path

import common
import numpy as np

import minidl
from minidl import Input, Model, datasets, layers, optimizers

EPOCHS = 12
SPECIES = tuple(datasets.CARTOON_SPECIES)


def pictures(count: int, size: int, seed: int):
    """Return drawings (N, H, W, 3), half of them upside down, and both labels."""
    x, species = datasets.cartoon_pets(count, size, seed=seed, species=SPECIES)
    turned = np.random.default_rng([seed, 1]).integers(0, 2, count)
    x[turned == 1] = x[turned == 1, ::-1]
    return x, species, turned.astype(np.float32)[:, None]


def build(size: int) -> Model:
    """Return a model with the outputs "species" and "turned"."""
    picture = Input((size, size, 3), name="picture")
    scaled = layers.Rescaling(1 / 127.5, offset=-1)(picture)
    whole = convolutions(layers.AveragePooling2D(2, name="half")(scaled), "whole")
    joined = layers.Concatenate(name="joined")([whole, convolutions(scaled, "detail")])
    joined = layers.Dropout(0.3)(joined)
    species = layers.Dense(len(SPECIES), activation="softmax", name="species")(joined)
    turned = layers.Dense(1, activation="sigmoid", name="turned")(joined)
    return Model(picture, [species, turned], name="two_branches")


def convolutions(x, name: str):
    """Return the pooled features of `x`."""
    for i, filters in enumerate((16, 32, 64), 1):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv{i}")(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn{i}")(x)
        x = layers.ReLU(name=f"{name}_relu{i}")(x)
        x = layers.MaxPooling2D(name=f"{name}_pool{i}")(x)
    return layers.GlobalAveragePooling2D(name=f"{name}_features")(x)


def main(options) -> None:
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    size = options.image_size
    x, *labels = pictures(600, size, seed=10_000)
    for seed in options.seed:
        minidl.set_random_seed(seed)
        train_x, *train_labels = pictures(1600, size, seed)
        model = build(size)
        if seed == options.seed[0]:
            model.summary()
        model.compile(
            optimizers.AdamW(2e-3, weight_decay=0.02),
            ["sparse_categorical_crossentropy", "binary_crossentropy"],
            metrics=[["accuracy"], ["accuracy"]],
            loss_weights=[1.0, 0.5],
        )
        history = model.fit(train_x, train_labels, epochs=options.epochs)
        if history.interrupted:
            raise KeyboardInterrupt
        result = model.evaluate(x, labels, return_dict=True, verbose=0)
        print(
            f"seed {seed}: test accuracy {result['species_accuracy']:.4f} of the species, "
            f"{result['turned_accuracy']:.4f} of the direction"
        )
        model.save(folder / f"two_branches-seed{seed}.h5")


if __name__ == "__main__":
    with common.guarded("two_branches"):
        main(common.parse(__doc__, epochs=EPOCHS, photos=False))
