"""OOD scores are Mahalanobis distances, and models keep them in their files."""

import numpy as np
import pytest
from support.tiny import refused

import minidl
from minidl import Input, Model, Sequential, layers
from minidl.common.errors import DataError
from minidl.evaluation import out_of_distribution


def model_of_rows(features=3, outputs=1):
    """Return a model whose layer "features" returns its input."""
    last = layers.Dense(outputs, activation="sigmoid" if outputs == 1 else "softmax")
    return Sequential([Input((features,)), layers.Activation("linear", name="features"), last])


def two_clusters(count=300, features=3, seed=0):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(features, features))
    y = np.arange(count) % 2
    x = rng.normal(size=(count, features)) @ mixing + 10 * y[:, None]
    return x.astype(np.float32), y


def fitted(**options):
    model, (x, y) = model_of_rows(), two_clusters()
    out_of_distribution.fit(model, x, y, layer="features", **options)
    return model, x, y


def test_scores_are_mahalanobis_distances_from_the_nearest_mean():
    model, x, y = fitted(share=0.9)
    means = [x[y == k].mean(axis=0) for k in (0, 1)]
    deviations = x - np.array(means)[y]
    inverse = np.linalg.inv(np.cov(deviations.T, bias=True))
    queries = np.array([[0, 0, 0], [3, -8, 1], [10, 10, 10], [40, 0, 0]], np.float32)
    expected = [
        min(np.sqrt((row - mean) @ inverse @ (row - mean)) for mean in means) for row in queries
    ]
    _, scores = out_of_distribution.predict(model, queries)
    # Shrinkage moves the covariance by 1 % towards a multiple of the identity.
    ratio = scores / expected
    np.testing.assert_allclose(ratio, ratio[0], rtol=0.05)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_chosen_share_of_known_samples_scores_below_1(share):
    model, x, _ = fitted(share=share)
    _, scores = out_of_distribution.predict(model, x)
    assert np.mean(scores <= 1) == pytest.approx(share, abs=2 / len(x))


def test_held_out_samples_set_the_scale():
    held_out, _ = two_clusters(200, seed=0)
    far = held_out + np.float32(3)
    model, _, _ = fitted(share=0.9, known=far)
    _, scores = out_of_distribution.predict(model, far)
    assert np.mean(scores <= 1) == pytest.approx(0.9, abs=0.01)


def test_outputs_are_those_of_the_model():
    model, x, _ = fitted()
    outputs, _ = out_of_distribution.predict(model, x)
    np.testing.assert_array_equal(outputs, model.predict(x, batch_size=32, verbose=0))


def test_scores_survive_saving(tmp_path):
    model, x, _ = fitted()
    assert not out_of_distribution.is_fitted(model_of_rows())
    model.save(tmp_path / "a.h5")
    loaded = minidl.load_model(tmp_path / "a.h5")
    assert out_of_distribution.is_fitted(loaded)
    np.testing.assert_array_equal(
        out_of_distribution.predict(loaded, x)[1], out_of_distribution.predict(model, x)[1]
    )


def test_metadata_of_version_0_1_are_read():
    model, x, _ = fitted()
    expected = out_of_distribution.predict(model, x)[1]
    former = "novelty"  # language: ok
    model.metadata[former] = model.metadata.pop("out_of_distribution")
    assert out_of_distribution.is_fitted(model)
    np.testing.assert_array_equal(out_of_distribution.predict(model, x)[1], expected)
    out_of_distribution.fit(model, x + 1, np.arange(len(x)) % 2, layer="features")
    assert former not in model.metadata


def test_constant_feature_is_accepted():
    model, (x, y) = model_of_rows(), two_clusters()
    x[:, 1] = 7
    out_of_distribution.fit(model, x, y, layer="features")
    known, unknown = x[:1].copy(), x[:1].copy()
    unknown[0, 1] = 70
    assert (
        out_of_distribution.predict(model, unknown)[1]
        > out_of_distribution.predict(model, known)[1]
    )


@pytest.mark.parametrize("names", [["cat", "dog"], [-1, 7], [0.0, 1.0], [False, True]])
def test_labels_may_be_of_any_type(names):
    x, y = two_clusters()
    (one, two), models = (np.array(kind)[y] for kind in ([0, 1], names)), []
    for labels in (one, two):
        models.append(model_of_rows())
        out_of_distribution.fit(models[-1], x, labels, layer="features")
    np.testing.assert_array_equal(*(out_of_distribution.predict(model, x)[1] for model in models))


def test_invalid_arguments_are_refused():
    x, y = two_clusters()
    model = model_of_rows()
    with refused(ValueError, "out_of_distribution.fit"):
        out_of_distribution.predict(model, x)
    with refused(ValueError, "share", "1.5"):
        out_of_distribution.fit(model, x, y, layer="features", share=1.5)
    with refused(DataError, "two samples of each class"):
        out_of_distribution.fit(model, x[:3], y[:3], layer="features")
    maps = Sequential([Input((4, 4, 3)), layers.Conv2D(2, 3, name="conv"), layers.Flatten()])
    with refused(ValueError, "conv", "(N, features)"):
        out_of_distribution.fit(
            maps, np.zeros((4, 4, 4, 3), np.float32), [0, 0, 1, 1], layer="conv"
        )
    with refused(DataError, "features that differ", "'features'"):
        out_of_distribution.fit(model, np.ones_like(x), y, layer="features")
    start = Input((3,))
    two = Model(start, [layers.Dense(1, name="features")(start), layers.Dense(1)(start)])
    with refused(ValueError, "one output"):
        out_of_distribution.fit(two, x, y, layer="features")
    assert not out_of_distribution.is_fitted(model)
