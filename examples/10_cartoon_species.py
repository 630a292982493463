"""Four classes and their confusion matrix: cartoon cats, dogs, rabbits and bears.

    python examples/10_cartoon_species.py
    python examples/10_cartoon_species.py --seed 0 1 2 --epochs 20

With more than two classes the network ends in a softmax: one probability per class, with sum 1. The
confusion matrix shows the errors, one row per true class. The recall is the share of a class that
was found. A picture shows the least certain predictions.
"""

from pathlib import Path

import common
import numpy as np

import minidl
from minidl import datasets, optimizers, plotting
from minidl.applications import small_cnn
from minidl.metrics import ConfusionMatrix

EPOCHS = 12
SPECIES = tuple(datasets.CARTOON_SPECIES)


def train_once(options, seed: int):
    """Train on 1600 drawings; return the model."""
    size = options.image_size
    x, y = datasets.cartoon_pets(1600, size, seed=seed, species=SPECIES)
    model = small_cnn((size, size, 3), classes=len(SPECIES), filters=(16, 32, 64, 128))
    steps = options.epochs * -(-len(x) // 32)
    schedule = optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=3e-3, warmup_steps=steps // 20
    )
    model.compile(
        optimizers.AdamW(schedule, weight_decay=0.05),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    history = model.fit(x, y, epochs=options.epochs)
    if history.interrupted:
        raise KeyboardInterrupt
    model.metadata["class_names"] = list(SPECIES)
    return model


def show(counts: np.ndarray) -> None:
    """Print the confusion matrix and the recall of each class."""
    print(" " * 12 + "".join(f"{name:>8}" for name in SPECIES) + "   recall")
    for name, row in zip(SPECIES, counts, strict=True):
        found = row[SPECIES.index(name)] / row.sum()
        print(f"true {name:<7}" + "".join(f"{n:8d}" for n in row) + f"   {found:.3f}")


def main(options) -> None:
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    # Image i depends only on the seed and i, so training and test images differ.
    x, y = datasets.cartoon_pets(600, options.image_size, seed=10_000, species=SPECIES)
    accuracies = []
    for seed in options.seed:
        minidl.set_random_seed(seed)
        model = train_once(options, seed)
        p = model.predict(x, verbose=0)
        matrix = ConfusionMatrix(num_classes=len(SPECIES))
        matrix.update_state(y, p)
        accuracies.append((p.argmax(axis=1) == y).mean())
        print(f"seed {seed}: test accuracy {accuracies[-1]:.4f}")
        show(matrix.result())
        least = p.max(axis=1).argsort()[:18]
        answers = [f"{SPECIES[p[i].argmax()]} {p[i].max():.0%}" for i in least]
        wrong = [p[i].argmax() != y[i] for i in least]
        plotting.plot_images(x[least], answers, folder / f"species-seed{seed}.png", wrong=wrong)
        model.save(folder / f"species-seed{seed}.h5")
    print(f"mean test accuracy {np.mean(accuracies):.4f}")


if __name__ == "__main__":
    with common.guarded("cartoon_species"):
        main(common.parse(__doc__, epochs=EPOCHS, photos=False))
