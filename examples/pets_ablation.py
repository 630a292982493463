"""What each ingredient of PetsNet's recipe brings: short trainings without one at a time.

    python examples/pets_ablation.py                                  # on drawn pets
    python examples/pets_ablation.py --data MANY_PHOTOS --epochs 8    # an hour

Each training is short and on small pictures; what is compared is the accuracy on the photos that
are held out of training. One seed on a thousand photos is uncertain by about a point.
"""

import common
import pets_recipe

import minidl


def ablate(options, seed: int, without: str) -> float:
    """Train without an ingredient and return the accuracy on the held-out photos."""
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
