"""Capabilities: properties of a layer's ``forward`` that the executors exploit.

>>> from minidl.layers import Capabilities, Dense
>>> Dense(3).capabilities.ignores_training
True
>>> Capabilities().ignores_training
False
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minidl.layers.base import Layer, Shape

__all__ = ["Capabilities", "check_capabilities", "inherited_capabilities"]

# Class attributes of minidl 0.1 and the capabilities that replace them.
FORMER_ATTRIBUTES = {
    "takes_list": "accepts_list",  # language: ok
    "same_in_training": "ignores_training",
    "identity_in_inference": "identity_in_inference",
    "infers_into_out": "writes_output",
    "each_sample_alone": "independent_samples",
}


@dataclass(frozen=True)
class Capabilities:
    """Properties of a layer's ``forward``, declared as a class attribute next to it.

    The defaults are always correct. A capability that a layer declares makes it faster:
    the executors then skip, fuse or split its computation. A class that overrides ``forward``
    inherits only `accepts_list`, because the others describe the code of ``forward``.

    Parameters
    ----------
    accepts_list : bool
        The input is a list of tensors, as for ``Add``.
    ignores_training : bool
        The output depends neither on `training` nor on `rng`. A frozen layer then runs in the
        inference plan, and its outputs may be cached between epochs.
    identity_in_inference : bool
        With ``training=False`` the output equals the input. The inference plan drops the layer.
    writes_output : bool
        ``infer(x, out)`` writes to `out` and returns it. The inference plan then reuses memory.
    independent_samples : bool
        With ``training=False`` the output of a sample depends on no other sample of the batch.
        The inference plan may then compute a large batch in parts.

    Examples
    --------
    >>> from minidl.layers import Capabilities, Layer
    >>> class Double(Layer):
    ...     capabilities = Capabilities(ignores_training=True, independent_samples=True)
    ...     def forward(self, x, training=False, rng=None):
    ...         return 2 * x, None
    ...     def backward(self, dy, cache, need_dx=True):
    ...         return 2 * dy, []
    >>> Double().capabilities.writes_output
    False
    """

    accepts_list: bool = False
    ignores_training: bool = False
    identity_in_inference: bool = False
    writes_output: bool = False
    independent_samples: bool = False


def inherited_capabilities(cls: type[Layer]) -> Capabilities:
    """Return the capabilities of a class: the defaults if only its ``forward`` is new.

    Parameters
    ----------
    cls : type
        Subclass of Layer.

    Returns
    -------
    Capabilities
        Or the property of the class, if the declaration depends on the layer's arguments.
    """
    for base in cls.__mro__:
        if "capabilities" in vars(base):
            break
        if "forward" in vars(base):
            return Capabilities(accepts_list=getattr(cls.capabilities, "accepts_list", False))
    return cls.capabilities


def check_capabilities(layer: Layer, input_shape: Shape, overrides_infer: bool) -> None:
    """Raise TypeError if a declaration of `layer` contradicts its methods.

    Parameters
    ----------
    layer : Layer
        About to be built.
    input_shape : tuple of int or None, or list of them
    overrides_infer : bool
        Whether the layer's class has an ``infer`` of its own.
    """
    declared = layer.capabilities
    if not isinstance(declared, Capabilities):
        raise TypeError(
            f"{layer.label}: expected capabilities to be Capabilities(...), received {declared!r}."
        )
    for former, name in FORMER_ATTRIBUTES.items():
        if hasattr(type(layer), former):
            raise TypeError(
                f"{layer.label}: expected capabilities, received the attribute {former!r} of "
                f"minidl 0.1. Declare `capabilities = Capabilities({name}=True)`."
            )
    if declared.writes_output and not overrides_infer:
        raise TypeError(
            f"{layer.label}: expected a method infer(x, out), because capabilities declare "
            "writes_output, received none. Define it or leave writes_output out."
        )
    if declared.identity_in_inference:
        output_shape = tuple(layer.compute_output_shape(input_shape))
        if output_shape != tuple(input_shape):
            raise TypeError(
                f"{layer.label}: expected output shape {tuple(input_shape)}, because capabilities "
                f"declare identity_in_inference, received {output_shape}."
            )
