"""What the three networks are made of: names, shapes, sizes, order, and where they can be cut."""

import numpy as np
import pytest

import minidl
from minidl import Sequential, layers
from minidl.applications import VGG16, InceptionV3, ResNet50, imagenet
from minidl.training.logits import final_activation

NETWORKS = [VGG16, ResNet50, InceptionV3]
DEFAULT_SIZE = {VGG16: 224, ResNet50: 224, InceptionV3: 299}
SMALL = {VGG16: 32, ResNet50: 32, InceptionV3: 75}
MODE = {VGG16: "caffe", ResNet50: "caffe", InceptionV3: "tf"}
each_network = pytest.mark.parametrize("build", NETWORKS, ids=lambda build: build.__name__)


def photos(size, n=2):
    return np.random.default_rng(0).integers(0, 256, (n, size, size, 3), "uint8")


def convolutions(network):
    return [layer for layer in network.layers if isinstance(layer, layers.Conv2D)]


@pytest.mark.parametrize(
    ("build", "with_top", "without_top", "statistics"),
    [
        (VGG16, 138_357_544, 14_714_688, 0),
        (ResNet50, 25_636_712, 23_587_712, 53_120),
        (InceptionV3, 23_851_784, 21_802_784, 34_432),
    ],
)
def test_parameter_counts(build, with_top, without_top, statistics):
    network = build(weights=None)
    assert network.count_params() == with_top
    assert sum(p.value.size for p in network.non_trainable_weights) == statistics
    assert network.input_shape == (None, DEFAULT_SIZE[build], DEFAULT_SIZE[build], 3)
    assert network.output_shape == (None, 1000)
    assert final_activation(network) == "softmax"
    assert build(weights=None, include_top=False).count_params() == without_top


@pytest.mark.parametrize(
    ("build", "at_default", "at_150"),
    [
        (VGG16, (7, 7, 512), (4, 4, 512)),
        (ResNet50, (7, 7, 2048), (5, 5, 2048)),
        (InceptionV3, (8, 8, 2048), (3, 3, 2048)),
    ],
)
def test_shapes_of_the_features(build, at_default, at_150):
    size = DEFAULT_SIZE[build]
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
def test_the_smallest_size_computes(build):
    size = SMALL[build]
    network = build(weights=None, include_top=False, input_shape=(size, size, 3))
    y = network.predict(photos(size))
    assert y.shape == (2, 1, 1, network.output_shape[3])
    assert np.isfinite(y).all()


def test_names_of_vgg16():
    names = [layer.name for layer in VGG16(weights=None, input_shape=(32, 32, 3)).layers]
    assert names == [
        "input_layer", "preprocessing", "block1_conv1", "block1_conv2", "block1_pool",
        "block2_conv1", "block2_conv2", "block2_pool",
        "block3_conv1", "block3_conv2", "block3_conv3", "block3_pool",
        "block4_conv1", "block4_conv2", "block4_conv3", "block4_pool",
        "block5_conv1", "block5_conv2", "block5_conv3", "block5_pool",
        "flatten", "fc1", "fc2", "predictions",
    ]  # fmt: skip


def test_names_of_resnet50():
    names = [layer.name for layer in ResNet50(weights=None).layers]
    assert len(names) == 178
    assert names[:8] == [
        "input_layer", "preprocessing", "conv1_pad", "conv1_conv", "conv1_bn", "conv1_relu",
        "pool1_pad", "pool1_pool",
    ]  # fmt: skip
    assert names[8:20] == [
        f"conv2_block1_{part}"
        for part in ("0_conv", "0_bn", "1_conv", "1_bn", "1_relu", "2_conv", "2_bn", "2_relu",
                     "3_conv", "3_bn", "add", "out")
    ]  # fmt: skip
    assert names[-3:] == ["conv5_block3_out", "avg_pool", "predictions"]
    blocks = [name.removesuffix("_out") for name in names if name.endswith("_out")]
    depths = {"conv2": 3, "conv3": 4, "conv4": 6, "conv5": 3}
    assert blocks == [f"{s}_block{i}" for s, n in depths.items() for i in range(1, n + 1)]
    assert [name for name in names if name.endswith("_0_conv")] == [
        f"{stage}_block1_0_conv" for stage in depths
    ]


def test_resnet50_has_its_strides_on_the_first_convolutions_and_its_own_epsilon():
    network = ResNet50(weights=None, include_top=False)
    strided = {c.name for c in convolutions(network) if c.window.strides == (2, 2)}
    assert strided == {"conv1_conv"} | {
        f"conv{s}_block1_{i}_conv" for s in (3, 4, 5) for i in (0, 1)
    }
    norms = [n for n in network.layers if isinstance(n, layers.BatchNormalization)]
    assert {n.epsilon for n in norms} == {1.001e-5}


# Kernel (height, width, in, out), "s2" for a stride of 2, "v" for no padding: the convolutions
# of InceptionV3 in the order of the numbers that Keras' files give them.
STEM = "3 3 3 32 s2 v; 3 3 32 32 v; 3 3 32 64; 1 1 64 80 v; 3 3 80 192 v"
SMALL_WINDOWS = "1 1 {0} 64; 1 1 {0} 48; 5 5 48 64; 1 1 {0} 64; 3 3 64 96; 3 3 96 96; 1 1 {0} {1}"
TO_17X17 = "3 3 288 384 s2 v; 1 1 288 64; 3 3 64 96; 3 3 96 96 s2 v"
LONG_WINDOWS = (
    "1 1 768 192; 1 1 768 {0}; 1 7 {0} {0}; 7 1 {0} 192; 1 1 768 {0}; 7 1 {0} {0}; 1 7 {0} {0}; "
    "7 1 {0} {0}; 1 7 {0} 192; 1 1 768 192"
)
TO_8X8 = "1 1 768 192; 3 3 192 320 s2 v; 1 1 768 192; 1 7 192 192; 7 1 192 192; 3 3 192 192 s2 v"
WIDE = (
    "1 1 {0} 320; 1 1 {0} 384; 1 3 384 384; 3 1 384 384; 1 1 {0} 448; 3 3 448 384; 1 3 384 384; "
    "3 1 384 384; 1 1 {0} 192"
)
CREATION_ORDER = "; ".join([
    STEM, SMALL_WINDOWS.format(192, 32), SMALL_WINDOWS.format(256, 64),
    SMALL_WINDOWS.format(288, 64), TO_17X17, LONG_WINDOWS.format(128), LONG_WINDOWS.format(160),
    LONG_WINDOWS.format(160), LONG_WINDOWS.format(192), TO_8X8, WIDE.format(1280),
    WIDE.format(2048),
]).split("; ")  # fmt: skip


def test_inception_v3_makes_its_layers_in_the_order_of_keras_files():
    network = InceptionV3(weights=None)
    assert len(CREATION_ORDER) == 94
    found = []
    for i in range(94):
        conv = network.get_layer(f"conv2d_{i}" if i else "conv2d")
        stride = " s2" if conv.window.strides == (2, 2) else ""
        valid = " v" if conv.window.padding == "valid" else ""
        found.append(" ".join(map(str, conv.kernel.shape)) + stride + valid)
        assert conv.bias is None
        norm = network.get_layer(f"batch_normalization_{i}" if i else "batch_normalization")
        assert [p.name for p in norm.weights] == ["beta", "moving_mean", "moving_variance"]
        assert norm.moving_mean.shape == (conv.filters,)
        assert norm.epsilon == 1e-3
    assert found == CREATION_ORDER


def test_inception_v3_names_its_modules_as_keras_does():
    network = InceptionV3(weights=None)
    names = [n.name for n in network.layers if isinstance(n, layers.Concatenate)]
    assert names == [
        *(f"mixed{i}" for i in range(9)), "mixed9_0", "concatenate", "mixed9", "mixed9_1",
        "concatenate_1", "mixed10",
    ]  # fmt: skip
    assert len(network.layers) == 314
    sizes = [network.tap(f"mixed{i}").output_shape[1:] for i in range(11)]
    assert sizes == [
        (35, 35, 256), (35, 35, 288), (35, 35, 288), *[(17, 17, 768)] * 5, (8, 8, 1280),
        (8, 8, 2048), (8, 8, 2048),
    ]  # fmt: skip


@each_network
def test_random_weights_follow_the_seed(build):
    shape = (SMALL[build], SMALL[build], 3)
    made = []
    for seed in (1, 1, 2):
        minidl.set_random_seed(seed)
        made.append(build(weights=None, include_top=False, input_shape=shape).get_weights()[0])
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


@each_network
def test_the_network_can_normalise_its_images_itself(build):
    size = SMALL[build]
    arguments = {"weights": None, "include_top": False, "input_shape": (size, size, 3)}
    minidl.set_random_seed(0)
    with_it = build(**arguments)
    minidl.set_random_seed(0)
    without_it = build(**arguments, include_preprocessing=False)
    assert "preprocessing" not in [layer.name for layer in without_it.layers]
    x = photos(size)
    y = with_it.predict(x)
    assert y.std() > 0
    expected = without_it.predict(imagenet.preprocess_input(x, mode=MODE[build]))
    # InceptionV3's first convolution takes it along: then its sums are rounded otherwise.
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5 * expected.max())


@pytest.mark.parametrize("pooling", ["avg", "max"])
@each_network
def test_pooling(build, pooling):
    size = 2 * SMALL[build]
    arguments = {"weights": None, "include_top": False, "input_shape": (size, size, 3)}
    minidl.set_random_seed(0)
    features = build(**arguments).predict(photos(size))
    minidl.set_random_seed(0)
    pooled = build(**arguments, pooling=pooling).predict(photos(size))
    expected = features.mean(axis=(1, 2)) if pooling == "avg" else features.max(axis=(1, 2))
    np.testing.assert_allclose(pooled, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("build", "until", "layers_left_out", "channels"),
    [
        (VGG16, "block3_pool", ("block4_conv1", "fc1"), 256),
        (ResNet50, "conv3_block4_out", ("conv4_block1_0_conv", "predictions"), 512),
        (InceptionV3, "mixed2", ("mixed3", "conv2d_26"), 288),
    ],
)
def test_until_cuts_the_network_where_the_whole_one_has_that_layer(
    build, until, layers_left_out, channels
):
    shape = (SMALL[build], SMALL[build], 3)
    minidl.set_random_seed(0)
    whole = build(weights=None, include_top=False, input_shape=shape)
    minidl.set_random_seed(0)
    part = build(weights=None, input_shape=shape, until=until)
    names = [layer.name for layer in part.layers]
    assert names[-1] == until
    assert not set(layers_left_out) & set(names)
    assert part.output_shape[3] == channels
    x = photos(SMALL[build])
    np.testing.assert_array_equal(part.predict(x), whole.tap(until).predict(x))


def test_a_cut_inside_a_module_leaves_the_layers_their_names():
    # The branch beside it is left out: convolution 76, counted from 0.
    names = {c.name for c in convolutions(InceptionV3(weights=None, until="mixed9_0"))}
    assert names == {f"conv2d_{i}" if i else "conv2d" for i in range(80)} - {"conv2d_76"}


def test_until_without_the_top_asks_for_no_fixed_size():
    assert VGG16(weights=None, until="block5_pool").input_shape == (None, None, None, 3)
    pooled = InceptionV3(weights=None, until="mixed4", pooling="avg")
    assert pooled.output_shape == (None, 768)


def test_until_can_name_a_layer_of_the_top():
    network = VGG16(weights=None, until="fc1", input_shape=(32, 32, 3))
    assert network.output_shape == (None, 4096)
    assert network.layers[-1].name == "fc1"


@each_network
def test_a_network_becomes_part_of_a_model_that_is_saved_and_loaded(build, tmp_path):
    size = SMALL[build]
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


def test_two_networks_go_into_one_model():
    x = minidl.Input((75, 75, 3))
    bases = [build(None, include_top=False, pooling="avg") for build in (VGG16, InceptionV3)]
    model = minidl.Model(x, layers.Concatenate()([base(x) for base in bases]))
    assert model.output_shape == (None, 512 + 2048)
    images = photos(75)
    expected = np.concatenate([base.predict(images) for base in bases], axis=1)
    np.testing.assert_allclose(model.predict(images), expected, rtol=1e-5, atol=1e-5)
