"""Ablation of PetsNet's recipe: short trainings, each without one component.

    python examples/pets_ablation.py                                  # on cartoons
    python examples/pets_ablation.py --data MANY_PHOTOS --epochs 8    # an hour

Each training is short and uses small images. The accuracy is measured on the photos that are held
out of training. With one seed and a thousand photos its standard error is about one point.
"""

import common
import pets_recipe

import minidl


def ablate(options, seed: int, without: str) -> float:
    """Train without one component and return the accuracy on the held-out photos."""
    minidl.set_random_seed(seed)
    training, held_out = pets_recipe.load(options, options.image_size)
    model = pets_recipe.build(options.epochs * len(training), without)
    model.fit(training, epochs=options.epochs, verbose=0)
    return model.evaluate(held_out, return_dict=True, verbose=0)["accuracy"]


def main(options) -> None:
    for without in ("", *pets_recipe.INGREDIENTS):
        found = [ablate(options, seed, without) for seed in options.seed]
        shown = ", ".join(f"{accuracy:.4f}" for accuracy in found)
        print(f"without {without or 'nothing'}: {shown}", flush=True)


if __name__ == "__main__":
    with common.guarded("pets_ablation"):
        main(common.parse(__doc__, epochs=8, image_size=64, cartoon_size=48, other_test=False))
