"""SIMD vectors: arithmetic, masks, loads and stores."""

import numpy as np
import pytest
from numba import njit, types
from numba.extending import intrinsic

from minidl.kernels.compiled.simd import (
    FLOAT,
    INT,
    LANES,
    NOWHERE,
    REGISTERS,
    Memory,
    Vector,
    broadcast,
    is_true,
    pointer_to,
)


def run(formula, *arrays, count=None, condition=True):
    """Write ``formula(builder, condition, *vectors)`` to a vector of sevens and return it."""

    @intrinsic
    def emit_formula(typing_context, a, b, y, count, condition):
        def emit(context, builder, signature, arguments):
            *addresses, number, boolean = arguments
            memory = Memory(builder) if whole else Memory(builder, number)
            a, b, y = (pointer_to(builder, address, FLOAT) for address in addresses)
            vectors = [memory.load(pointer, INT(0)) for pointer in (a, b)]
            memory.store(formula(builder, is_true(builder, boolean), *vectors), y, INT(0))
            return context.get_dummy_value()

        return types.void(*[types.intp] * 4, types.boolean), emit

    @njit
    def kernel(a, b, y, count, condition):
        emit_formula(a.ctypes.data, b.ctypes.data, y.ctypes.data, count, condition)

    whole = count is None
    y = np.full(LANES, 7, np.float32)
    kernel(arrays[0], arrays[-1], y, 0 if whole else count, condition)
    return y


def numbers(seed=0):
    return np.random.default_rng(seed).normal(size=LANES).astype(np.float32)


def test_there_are_enough_registers_for_register_tiles():
    assert LANES in (4, 8, 16)
    assert REGISTERS % 4 == 0  # rows of two vectors, and half as many of them


def test_vectors_compute_like_numbers():
    a, b = numbers(0), numbers(1)
    y = run(lambda builder, _, a, b: 4.0 * a - b + a, a, b)
    # Compilers may contract and reorder: up to three roundings of the sum of the terms.
    bound = 3 * np.finfo(np.float32).eps * (5 * np.abs(a) + np.abs(b))
    assert (np.abs(y - (5 * np.float64(a) - b)) <= bound).all()


def test_double_precision_is_rounded_once():
    a = numbers()
    y = run(lambda builder, _, a, b: (float(1 / 3) * a.to_double()).to_float(), a)
    np.testing.assert_array_equal(y, (a.astype(np.float64) / 3).astype(np.float32))


@pytest.mark.parametrize("condition", [False, True])
def test_zeros_where_a_mask_and_a_condition_hold(condition):
    a = numbers()
    a[0] = np.nan

    def formula(builder, condition, a, b):
        return a.zero_where(a.compare_to_zero("<"), condition)

    y = run(formula, a, condition=condition)
    np.testing.assert_array_equal(y, np.where(a < 0, 0, a) if condition else a)
    np.testing.assert_array_equal(run(lambda builder, _, a, b: a.zero_where(NOWHERE), a), a)


@pytest.mark.parametrize("count", [0, 1, LANES - 1, LANES])
def test_only_the_first_lanes_are_loaded_and_stored(count):
    a = numbers()
    y = run(lambda builder, _, a, b: a + b, a, count=count)
    np.testing.assert_array_equal(y[:count], 2 * a[:count])
    assert (y[count:] == 7).all()


def test_broadcast_repeats_a_number():
    def formula(builder, _, a, b):
        first = builder.extract_element(a.value, INT(0))
        return Vector(builder, broadcast(builder, first))

    a = numbers()
    np.testing.assert_array_equal(run(formula, a), np.full(LANES, a[0]))


def test_clip_limits_numbers_and_keeps_nan():
    a = numbers()
    a[:3] = np.nan, -9, 9

    def formula(builder, _, a, b):
        return a.clip(FLOAT(-0.5), FLOAT(0.25))

    np.testing.assert_array_equal(run(formula, a), np.clip(a, np.float32(-0.5), np.float32(0.25)))
