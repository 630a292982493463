"""Training of PetsNet, the classifier of cats and dogs that ships with minidl.

    python examples/09_pets_from_scratch.py                         # on cartoons, two minutes
    python examples/09_pets_from_scratch.py --data MANY_PHOTOS      # on 20,000 photos, 80 minutes
    python examples/09_pets_from_scratch.py --data MANY_PHOTOS --resume

A residual network of one million weights is trained with random flips, rotations, zooms, shifts and
brightness. Training starts with small images, which are fast, and ends with larger ones (Howard,
2018, "progressive resizing"). AdamW's learning rate warms up and follows a cosine to zero; labels
are smoothed to 5 % and 95 %.

Every epoch is saved, and --resume continues bit-identically from the last one. One photo in twenty
is held out of training. After training, these photos are used to fit the temperature that
calibrates the probabilities, and the threshold of the OOD score. The test photos are evaluated
once, at the end. ``pets_recipe.py`` holds the augmentation and the optimizer; ``pets_ablation.py``
measures the effect of each component.
"""

import time
from pathlib import Path

import common
import numpy as np
import pets_recipe

import minidl
from minidl import Sequential, callbacks, datasets
from minidl.applications import PetsNet
from minidl.applications.pets_net import IMAGE_SIZE
from minidl.data import ImageFolder
from minidl.evaluation import out_of_distribution
from minidl.evaluation.calibration import (
    accuracy_interval,
    apply_temperature,
    expected_calibration_error,
    fit_temperature,
)

PHASES = ((12, 64), (16, 96), (16, 112))  # (epochs, image size)
CARTOON_PHASES = ((5, 48), (3, 64))
KNOWN_SHARE = 0.98  # of the held-out photos that the OOD threshold accepts


def train(options, phases, folder: Path) -> Sequential:
    """Train phase by phase; save every epoch, and resume after the last one if asked to."""
    checkpoint = folder / "pets_training.h5"
    model = minidl.load_model(checkpoint) if options.resume else None
    first, epochs = 0, sum(n for n, _ in phases)
    for length, size in phases:
        end = first + length
        if model is not None and model.epochs_seen >= end:
            first = end
            continue
        training, held_out = pets_recipe.load(options, size)
        model = model or pets_recipe.build(epochs * len(training))
        seen = model.epochs_seen
        print(f"epochs {max(first, seen) + 1} to {end} at {size} pixels", flush=True)
        history = model.fit(
            training, validation_data=held_out, epochs=end, verbose=2, resume=seen > 0,
            callbacks=[
                callbacks.CSVLogger(folder / "training.csv", append=seen > 0),
                callbacks.ModelCheckpoint(checkpoint),
            ],
        )  # fmt: skip
        if history.interrupted:
            raise KeyboardInterrupt
        first = end
    return model


def finish(trained: Sequential, options, size: int):
    """Return PetsNet with trained weights, fitted temperature and OOD threshold."""
    net = PetsNet(weights=None)
    net.set_weights(trained.get_weights())
    training, held_out = pets_recipe.load(options, size)
    some = take(training, 4000)
    x, y = take(held_out, 10**6)
    temperature = fit_temperature(net.predict(x, verbose=0), y)
    apply_temperature(net, temperature)
    out_of_distribution.fit(net, *some, share=KNOWN_SHARE, known=x)
    net.metadata["class_names"] = getattr(training, "class_names", datasets.CARTOON_CLASSES)
    net.metadata["temperature"] = temperature
    print(f"temperature {temperature:.3f}; held out: {describe(net, x, y)}")
    return net


def take(data, count: int):
    """Return the first samples of a data set as arrays."""
    parts, found = [], 0
    for x, y in data.batches(0):
        parts.append((x, y))
        found += len(x)
        if found >= count:
            break
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def describe(net, x, y) -> str:
    """Return accuracy with its interval, calibration error and share of unknowns."""
    p, scores = out_of_distribution.predict(net, x)
    y = np.asarray(y).reshape(-1)
    right = (p[:, 0] > 0.5) == y
    low, high = accuracy_interval(int(right.sum()), len(y))
    return (
        f"accuracy {right.mean():.4f} ({right.sum()} of {len(y)}; 95 % interval {low:.4f} to "
        f"{high:.4f}), calibration error {expected_calibration_error(p, y):.4f}, "
        f"taken for neither {np.mean(scores > 1):.4f}"
    )


def main(options) -> None:
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    phases = PHASES if options.data else CARTOON_PHASES
    minidl.set_random_seed(options.seed[0])
    if options.epochs:  # a short trial: shorten all phases
        scale = options.epochs / sum(n for n, _ in phases)
        phases = [(max(1, round(n * scale)), size) for n, size in phases]
    began = time.perf_counter()
    trained = train(options, phases, folder)
    print(f"trained in {time.perf_counter() - began:.0f} s")
    size = IMAGE_SIZE if options.data else phases[-1][1]
    net = finish(trained, options, size)
    net.save(folder / "pets.h5", include_optimizer=False, dtype="float16")
    net = minidl.load_model(folder / "pets.h5")  # test the file that ships
    for name, (x, y) in tests(options, size).items():
        print(f"{name}: {describe(net, x, y)}")


def tests(options, size: int) -> dict:
    """Return the photos of each test folder."""
    if options.data is None:
        return {"test": datasets.cartoon_pets(500, size, seed=1)}
    folders = [Path(options.data) / "test", *([options.also_test] if options.also_test else [])]
    return {
        str(folder): ImageFolder(folder, (size, size), shuffle=False).load_arrays()
        for folder in folders
    }


def add_options(parser):
    """Add the options of this example."""
    parser.add_argument("--resume", action="store_true", help="continue an interrupted training")


if __name__ == "__main__":
    with common.guarded("pets_from_scratch"):
        main(common.parse(__doc__, epochs=None, add=add_options))
