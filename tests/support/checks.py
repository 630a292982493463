"""Assertions that several test modules share."""

import json
import threading

import numpy as np
from hypothesis import settings

# For fast tests with many arguments: five times the number of examples of the profile.
thorough = settings(max_examples=5 * settings.default.max_examples)


def assert_sums_agree(actual, exact, magnitude, terms):
    """Assert that `actual` and `exact` agree as sums of `terms` products in any order.

    The error of a sum of n terms is at most n roundings of the sum of the absolute terms
    (`magnitude`). The reference in float64 has the same bound in its own precision.
    """
    assert actual.shape == exact.shape
    allowed = (terms + 2) * (np.finfo(actual.dtype).eps + np.finfo(np.float64).eps) * magnitude
    excess = np.abs(np.float64(actual) - exact) - allowed
    assert excess.size == 0 or excess.max() <= 0, f"off by {excess.max():.3g} more than rounding"


def check_layer(layer, x):
    """Assert the contract of all layers, which does not depend on what they compute.

    Parameters
    ----------
    layer : Layer
        Not built yet.
    x : float64 array or list of arrays
    """
    for training in (False, True):
        check_shapes_and_dtypes(twin(layer), x, training)
        check_nothing_is_mutated(twin(layer), x, training)
        check_no_state(twin(layer), x, training)
        check_configuration(twin(layer), x, training)
    check_need_dx(twin(layer), x)
    check_memory_layout(twin(layer), x)


def twin(layer):
    """Return an unbuilt copy of `layer`, created from its configuration in JSON."""
    return type(layer).from_config(json.loads(json.dumps(layer.get_config())))


def each(function, x):
    """Apply `function` to an array, or to each of a list of arrays."""
    return [function(item) for item in x] if isinstance(x, list) else function(x)


def listed(x):
    return x if isinstance(x, list) else [x]


def run(layer, x, training, seed=0):
    """Build the layer if necessary; return y, a random dy and the cache."""
    layer.ensure_built(each(np.shape, x), listed(x)[0].dtype)
    y, cache = layer.forward(x, training=training, rng=np.random.default_rng(seed))
    dy = np.random.default_rng(seed + 1).normal(size=y.shape).astype(y.dtype)
    return y, dy, cache


def check_shapes_and_dtypes(layer, x, training):
    unknown_batch = each(lambda item: (None, *item.shape[1:]), x)
    expected = layer.compute_output_shape(unknown_batch)
    outputs = []
    for dtype in (np.float64, np.float32):
        copy = twin(layer)
        given = each(lambda item, dtype=dtype: item.astype(dtype), x)
        y, dy, cache = run(copy, given, training)
        if outputs:
            copy.set_weights(outputs[0][1].get_weights())
            y, dy, cache = run(copy, given, training)
        outputs.append((y, copy))
        dx, gradients = copy.backward(dy, cache)
        assert expected == (None, *y.shape[1:])
        assert tuple(copy.compute_output_shape(each(np.shape, given))) == y.shape
        assert each(np.shape, dx) == each(np.shape, given)
        assert [g.shape for g in gradients] == [p.shape for p in copy.trainable_weights]
        arrays = [y, *listed(dx), *gradients, *copy.get_weights()]
        assert {array.dtype for array in arrays} == {np.dtype(dtype)}
    # The same numbers, rounded: a few hundred sums of numbers of size one.
    np.testing.assert_allclose(outputs[1][0], outputs[0][0], rtol=1e-3, atol=1e-4)


def check_nothing_is_mutated(layer, x, training):
    before = each(np.copy, x)
    y, dy, cache = run(layer, x, training)
    y_before, dy_before = y.copy(), dy.copy()
    dx, _ = layer.backward(dy, cache)
    for now, then in zip([*listed(x), y, dy], [*listed(before), y_before, dy_before], strict=True):
        np.testing.assert_array_equal(now, then)
    assert len(listed(dx)) == len(listed(x))


def check_no_state(layer, x, training):
    """Nested and repeated calls, and calls from several threads, give the same result."""
    y, dy, cache = run(layer, x, training)
    result = [y.copy(), *layer.backward(dy, cache)[1], *listed(layer.backward(dy, cache)[0])]
    _, _, first = run(layer, x, training)
    run(layer, each(lambda item: 2 * item + 1, x), training, seed=7)  # in between
    found = {}

    def work(k):
        y, dy, cache = run(layer, x, training)
        run(layer, each(lambda item: item - k, x), training, seed=k)
        dx, gradients = layer.backward(dy, cache)
        found[k] = [y, *gradients, *listed(dx)]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    dx, gradients = layer.backward(dy, first)
    for other in ([y, *gradients, *listed(dx)], *(found[k] for k in range(3))):
        for now, then in zip(other, result, strict=True):
            np.testing.assert_array_equal(now, then)


def check_configuration(layer, x, training):
    run(layer, x, training)
    copy = twin(layer)
    assert (copy.name, copy.trainable, copy.dtype) == (layer.name, layer.trainable, layer.dtype)
    copy.ensure_built(each(np.shape, x))
    copy.set_weights(layer.get_weights())
    y, _, _ = run(layer, x, training)
    np.testing.assert_array_equal(run(copy, x, training)[0], y)


def check_need_dx(layer, x):
    """The gradients do not depend on need_dx; a frozen layer returns dx and no gradients."""
    y, dy, cache = run(layer, x, False)
    dx, gradients = layer.backward(dy, cache)
    for now, then in zip(layer.backward(dy, cache, need_dx=False)[1], gradients, strict=True):
        np.testing.assert_array_equal(now, then)
    layer.trainable = False
    frozen_y, dy, cache = run(layer, x, False)
    np.testing.assert_array_equal(frozen_y, y)
    frozen_dx, gradients = layer.backward(dy, cache)
    assert gradients == []
    assert layer.trainable_weights == []
    for now, then in zip(listed(frozen_dx), listed(dx), strict=True):
        np.testing.assert_array_equal(now, then)


def check_memory_layout(layer, x):
    """Transposed and strided arrays give the same result as contiguous ones."""
    y = layer(x)
    np.testing.assert_array_equal(layer(each(np.asfortranarray, x)), y)
    np.testing.assert_array_equal(layer(each(lambda a: np.repeat(a, 2, axis=0)[::2], x)), y)
