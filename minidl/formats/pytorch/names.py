"""PyTorch's names of tensors, split into layers and minidl's roles.

A ``weight`` is a kernel, or the gamma of a normalization; the tensors beside it tell which.

>>> from minidl.formats.pytorch.names import is_pytorch_name, split_names
>>> shapes = {"module.fc.weight": (10, 64), "module.fc.bias": (10,)}
>>> is_pytorch_name("module.fc.weight"), [(t.layer, t.role) for t in split_names(shapes)]
(True, [('fc', 'kernel'), ('fc', 'bias')])
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from minidl.common.errors import FileFormatError

__all__ = ["IGNORED", "NamedTensor", "is_pytorch_name", "split_names"]

IGNORED = "num_batches_tracked"  # a counter of training steps, which inference does not need
_WRAPPERS = ("module", "_orig_mod", "model")  # DataParallel, torch.compile, Lightning
_STATISTICS = {"running_mean": "moving_mean", "running_var": "moving_variance"}
_AFFINE = {"weight": "gamma", "bias": "beta"}


@dataclass(frozen=True)
class NamedTensor:
    """One tensor of a state dict: its name there, and scope, layer and role in minidl."""

    name: str
    scope: str
    layer: str
    role: str


def is_pytorch_name(name: str) -> bool:
    """Return whether a tensor's name has one of the endings that only PyTorch writes."""
    return name.rpartition(".")[2] in ("weight", "running_mean", "running_var", IGNORED)


def split_names(shapes: Mapping[str, tuple[int, ...]]) -> list[NamedTensor]:
    """Return scope, layer and role of each tensor, in the same order; leave out counters.

    Parameters
    ----------
    shapes : dict of str to tuple
        The shapes of all tensors by name.

    Raises
    ------
    FileFormatError
        If a tensor has no known role.
    """
    prefix = _common_wrappers(list(shapes))
    normalizations = {
        name.rpartition(".")[0] for name in shapes if name.rpartition(".")[2] in _STATISTICS
    }
    found = []
    for name, shape in shapes.items():
        layer, _, last = name.rpartition(".")
        if last == IGNORED:
            continue
        is_affine = layer in normalizations or len(shapes.get(f"{layer}.weight", ())) == 1
        role = _role(last, len(shape), is_affine)
        if role is None or not layer:
            raise FileFormatError(
                f"tensor {name[:100]!r} of shape {shape} has no known role: expected the weights "
                "and biases of Conv2d, Linear and BatchNorm2d"
            )
        scope = prefix.rstrip(".").replace(".", "/")
        found.append(NamedTensor(name, scope, layer[len(prefix) :], role))
    return found


def _role(last: str, rank: int, is_affine: bool) -> str | None:
    if rank == 1 and last in _STATISTICS:
        return _STATISTICS[last]
    if rank == 1 and is_affine:
        return _AFFINE.get(last)
    if last == "weight" and rank in (2, 4):
        return "kernel"
    return "bias" if last == "bias" and rank == 1 else None


def _common_wrappers(names: list[str]) -> str:
    """Return the names of wrapping modules with which all names begin: "module." or ""."""
    prefix = ""
    while names:
        for wrapper in _WRAPPERS:
            longer = f"{prefix}{wrapper}."
            if all(
                name.startswith(longer) and name.count(".") > longer.count(".") for name in names
            ):
                prefix = longer
                break
        else:
            break
    return prefix
