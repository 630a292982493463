"""File name extensions of the image formats that minidl reads.

>>> from minidl.common.image_extensions import IMAGE_EXTENSIONS
>>> "photo.JPG".lower().endswith(IMAGE_EXTENSIONS)
True
"""

from __future__ import annotations

__all__ = ["IMAGE_EXTENSIONS"]

IMAGE_EXTENSIONS = (
    *(".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm"),
    *(".png", ".ppm", ".tif", ".tiff", ".webp"),
)
