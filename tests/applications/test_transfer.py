"""transfer_classifier: a frozen base with a trainable head."""

import numpy as np
import pytest
from support.tiny import assert_same_arrays, pictures, refused

from minidl import Input, Sequential, layers
from minidl.applications.transfer import transfer_classifier


def base(*last):
    stack = [layers.Conv2D(4, 3, name="conv"), *last]
    return Sequential([Input((8, 8, 3)), layers.Rescaling(1 / 255), *stack], name="base")


@pytest.mark.parametrize("last", [[], [layers.GlobalMaxPooling2D()]], ids=["maps", "vectors"])
@pytest.mark.parametrize(("classes", "units"), [(2, 1), (3, 3)])
def test_only_the_head_is_trained(last, classes, units):
    x, y = pictures()
    inner = base(*last)
    model = transfer_classifier(inner, classes=classes)
    assert model.output_shape == (None, units)
    assert len(model.trainable_weights) == 2
    before = [array.copy() for array in inner.get_weights()]
    head = model.layers[-1].get_weights()[0].copy()
    loss = "binary_crossentropy" if classes == 2 else "sparse_categorical_crossentropy"
    model.compile("sgd", loss)
    model.fit(x, y, verbose=0)
    assert_same_arrays(inner.get_weights(), before)
    assert not np.array_equal(model.layers[-1].get_weights()[0], head)


def test_augmentation_precedes_the_base():
    names = [layer.name for layer in transfer_classifier(base(), augment=True).layers]
    augmented = [name for name in names if name.startswith("random")]
    assert len(augmented) == 6
    assert all(names.index(name) < names.index("conv") for name in augmented)


def test_a_base_of_another_rank_is_refused_and_stays_trainable():
    sequence = base(layers.Reshape((36, 4)))
    with refused(ValueError, "base", "(None, 36, 4)"):
        transfer_classifier(sequence)
    assert sequence.trainable
