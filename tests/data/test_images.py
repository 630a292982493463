"""Image decoding: color modes, sizes, orientation, and errors of bad files."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from minidl.common.errors import DataError
from minidl.data.images import MAX_PIXELS, load_image, read_file


def encode(image, file_format="PNG", **options):
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def photo(height=300, width=400):
    """Return a smooth picture with some edges, similar to a photo."""
    y, x = np.mgrid[:height, :width].astype(float)
    red = 127 + 100 * np.sin(x / 23) * np.cos(y / 31)
    green = 255 * x / width
    blue = np.where((x - 200) ** 2 + (y - 150) ** 2 < 80**2, 220, 30)
    return Image.fromarray(np.stack([red, green, blue], axis=-1).astype(np.uint8))


def png_header(width, height):
    """Return a PNG that declares a size but contains few pixels."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def test_rgb_png_is_returned_pixel_by_pixel(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    path = tmp_path / "é 写真.png"
    Image.fromarray(pixels).save(path)
    for source in (path, str(path), path.read_bytes(), Image.open(path)):
        loaded = load_image(source)
        assert loaded.dtype == np.uint8
        np.testing.assert_array_equal(loaded, pixels)
        loaded[0, 0, 0] = 1  # a new array, not a view of Pillow's memory


@pytest.mark.parametrize(
    ("size", "shape"), [(8, (8, 8, 3)), ((6, 9), (6, 9, 3)), (None, (30, 40, 3))]
)
def test_image_size_is_height_then_width(size, shape):
    assert load_image(encode(photo(30, 40)), size).shape == shape


def test_resizing_is_antialiased():
    # Black and white lines of one pixel: without antialiasing a half-sized copy is all black.
    lines = np.zeros((64, 64, 3), np.uint8)
    lines[:, ::2] = 255
    small = load_image(encode(Image.fromarray(lines)), 16)
    assert np.abs(small[:, 1:-1].astype(int) - 127).max() < 40


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "CMYK", "I;16", "I"])
def test_every_mode_of_a_gray_picture_becomes_the_same_rgb(mode):
    gray = 255 if mode == "1" else 102
    if mode in ("I;16", "I"):
        image = Image.fromarray(np.full((4, 5), gray * 257, np.uint16))
        image = image.convert("I") if mode == "I" else image
    else:
        image = Image.new("L", (5, 4), gray).convert("RGB").convert(mode)
    data = encode(image, "TIFF" if mode in ("CMYK", "I") else "PNG")
    assert Image.open(io.BytesIO(data)).mode == mode
    np.testing.assert_allclose(load_image(data), np.full((4, 5, 3), gray), atol=1)
    np.testing.assert_allclose(
        load_image(data, color_mode="grayscale"), np.full((4, 5, 1), gray), atol=1
    )


def test_16_bit_gray_keeps_its_range():
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(1, 256)
    loaded = load_image(encode(Image.fromarray(ramp)), color_mode="grayscale")
    np.testing.assert_allclose(loaded[0, :, 0], np.arange(256), atol=1)


def test_transparent_pixels_are_laid_over_white():
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    expected = [[[255, 0, 0], [255, 255, 255]]]
    np.testing.assert_array_equal(load_image(encode(image)), expected)
    np.testing.assert_array_equal(load_image(encode(image, "WEBP", lossless=True)), expected)
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    np.testing.assert_array_equal(load_image(encode(palette, transparency=1)), expected)
    np.testing.assert_array_equal(load_image(encode(palette, "GIF", transparency=1)), expected)


def test_cmyk_jpeg_becomes_rgb():
    data = encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95)
    np.testing.assert_allclose(load_image(data)[8, 8], [255, 0, 0], atol=12)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_size", [None, (40, 30)])
def test_exif_orientation_turns_the_picture_upright(orientation, image_size):
    upright = Image.new("RGB", (300, 400), "white")
    upright.paste("red", (0, 0, 150, 200))  # top left
    upright.paste("blue", (150, 200, 300, 400))  # bottom right
    # A camera in this orientation stores the inverse of the correction.
    stored = (
        upright.transpose(
            {
                2: Image.Transpose.FLIP_LEFT_RIGHT,
                3: Image.Transpose.ROTATE_180,
                4: Image.Transpose.FLIP_TOP_BOTTOM,
                5: Image.Transpose.TRANSPOSE,
                6: Image.Transpose.ROTATE_90,
                7: Image.Transpose.TRANSVERSE,
                8: Image.Transpose.ROTATE_270,
            }[orientation]
        )
        if orientation > 1
        else upright
    )
    exif = Image.Exif()
    exif[0x0112] = orientation
    loaded = load_image(encode(stored, "JPEG", exif=exif), image_size).astype(int)
    height, width = loaded.shape[:2]
    assert (height, width) == (image_size or (400, 300))
    corners = loaded[
        [height // 8, height // 8, -height // 8], [width // 8, -width // 8, -width // 8]
    ]
    expected = [[255, 0, 0], [255, 255, 255], [0, 0, 255]]
    np.testing.assert_allclose(corners, expected, atol=25)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_data_is_ignored():
    data = encode(photo(20, 30), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff garbage")
    assert load_image(data).shape == (20, 30, 3)


@pytest.mark.parametrize("size", [(60, 80), (150, 200), (40, 400)])
@pytest.mark.parametrize("color_mode", ["rgb", "grayscale"])
def test_reduced_decoding_stays_close_to_a_full_one(size, color_mode):
    squares = np.random.default_rng(0).integers(-60, 60, (150, 200, 1)).repeat(8, 0).repeat(8, 1)
    textured = np.clip(np.asarray(photo(1200, 1600)) + squares, 0, 255).astype(np.uint8)
    data = encode(Image.fromarray(textured), "JPEG", quality=90)
    full = Image.open(io.BytesIO(data)).convert("RGB" if color_mode == "rgb" else "L")
    full = np.asarray(full.resize(size[::-1], Image.Resampling.BILINEAR), float)
    difference = np.abs(load_image(data, size, color_mode).astype(float).squeeze() - full)
    assert difference.mean() < 1  # of 255
    assert np.quantile(difference, 0.999) < 8


def test_an_open_pillow_image_is_not_changed():
    image = Image.open(io.BytesIO(encode(photo(800, 800), "JPEG")))
    load_image(image, 20)
    assert image.size == (800, 800)
    assert image.getpixel((400, 300))  # still open


BAD_FILES = {
    "empty.jpg": (b"", "empty"),
    "text.jpg": (b"I am not a photo, only a text with a wrong name.", "not an image"),
    "cut.jpg": (encode(photo(), "JPEG")[:4000], "cut off"),
    "cut.png": (encode(photo())[:2000], "cut off"),
    "header.jpg": (encode(photo(), "JPEG")[:10], "cut off"),
    "garbage.png": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "image"),
    "postscript.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    "bomb.png": (png_header(12_000, 10_000), "bomb"),
    "huge_bomb.png": (png_header(65_000, 65_000), "bomb"),
    "bomb_below_pillows_own_limit.png": (png_header(9_000, 9_000), "bomb"),
}


@pytest.mark.parametrize("name", BAD_FILES)
@pytest.mark.parametrize("image_size", [None, 32])
def test_a_bad_file_raises_data_error_with_its_name_and_the_reason(tmp_path, name, image_size):
    content, reason = BAD_FILES[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=reason) as caught:
        load_image(path, image_size)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore")
def test_a_decompression_bomb_is_rejected_under_any_warning_filter():
    for side in (9_000, 12_000, 65_000):
        with pytest.raises(DataError, match="bomb"):
            load_image(png_header(side, side))
    assert MAX_PIXELS < 9_000 * 9_000


def test_missing_files_and_wrong_sources_raise_data_error(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        load_image(tmp_path / "missing.jpg")
    with pytest.raises(DataError, match="folder"):
        load_image(tmp_path)
    with pytest.raises(DataError, match="cannot be opened"):
        load_image("zero\0character.jpg")
    with pytest.raises(DataError, match="received int"):
        load_image(3)
    with pytest.raises(DataError, match="floating-point"):
        load_image(encode(Image.new("F", (3, 3)), "TIFF"))


@pytest.mark.parametrize("size", [0, -1, (3,), (3, 4, 5), (3, 0), 2.5, (2.0, 3), True, "ab"])
def test_a_wrong_size_raises_value_error(size):
    with pytest.raises(ValueError, match="image_size"):
        load_image(encode(photo(8, 8)), size)


def test_a_wrong_color_mode_raises_value_error():
    with pytest.raises(ValueError, match="'rgb' or 'grayscale', received 'bgr'"):
        load_image(encode(photo(8, 8)), color_mode="bgr")


def test_read_file_returns_the_content_up_to_a_limit(tmp_path, monkeypatch):
    path = tmp_path / "a.bin"
    path.write_bytes(b"content")
    assert read_file(path) == b"content"
    monkeypatch.setattr("minidl.data.images.MAX_BYTES", 6)
    with pytest.raises(DataError, match=r"a\.bin: expected an image file, received too large"):
        read_file(path)
