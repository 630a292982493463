"""Exceptions of minidl, all of them subclasses of ``ValueError``.

>>> from minidl.common.errors import ShapeError
>>> issubclass(ShapeError, ValueError)
True
"""

__all__ = ["DataError", "FileFormatError", "MinidlError", "ShapeError"]


class MinidlError(ValueError):
    """Base class of minidl's exceptions."""


class ShapeError(MinidlError):
    """A tensor has a shape that the layer, loss or weight does not accept."""


class DataError(MinidlError):
    """A folder, an image or a label cannot be used for training or prediction."""


class FileFormatError(MinidlError):
    """A model or weight file is damaged, or has unexpected contents."""
