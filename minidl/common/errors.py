"""minidl's own exceptions: each a ``ValueError``, so old habits of catching still work.

>>> from minidl.common.errors import ShapeError
>>> issubclass(ShapeError, ValueError)
True
"""

__all__ = ["DataError", "FileFormatError", "MinidlError", "ShapeError"]


class MinidlError(ValueError):
    """Base of every exception that minidl defines itself."""


class ShapeError(MinidlError):
    """A tensor's shape does not fit the layer, loss or weight that received it."""


class DataError(MinidlError):
    """A folder, an image or a label cannot be used for training or prediction."""


class FileFormatError(MinidlError):
    """A model or weight file is damaged, or is not what its reader expects."""
