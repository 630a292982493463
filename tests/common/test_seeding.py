"""Seeds and generators: reproducible, and independent where they should be."""

import numpy as np
import pytest

import minidl
from minidl.common.seeding import as_generator, draw_seed, layer_generator


def test_a_seed_restarts_the_global_generator():
    minidl.set_random_seed(7)
    first = [draw_seed() for _ in range(3)]
    assert len(set(first)) == 3
    minidl.set_random_seed(np.int64(7))
    assert [draw_seed() for _ in range(3)] == first
    minidl.set_random_seed(8)
    assert draw_seed() != first[0]


@pytest.mark.parametrize("seed", [-1, 1.0, True, "1", None])
def test_invalid_seeds_are_rejected(seed):
    with pytest.raises(ValueError, match=r"^set_random_seed: expected .* >= 0, received "):
        minidl.set_random_seed(seed)


def test_generators_from_seeds_generators_and_none():
    own = np.random.default_rng(3)
    assert as_generator(own) is own
    assert as_generator(3).random() == np.random.default_rng(3).random()
    minidl.set_random_seed(0)
    first = as_generator(None).random()
    minidl.set_random_seed(0)
    assert as_generator(None).random() == first


def test_a_layer_without_seed_uses_the_generator_of_the_step():
    step = np.random.default_rng(0)
    assert layer_generator(step, None) is step


def test_a_layers_seed_changes_its_numbers_in_each_step():
    def draw(step, seed):
        return layer_generator(np.random.default_rng(step), seed).random()

    assert draw(0, 1) == draw(0, 1)
    assert len({draw(0, 1), draw(0, 2), draw(1, 1)}) == 3
