"""EfficientNetB0: gates, stochastic depth, and the parameters of its preprocessing."""

import numpy as np
import pytest

from minidl import layers, set_random_seed
from minidl.applications import EfficientNetB0, imagenet

MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def test_layers_of_a_block():
    names = [layer.name for layer in EfficientNetB0(weights=None).layers]
    assert names[:7] == [
        "input_layer",
        "rescaling",
        "normalization",
        "stem_conv_pad",
        "stem_conv",
        "stem_bn",
        "stem_activation",
    ]
    start = names.index("block2b_expand_conv")
    assert [name.removeprefix("block2b_") for name in names[start : start + 15]] == [
        "expand_conv",
        "expand_bn",
        "expand_activation",
        "dwconv",
        "bn",
        "activation",
        "se_squeeze",
        "se_reshape",
        "se_reduce",
        "se_expand",
        "se_excite",
        "project_conv",
        "project_bn",
        "drop",
        "add",
    ]
    assert names[-3:] == ["avg_pool", "top_dropout", "predictions"]


def test_the_gate_has_a_quarter_of_the_channels_of_the_blocks_input():
    network = EfficientNetB0(weights=None, include_top=False)
    assert network.get_layer("block1a_se_reduce").filters == 8
    assert network.get_layer("block2a_se_reduce").filters == 4
    assert network.get_layer("block2a_se_expand").filters == 96


def test_stochastic_depth_grows_with_the_depth():
    network = EfficientNetB0(weights=None, include_top=False)
    drops = [d for d in network.layers if isinstance(d, layers.Dropout)]
    assert [d.name for d in drops] == [
        f"block{block}_drop" for block in ("2b", "3b", "4b", "4c", "5b", "5c", "6b", "6c", "6d")
    ]
    np.testing.assert_allclose(
        [d.rate for d in drops], np.array([2, 4, 6, 7, 9, 10, 12, 13, 14]) * 0.2 / 16
    )
    assert all(d.noise_shape == (None, 1, 1, 1) for d in drops)


@pytest.fixture
def network():
    set_random_seed(0)
    return EfficientNetB0(weights=None, include_top=False, input_shape=(32, 32, 3))


@pytest.mark.parametrize("stored", [DEVIATION, DEVIATION**2], ids=["deviations", "variances"])
def test_official_files_hold_deviations_instead_of_variances(network, stored, tmp_path):
    network.get_layer("normalization").set_weights([MEAN, stored, 0])
    network.save_weights(tmp_path / "official.h5")
    arguments = {"include_top": False, "input_shape": (32, 32, 3)}
    loaded = EfficientNetB0(weights=tmp_path / "official.h5", **arguments)
    np.testing.assert_allclose(
        loaded.get_layer("normalization").adapt_variance.value, DEVIATION**2, rtol=1e-5
    )
    # The same file serves without the preprocessing, whose tensors it may hold.
    bare = EfficientNetB0(
        weights=tmp_path / "official.h5", include_preprocessing=False, **arguments
    )
    assert "normalization" not in [layer.name for layer in bare.layers]
    x = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), "uint8")
    y = bare.predict(imagenet.preprocess_input(x, mode="torch"))
    np.testing.assert_allclose(loaded.predict(x), y, rtol=0, atol=1e-5 * y.max())


def test_other_statistics_are_left_alone(network, tmp_path):
    statistics = [np.array([0.1, 0.2, 0.3]), np.array([0.5, 0.6, 0.7]), np.array(3.0)]
    network.get_layer("normalization").set_weights(statistics)
    network.save_weights(tmp_path / "mine.h5")
    loaded = EfficientNetB0(weights=tmp_path / "mine.h5", include_top=False)
    for mine, given in zip(
        loaded.get_layer("normalization").get_weights(), statistics, strict=True
    ):
        np.testing.assert_allclose(mine, given, rtol=1e-6)
