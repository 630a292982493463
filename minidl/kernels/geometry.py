"""Geometry of sliding windows: output sizes and padding of convolution and pooling.

>>> from minidl.kernels.geometry import Window
>>> window = Window((3, 3), strides=(2, 2), padding="same")
>>> window.output_size(8, 8), window.pads(8, 8)
((4, 4), (0, 1, 0, 1))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

__all__ = ["Convolution", "Window"]

Size = TypeVar("Size", int, int | None)  # None: unknown


@dataclass(frozen=True)
class Window:
    """A window that slides over the height and width of an image.

    Attributes
    ----------
    kernel_size, strides, dilation : tuple of int
        (height, width) in pixels.
    padding : {"valid", "same"} or tuple of int
        "valid" pads nothing. "same" is TensorFlow's rule: ``ceil(size / stride)`` outputs; where
        the padding is odd, the extra row or column is at the bottom or right. A tuple holds
        (top, bottom, left, right) in pixels.
    """

    kernel_size: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    padding: str | tuple[int, int, int, int] = "valid"
    dilation: tuple[int, int] = (1, 1)

    @property
    def extent(self) -> tuple[int, int]:
        """Height and width that the window covers, the gaps of the dilation included."""
        (kh, kw), (dh, dw) = self.kernel_size, self.dilation
        return dh * (kh - 1) + 1, dw * (kw - 1) + 1

    def output_size(self, height: Size, width: Size) -> tuple[Size, Size]:
        """Return (OH, OW): None for an unknown size, below 1 where the window does not fit."""
        return self._outputs_along(0, height), self._outputs_along(1, width)

    def _outputs_along(self, axis: int, size: Size) -> Size:
        """Return the number of window positions along one axis."""
        if size is None:
            return None
        stride = self.strides[axis]
        if self.padding == "same":
            return -(-size // stride)
        if not isinstance(self.padding, str):
            size += sum(self.padding[2 * axis : 2 * axis + 2])
        return (size - self.extent[axis]) // stride + 1

    def pads(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return the padding (top, bottom, left, right) in pixels."""
        if not isinstance(self.padding, str):
            return self.padding
        if self.padding == "valid":
            return 0, 0, 0, 0
        (top, bottom), (left, right) = (
            _same_padding(*axis)
            for axis in zip((height, width), self.strides, self.extent, strict=True)
        )
        return top, bottom, left, right

    def loop_geometry(self, height: int, width: int) -> tuple[int, ...]:
        """Return (KH, KW, SH, SW, DH, DW, top, left), which a loop over the windows needs.

        They are kernel size, strides, dilation, and the padding above and to the left.
        """
        top, _, left, _ = self.pads(height, width)
        return *self.kernel_size, *self.strides, *self.dilation, top, left


@dataclass(frozen=True)
class Convolution(Window):
    """The geometry of a convolution: a window and the number of channel groups."""

    groups: int = 1

    @property
    def is_pointwise(self) -> bool:
        """Whether the images are their own im2col matrix: 1x1 at stride 1, in one group."""
        ones = self.kernel_size == self.strides == (1, 1)
        unpadded = isinstance(self.padding, str) or not any(self.padding)
        return ones and unpadded and self.groups == 1


def _same_padding(size: int, stride: int, extent: int) -> tuple[int, int]:
    """Return the padding before and after one axis for ``ceil(size / stride)`` outputs."""
    total = max((-(-size // stride) - 1) * stride + extent - size, 0)
    return total // 2, total - total // 2
