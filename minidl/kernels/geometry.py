"""Where a sliding window stands: output sizes and padding of convolutions and poolings.

>>> from minidl.kernels.geometry import Window
>>> window = Window((3, 3), strides=(2, 2), padding="same")
>>> window.output_size(8, 8), window.pads(8, 8)
((4, 4), (0, 1, 0, 1))
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Convolution", "Window"]


@dataclass(frozen=True)
class Window:
    """A window that slides over the height and width of an image.

    Attributes
    ----------
    kernel_size, strides, dilation : tuple of int
        (height, width) each.
    padding : {"valid", "same"} or (top, bottom, left, right)
        "same" is TensorFlow's rule: ``ceil(size / stride)`` outputs, and where the padding
        is odd the extra row or column is at the bottom or right. Four numbers are pixels.
    """

    kernel_size: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    padding: str | tuple[int, int, int, int] = "valid"
    dilation: tuple[int, int] = (1, 1)

    @property
    def extent(self) -> tuple[int, int]:
        """The height and width that the window covers, holes of the dilation included."""
        (kh, kw), (dh, dw) = self.kernel_size, self.dilation
        return dh * (kh - 1) + 1, dw * (kw - 1) + 1

    def output_size(self, height: int | None, width: int | None) -> tuple[int | None, int | None]:
        """Return (OH, OW); None stays None; below 1 means that the window does not fit."""
        return self._along(0, height), self._along(1, width)

    def _along(self, axis: int, size: int | None) -> int | None:
        """Return how many places the window has along one axis."""
        if size is None:
            return None
        stride = self.strides[axis]
        if self.padding == "same":
            return -(-size // stride)
        if self.padding != "valid":
            size += sum(self.padding[2 * axis : 2 * axis + 2])
        return (size - self.extent[axis]) // stride + 1

    def pads(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return (top, bottom, left, right) in pixels."""
        if self.padding == "valid":
            return 0, 0, 0, 0
        if self.padding != "same":
            return self.padding
        pads: list[int] = []
        for size, stride, extent in zip((height, width), self.strides, self.extent, strict=True):
            total = max((-(-size // stride) - 1) * stride + extent - size, 0)
            pads += [total // 2, total - total // 2]
        return tuple(pads)

    @property
    def is_pointwise(self) -> bool:
        """True for 1x1 windows at stride 1: the images are their own im2col matrix."""
        unpadded = isinstance(self.padding, str) or not any(self.padding)
        return self.kernel_size == (1, 1) and self.strides == (1, 1) and unpadded


@dataclass(frozen=True)
class Convolution(Window):
    """The geometry of one convolution: a window and its channel groups."""

    groups: int = 1
