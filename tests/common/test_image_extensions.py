"""File name extensions of images."""

from PIL import Image

from minidl.common.image_extensions import IMAGE_EXTENSIONS


def test_pillow_reads_every_format():
    readable = {ext for ext, name in Image.registered_extensions().items() if name in Image.OPEN}
    assert set(IMAGE_EXTENSIONS) <= readable
    assert all(ext == ext.lower() for ext in IMAGE_EXTENSIONS)
