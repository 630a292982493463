"""ImageNet: class names, preprocessing and decoding of predictions."""

import hashlib
import json

import numpy as np
import pytest

from minidl.applications import imagenet
from minidl.common.errors import ShapeError
from minidl.layers import ImageNetPreprocessing

MODES = ["caffe", "tf", "torch"]


def images(dtype="float32"):
    return np.random.default_rng(0).uniform(0, 255, (2, 4, 5, 3)).astype(dtype)


def expected(x, mode):
    x = np.asarray(x, "float64")
    if mode == "caffe":
        return x[..., ::-1] - [103.939, 116.779, 123.68]
    if mode == "tf":
        return x / 127.5 - 1
    return (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["uint8", "int64", "float16", "float32", "float64"])
def test_preprocess_input(mode, dtype):
    x = images(dtype)
    before = x.copy()
    y = imagenet.preprocess_input(x, mode=mode)
    assert y.dtype == (np.float64 if dtype == "float64" else np.float32)
    np.testing.assert_allclose(y, expected(x, mode), rtol=1e-6, atol=3e-5)
    assert np.array_equal(x, before)
    assert not np.shares_memory(x, y)


def test_preprocess_input_accepts_one_image_and_read_only_arrays():
    x = images()[0]
    x.flags.writeable = False
    np.testing.assert_allclose(imagenet.preprocess_input(x), expected(x, "caffe"), atol=3e-5)


def test_caffe_is_the_default_and_turns_red_into_the_last_channel():
    red = np.array([[[255, 0, 0]]])
    np.testing.assert_allclose(
        imagenet.preprocess_input(red)[0, 0], [-103.939, -116.779, 255 - 123.68], rtol=1e-6
    )


def test_preprocessing_refuses_unknown_modes_and_other_channels():
    with pytest.raises(
        ValueError, match="mode to be 'caffe', 'tf', 'torch' or 'lite', received 'tfx'"
    ):
        imagenet.preprocess_input(images(), mode="tfx")
    with pytest.raises(ValueError, match="expected mode"):
        ImageNetPreprocessing(["tf"])
    for shape in [(2, 4, 4, 1), (2, 4, 4, 4), (3, 4, 4), (0,), ()]:
        with pytest.raises(ShapeError, match="expected images with 3 channels"):
            imagenet.preprocess_input(np.zeros(shape))


def test_the_classes_are_those_of_keras():
    # The hash is that of Keras' own imagenet_class_index.json.
    order = imagenet.decode_predictions(np.linspace(1, 0, 1000)[None], top=1000)[0]
    index = {str(i): [wnid, name] for i, (wnid, name, _) in enumerate(order)}
    digest = hashlib.md5(json.dumps(index).encode()).hexdigest()
    assert digest == "c2c37ea517e94d9795004a39431a14cb"


def test_class_names_are_unique():
    names = imagenet.class_names()
    assert len(names) == len(set(names)) == 1000
    assert names[0] == "tench"
    assert names[281:286] == ["tabby", "tiger_cat", "Persian_cat", "Siamese_cat", "Egyptian_cat"]
    assert (names[151], names[268]) == ("Chihuahua", "Mexican_hairless")
    assert (names[264], names[474]) == ("Cardigan", "cardigan")
    assert (names[134], names[517]) == ("crane_n02012849", "crane_n03126707")
    assert {names[638], names[639]} == {"maillot_n03710637", "maillot_n03710721"}


def test_class_names_returns_a_new_list():
    imagenet.class_names().clear()
    assert len(imagenet.class_names()) == 1000


def test_decode_predictions_sorts_each_image_by_probability():
    p = np.zeros((2, 1000), "float32")
    p[0, [386, 101, 385]] = 0.7, 0.2, 0.1
    p[1, 2] = 1.0
    decoded = imagenet.decode_predictions(p, top=3)
    assert [name for _, name, _ in decoded[0]] == ["African_elephant", "tusker", "Indian_elephant"]
    assert decoded[0][0] == ("n02504458", "African_elephant", pytest.approx(0.7))
    assert decoded[1][0] == ("n01484850", "great_white_shark", 1.0)
    assert [len(row) for row in imagenet.decode_predictions(p)] == [5, 5]
    json.dumps(decoded)  # plain numbers


@pytest.mark.parametrize("shape", [(1000,), (2, 999), (1, 2, 1000), ()])
def test_decode_predictions_refuses_other_shapes(shape):
    with pytest.raises(ShapeError, match=r"expected predictions of shape \(N, 1000\), received"):
        imagenet.decode_predictions(np.zeros(shape))


@pytest.mark.parametrize("top", [0, 1001, 2.5, "3"])
def test_decode_predictions_refuses_other_counts(top):
    with pytest.raises(ValueError, match="expected top to be an integer from 1 to 1000"):
        imagenet.decode_predictions(np.zeros((1, 1000)), top=top)
