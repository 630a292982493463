"""The recipe of PetsNet: augmentation, compiled network and photos.

``09_pets_from_scratch.py`` uses all of it, ``pets_ablation.py`` leaves out one component at a time.
"""

from pathlib import Path

from minidl import Input, Sequential, datasets, layers, losses, optimizers
from minidl.applications import PetsNet
from minidl.data import ArrayDataset, ImageFolder

BATCH_SIZE = 64
HELD_OUT = 0.05  # of the training photos
RATE, DECAY, SMOOTHING = 3e-3, 0.05, 0.1
INGREDIENTS = ("geometry", "light", "softened labels", "weight decay", "cosine")


def augmentation(without: str = "") -> list:
    """Return the augmentation layers."""
    geometry = [
        layers.RandomFlip("horizontal"),
        layers.RandomRotation(0.04),
        # Independent factors: resizing a wide photo to a square narrows the animal.
        layers.RandomZoom((-0.4, 0.2), (-0.4, 0.5)),
        layers.RandomTranslation(0.12, 0.12),
    ]
    light = [layers.RandomContrast(0.3), layers.RandomBrightness(0.15)]
    return (geometry if without != "geometry" else []) + (light if without != "light" else [])


def build(steps: int, without: str = "") -> Sequential:
    """Return the compiled network with its augmentation, for images of any size."""
    net = PetsNet(weights=None)
    model = Sequential([Input((None, None, 3)), *augmentation(without), net])
    warm_up = max(1, steps // 20)
    rate = optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warm_up), warmup_target=RATE, warmup_steps=warm_up
    )
    optimizer = optimizers.AdamW(
        RATE if without == "cosine" else rate,
        weight_decay=0.0 if without == "weight decay" else DECAY,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    smoothing = 0.0 if without == "softened labels" else SMOOTHING
    model.compile(optimizer, losses.BinaryCrossentropy(label_smoothing=smoothing), ["accuracy"])
    return model


def load(options, size: int):
    """Return the training and the held-out photos at an image size."""
    if options.data is None:
        x, y = datasets.cartoon_pets(1500, size, seed=0)
        cut = int(len(x) * (1 - HELD_OUT))
        train = ArrayDataset(x[:cut], y[:cut], batch_size=BATCH_SIZE, shuffle=True, seed=0)
        return train, ArrayDataset(x[cut:], y[cut:], batch_size=BATCH_SIZE)
    return tuple(
        ImageFolder(
            Path(options.data) / "train", (size, size), BATCH_SIZE, seed=0, shuffle=shuffle,
            validation_split=HELD_OUT, subset=subset, cache=True,
        )
        for subset, shuffle in (("training", True), ("validation", False))
    )  # fmt: skip
