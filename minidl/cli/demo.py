"""The command ``minidl demo``: train a classifier of cartoon pets in a minute, offline.

The demo draws cartoon cats and dogs, trains a small network, and tests it on new drawings. It
writes learning curves, a grid of predictions, and the model.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from minidl import datasets, layers
from minidl.cli.options import AddCommand, positive, seed_number
from minidl.common import plotting, seeding
from minidl.layers.symbolic import Input
from minidl.models.model import Model
from minidl.models.sequential import Sequential

__all__ = ["add_demo_command", "demo", "run_demo"]


def add_demo_command(add: AddCommand) -> None:
    """Add the command to the parser."""
    command = add(demo, "train a classifier of cartoon cats and dogs in a minute")
    command.add_argument(
        "--output",
        default="minidl-demo",
        help="folder for images and model (default: %(default)s)",
    )
    command.add_argument(
        "--epochs",
        type=positive,
        default=8,
        metavar="N",
        help="passes over the drawings (default: %(default)s)",
    )
    command.add_argument(
        "--seed",
        type=seed_number,
        default=0,
        metavar="N",
        help="seed of the weights and of the order of training (default: %(default)s)",
    )


def demo(options: argparse.Namespace) -> None:
    """Train on cartoon pets."""
    run_demo(options.output, options.epochs, options.seed)


def run_demo(folder: str | Path = "minidl-demo", epochs: int = 8, seed: int = 0) -> float:
    """Run the demo.

    Parameters
    ----------
    folder : str or Path
        Folder for ``curves.png``, ``predictions.png`` and ``pets.h5``.
    epochs : int
        Passes over the drawings.
    seed : int
        Seed of the weights and of the order of training. The drawings are always the same.

    Returns
    -------
    float
        Accuracy on the test drawings.
    """
    plotting.require_matplotlib()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    seeding.set_random_seed(seed)
    start = time.perf_counter()
    print("Drawing 2,500 cartoon cats and dogs ...", flush=True)
    x, y = datasets.cartoon_pets(2000, size=64, seed=0)
    x_test, y_test = datasets.cartoon_pets(500, size=64, seed=1)

    model = _network()
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    print(f"Training {model.count_params():,} parameters for {epochs} epochs ...", flush=True)
    history = model.fit(x[:1700], y[:1700], epochs=epochs, validation_data=(x[1700:], y[1700:]))
    if history.interrupted:
        raise KeyboardInterrupt
    accuracy = model.evaluate(x_test, y_test, return_dict=True, verbose=0)["accuracy"]

    model.metadata["class_names"] = list(datasets.CARTOON_CLASSES)
    model.save(folder / "pets.h5")
    plotting.plot_history(history, folder / "curves.png", "minidl demo")
    _plot_predictions(model, x_test, y_test, folder / "predictions.png")
    print(
        f"Test accuracy on 500 new pictures: {accuracy:.1%} "
        f"({time.perf_counter() - start:.0f} s in total)\n"
        f"Look at: {folder / 'predictions.png'}, {folder / 'curves.png'}\n"
        f"Use it: minidl predict {folder / 'pets.h5'} IMAGE..."
    )
    return accuracy


def _network() -> Sequential:
    stack = [Input((64, 64, 3)), layers.Rescaling(1 / 127.5, -1)]
    for filters in (16, 32, 64):
        stack += [
            layers.Conv2D(filters, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
        ]
    stack += [
        layers.Flatten(),
        layers.Dropout(0.3),
        layers.Dense(64, activation="relu"),
        layers.Dense(1, activation="sigmoid"),
    ]
    return Sequential(stack, name="cartoon_pets")


def _plot_predictions(model: Model, x: np.ndarray, y: np.ndarray, path: Path) -> None:
    """Plot the six least certain test images, then the first twelve."""
    p = model.predict(x)[:, 0]
    p_true = np.where(y == 1, p, 1 - p)
    shown = np.concatenate([np.argsort(p_true)[:6], np.arange(12)])
    names = datasets.CARTOON_CLASSES
    titles = [f"{names[int(p[i] > 0.5)]} {max(p[i], 1 - p[i]):.0%}" for i in shown]
    plotting.plot_images(x[shown], titles, path, wrong=[p_true[i] < 0.5 for i in shown])
