"""All networks: parameter counts, shapes, preprocessing and ``until``."""

from functools import partial

import numpy as np
import pytest

import minidl
from minidl import Sequential, layers
from minidl.applications import (
    VGG16,
    EfficientNetB0,
    EfficientNetLite0,
    EfficientNetLite1,
    EfficientNetLite2,
    InceptionV3,
    MobileNetV2,
    MobileNetV3Large,
    MobileNetV3Small,
    ResNet18,
    ResNet34,
    ResNet50,
    imagenet,
)
from minidl.training.logits import final_activation

NETWORKS = [
    VGG16,
    ResNet50,
    InceptionV3,
    EfficientNetLite0,
    ResNet18,
    MobileNetV2,
    MobileNetV3Small,
]
SMALL = {InceptionV3: 75}  # by default 32
MODE = {
    VGG16: "caffe",
    ResNet50: "caffe",
    InceptionV3: "tf",
    EfficientNetLite0: "lite",
    ResNet18: "torch",
    MobileNetV2: "tf",
    MobileNetV3Small: "tf",
}
each_network = pytest.mark.parametrize("build", NETWORKS, ids=lambda build: build.__name__)


def photos(size, n=2):
    return np.random.default_rng(0).integers(0, 256, (n, size, size, 3), "uint8")


@pytest.mark.parametrize(
    ("build", "with_top", "without_top", "statistics"),
    [
        (ResNet18, 11_699_112, 11_186_112, 9_600),
        (ResNet34, 21_814_696, 21_301_696, 17_024),
        (partial(ResNet50, variant="torchvision"), 25_610_152, 23_561_152, 53_120),
        (EfficientNetB0, 5_330_571, 4_049_571, 42_023),
        (MobileNetV3Small, 2_554_968, 939_120, 12_112),
        (partial(MobileNetV3Small, alpha=0.75), 2_051_552, 583_160, 9_680),
        (partial(MobileNetV3Small, minimalistic=True), 2_056_848, 441_000, 12_112),
        (MobileNetV3Large, 5_507_432, 2_996_352, 24_400),
        (partial(MobileNetV3Large, alpha=1.25), 8_286_760, 4_764_160, 30_976),
        (partial(MobileNetV3Large, minimalistic=True), 3_948_688, 1_437_608, 24_400),
        (partial(MobileNetV2, alpha=0.35), 1_691_208, 410_208, 14_080),
        (partial(MobileNetV2, alpha=0.5), 1_987_224, 706_224, 18_544),
        (partial(MobileNetV2, alpha=0.75), 2_663_064, 1_382_064, 26_640),
        (MobileNetV2, 3_538_984, 2_257_984, 34_112),
        (partial(MobileNetV2, alpha=1.3), 5_431_048, 3_766_048, 44_256),
        (partial(MobileNetV2, alpha=1.4), 6_156_712, 4_363_712, 47_936),
        (VGG16, 138_357_544, 14_714_688, 0),
        (ResNet50, 25_636_712, 23_587_712, 53_120),
        (InceptionV3, 23_851_784, 21_802_784, 34_432),
        (EfficientNetLite0, 4_694_024, 3_413_024, 42_016),
        (EfficientNetLite1, 5_470_344, 4_189_344, 53_664),
        (EfficientNetLite2, 6_150_168, 4_869_168, 58_096),
    ],
)
def test_parameter_counts(build, with_top, without_top, statistics):
    network = build(weights=None)
    assert network.count_params() == with_top
    assert sum(p.value.size for p in network.non_trainable_weights) == statistics
    assert network.output_shape == (None, 1000)
    assert final_activation(network) == "softmax"
    assert build(weights=None, include_top=False).count_params() == without_top


@pytest.mark.parametrize(
    ("build", "size", "at_default", "at_150"),
    [
        (VGG16, 224, (7, 7, 512), (4, 4, 512)),
        (ResNet50, 224, (7, 7, 2048), (5, 5, 2048)),
        (InceptionV3, 299, (8, 8, 2048), (3, 3, 2048)),
        (EfficientNetLite0, 224, (7, 7, 1280), (5, 5, 1280)),
        (ResNet18, 224, (7, 7, 512), (5, 5, 512)),
        (MobileNetV2, 224, (7, 7, 1280), (5, 5, 1280)),
        (MobileNetV3Small, 224, (7, 7, 576), (5, 5, 576)),
        (EfficientNetB0, 224, (7, 7, 1280), (5, 5, 1280)),
    ],
)
def test_feature_shapes(build, size, at_default, at_150):
    assert build(weights=None).input_shape == (None, size, size, 3)
    for shape, expected in [
        ((size, size, 3), at_default),
        ((150, 150, 3), at_150),
        (None, (None, None, at_default[2])),
        ((None, 150, 3), (None, *at_150[1:])),
    ]:
        network = build(weights=None, include_top=False, input_shape=shape)
        assert network.output_shape == (None, *expected)
        assert network.input_shape == (None, *(shape or (None, None, 3)))


@each_network
def test_predict_on_the_smallest_input_size(build):
    size = SMALL.get(build, 32)
    network = build(weights=None, include_top=False, input_shape=(size, size, 3))
    y = network.predict(photos(size))
    assert y.shape == (2, 1, 1, network.output_shape[3])
    assert np.isfinite(y).all()


@each_network
def test_random_weights_depend_on_the_seed(build):
    shape = (SMALL.get(build, 32), SMALL.get(build, 32), 3)
    made = []
    for seed in (1, 1, 2):
        minidl.set_random_seed(seed)
        made.append(build(weights=None, include_top=False, input_shape=shape).get_weights()[0])
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


@each_network
def test_include_preprocessing_equals_preprocess_input(build):
    size = SMALL.get(build, 32)
    arguments = {"weights": None, "include_top": False, "input_shape": (size, size, 3)}
    minidl.set_random_seed(0)
    included = build(**arguments)
    minidl.set_random_seed(0)
    excluded = build(**arguments, include_preprocessing=False)
    assert "preprocessing" not in [layer.name for layer in excluded.layers]
    x = photos(size)
    y = included.predict(x)
    assert y.std() > 0
    expected = excluded.predict(imagenet.preprocess_input(x, mode=MODE[build]))
    # InceptionV3 fuses the preprocessing into its first convolution, which changes the rounding.
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5 * expected.max())


@pytest.mark.parametrize("pooling", ["avg", "max"])
@each_network
def test_pooling(build, pooling):
    size = 2 * SMALL.get(build, 32)
    arguments = {"weights": None, "include_top": False, "input_shape": (size, size, 3)}
    minidl.set_random_seed(0)
    features = build(**arguments).predict(photos(size))
    minidl.set_random_seed(0)
    pooled = build(**arguments, pooling=pooling).predict(photos(size))
    expected = features.mean(axis=(1, 2)) if pooling == "avg" else features.max(axis=(1, 2))
    np.testing.assert_allclose(pooled, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("build", "until", "omitted", "channels"),
    [
        (VGG16, "block3_pool", ("block4_conv1", "fc1"), 256),
        (ResNet50, "conv3_block4_out", ("conv4_block1_0_conv", "predictions"), 512),
        (InceptionV3, "mixed2", ("mixed3", "conv2d_26"), 288),
        (EfficientNetLite0, "block5c_add", ("block6a_expand_conv", "predictions"), 112),
        (ResNet18, "conv3_block2_out", ("conv4_block1_0_conv", "predictions"), 128),
        (MobileNetV2, "block_12_add", ("block_13_expand", "predictions"), 96),
        (MobileNetV3Small, "expanded_conv_7_add", ("expanded_conv_8_expand", "logits"), 48),
        (EfficientNetB0, "block5c_add", ("block6a_expand_conv", "predictions"), 112),
    ],
)
def test_until_equals_tap_of_the_whole_network(build, until, omitted, channels):
    shape = (SMALL.get(build, 32), SMALL.get(build, 32), 3)
    minidl.set_random_seed(0)
    whole = build(weights=None, include_top=False, input_shape=shape)
    minidl.set_random_seed(0)
    part = build(weights=None, input_shape=shape, until=until)
    names = [layer.name for layer in part.layers]
    assert names[-1] == until
    assert not set(omitted) & set(names)
    assert part.output_shape[3] == channels
    x = photos(SMALL.get(build, 32))
    np.testing.assert_array_equal(part.predict(x), whole.tap(until).predict(x))


def test_until_without_the_top_accepts_any_image_size():
    assert VGG16(weights=None, until="block5_pool").input_shape == (None, None, None, 3)
    pooled = InceptionV3(weights=None, until="mixed4", pooling="avg")
    assert pooled.output_shape == (None, 768)


@each_network
def test_save_and_load_a_model_with_the_network_inside(build, tmp_path):
    size = SMALL.get(build, 32)
    base = build(weights=None, input_shape=(size, size, 3), include_top=False, pooling="avg")
    base.trainable = False
    model = Sequential([base, layers.Dense(3, activation="softmax")])
    model.save(tmp_path / "model.h5")
    loaded = minidl.load_model(tmp_path / "model.h5")
    x = photos(size)
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    assert loaded.get_layer(base.name).count_params() == base.count_params()
    assert len(loaded.trainable_weights) == 2
    assert loaded.get_layer("preprocessing").mode == MODE[build]


def test_two_networks_in_one_model():
    x = minidl.Input((75, 75, 3))
    bases = [build(None, include_top=False, pooling="avg") for build in (VGG16, InceptionV3)]
    model = minidl.Model(x, layers.Concatenate()([base(x) for base in bases]))
    assert model.output_shape == (None, 512 + 2048)
    images = photos(75)
    expected = np.concatenate([base.predict(images) for base in bases], axis=1)
    np.testing.assert_allclose(model.predict(images), expected, rtol=1e-5, atol=1e-5)
