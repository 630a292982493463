"""Layouts: how the axes of an ONNX tensor are stored in the tensor of a layer.

ONNX orders images (N, C, H, W), minidl (N, H, W, C). A :class:`Value` records both orders in terms
of :class:`Axis` objects. A reshaped or transposed value is the same tensor in another view: it
needs no layer. Layers are necessary only where an operator requires an order that is not stored;
:func:`moves` computes them.

>>> n, c, h, w = Axis(None), Axis(3), Axis(8), Axis(8)
>>> stored, wanted = ((n,), (h,), (w,), (c,)), ((n,), (c, h, w))
>>> moves(stored, wanted)
Moves(split=None, dims=(3, 1, 2), joined=(192,))
>>> moves(stored, ((n,), (h, w, c)))
Moves(split=None, dims=None, joined=(192,))
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minidl.common.errors import FileFormatError
from minidl.layers.symbolic import SymbolicTensor

__all__ = [
    "Axis",
    "Group",
    "Moves",
    "Value",
    "View",
    "axis_of",
    "atoms",
    "moves",
    "permutation",
    "reorder",
    "size_of",
    "split_to",
]


@dataclass(eq=False)
class Axis:
    """One axis, different from all others, even of the same size; None is an open size."""

    size: int | None


Group = tuple[Axis, ...]  # the axes that are joined into one; () has size 1
View = tuple[Group, ...]


@dataclass(frozen=True)
class Value:
    """A computed value of the ONNX graph.

    Attributes
    ----------
    tensor : SymbolicTensor
        The output of a layer.
    stored : tuple of Group
        The axes of that tensor.
    view : tuple of Group
        The axes in ONNX's order. Both have the same axes, and begin with the batch.
    """

    tensor: SymbolicTensor
    stored: View
    view: View

    @property
    def batch(self) -> Axis:
        """The axis of the samples."""
        return self.stored[0][0]

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The shape in ONNX's order."""
        return tuple(size_of(group) for group in self.view)


class Moves(NamedTuple):
    """The layers that store a tensor in another layout; None where a layer is not necessary.

    `split` and `joined` are target shapes of Reshape, `dims` are the axes of Permute.
    """

    split: tuple[int, ...] | None
    dims: tuple[int, ...] | None
    joined: tuple[int, ...] | None


def axis_of(size: int | None) -> Group:
    """Return the group of a new axis; one of size 1 is empty."""
    return () if size == 1 else (Axis(size),)


def size_of(group: Iterable[Axis]) -> int | None:
    """Return the product of the sizes, None if one is open."""
    sizes = [axis.size for axis in group]
    return None if None in sizes else math.prod(n for n in sizes if n is not None)


def atoms(view: Iterable[Group]) -> Group:
    """Return all axes of a view in order."""
    return tuple(axis for group in view for axis in group)


def moves(stored: View, wanted: View) -> Moves:
    """Return the layers that change the layout of a tensor from `stored` to `wanted`.

    Parameters
    ----------
    stored, wanted : tuple of Group
        The same axes; both begin with the batch.

    Raises
    ------
    FileFormatError
        If the axes differ, or axes of open size would have to be split or joined.
    """
    if stored[0] != wanted[0] or set(atoms(stored)) != set(atoms(wanted)):
        raise FileFormatError("an operation mixes the samples of a batch, or loses an axis")
    if atoms(stored) == atoms(wanted):
        return Moves(None, None, _target(stored, wanted))
    order = atoms(wanted)
    between = stored
    if not all(_is_run(group, order) for group in stored):  # an axis must be split first
        blocks = _blocks(atoms(stored[1:]), order[1:])
        before = atoms(stored)
        between = (stored[0], *sorted(blocks, key=lambda block: before.index(block[0])))
    dims, permuted = _permuted(between, wanted)
    return Moves(_target(stored, between), dims, _target(permuted, wanted))


def permutation(value: Value) -> tuple[int, ...] | None:
    """Return the position in the view of each stored axis, or None if they are not the same axes.

    Two values of one shape and one permutation can be combined element by element. Axes of size 1
    are left out.
    """
    positions = {group: i for i, group in enumerate(value.view) if group}
    groups = [group for group in value.stored if group]
    if len(groups) != len(value.stored) or any(group not in positions for group in groups):
        return None
    return tuple(positions[group] for group in groups)


def reorder(array: np.ndarray, old: Group, new: Group, axis: int = 0) -> np.ndarray:
    """Return `array` with the elements along an axis, ordered by `old`, in the order `new`.

    >>> g, k = Axis(2), Axis(3)
    >>> reorder(np.arange(6), (g, k), (k, g)).tolist()
    [0, 3, 1, 4, 2, 5]
    """
    if old == new:
        return array
    sizes = [size for size in (part.size for part in old) if size is not None]
    split = array.reshape(*array.shape[:axis], *sizes, *array.shape[axis + 1 :])
    order = [axis + old.index(part) for part in new]
    after = range(axis + len(order), split.ndim)
    return split.transpose(*range(axis), *order, *after).reshape(array.shape)


def split_to(value: Value, groups: Sequence[Group], sizes: Sequence[int]) -> Value | None:
    """Return `value` with `groups` of its view regrouped to `sizes`, in the order of a reshape.

    Axes are split where necessary; the result is None where that is impossible, as from (4, 6) to
    (6, 4).

    >>> x = Axis(12)
    >>> value = Value(None, ((x,),), ((x,),))
    >>> [[axis.size for axis in group] for group in split_to(value, value.view, (3, 1, 4)).view]
    [[3], [], [4]]
    """
    queue = list(atoms(groups))
    parts: dict[Axis, Group] = {}
    regrouped: list[Group] = []
    for size in sizes:
        group: Group = ()
        rest = size
        while rest > 1 and queue:
            axis = queue.pop(0)
            if axis.size is None:
                return None
            if rest % axis.size == 0:
                group, rest = (*group, axis), rest // axis.size
            elif axis.size % rest == 0:
                outer, inner = Axis(rest), Axis(axis.size // rest)
                parts[axis] = (outer, inner)
                queue.insert(0, inner)
                group, rest = (*group, outer), 1
            else:
                return None
        if rest != 1:
            return None
        regrouped.append(group)
    if queue:
        return None
    return Value(value.tensor, _replaced(value.stored, parts), tuple(regrouped))


def _replaced(view: View, parts: dict[Axis, Group]) -> View:
    """Return a view with axes replaced by their parts, which may have parts themselves."""

    def expand(axis: Axis) -> Group:
        return atoms(expand(part) for part in parts[axis]) if axis in parts else (axis,)

    return tuple(atoms(expand(axis) for axis in group) for group in view)


def _blocks(old: Group, new: Group) -> list[Group]:
    """Return the longest runs of axes that are adjacent in both orders, in the order `new`."""
    position = {axis: i for i, axis in enumerate(old)}
    blocks: list[Group] = []
    for axis in new:
        if blocks and position[axis] == position[blocks[-1][-1]] + 1:
            blocks[-1] = (*blocks[-1], axis)
        else:
            blocks.append((axis,))
    return blocks


def _is_run(group: Group, order: Group) -> bool:
    """Return whether the axes of a group are adjacent in `order`."""
    if not group:
        return True
    start = order.index(group[0])
    return order[start : start + len(group)] == group


def _permuted(between: View, wanted: View) -> tuple[tuple[int, ...] | None, View]:
    """Return the axes of a Permute from `between` towards `wanted`, and its output's layout."""
    order = atoms(wanted)
    filled = [i for i in range(1, len(between)) if between[i]]
    empty = [i for i in range(1, len(between)) if not between[i]]
    dims = tuple(sorted(filled, key=lambda i: order.index(between[i][0])))
    dims = (*dims, *empty)
    if dims == tuple(range(1, len(between))):
        return None, between
    return dims, (between[0], *(between[i] for i in dims))


def _target(old: View, new: View) -> tuple[int, ...] | None:
    """Return the target shape of a Reshape between layouts of one order; None if they are equal."""
    if old == new:
        return None
    sizes = [size_of(group) for group in new[1:]]
    if sizes.count(None) > 1:
        raise FileFormatError(
            "an operation joins or splits axes of images of any size; give the model's input a "
            "fixed size when it is exported"
        )
    return tuple(-1 if size is None else size for size in sizes)
