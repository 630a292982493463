"""Saliency maps against finite differences and explicit occlusion."""

import numpy as np
import pytest

from minidl import Input, Model, Sequential, layers
from minidl.common.errors import ShapeError
from minidl.evaluation import explain
from minidl.evaluation.classifier import predicted_classes, probabilities
from minidl.evaluation.explain import grad_cam, occlusion, overlay

RNG = np.random.default_rng(0)


def randomize(model):
    rng = np.random.default_rng(0)
    for parameter in model.weights:
        value = rng.normal(size=parameter.shape) * 0.5
        if parameter.name in ("moving_variance", "gamma"):
            value = rng.uniform(0.5, 1.5, parameter.shape)
        parameter.assign(value)
    return model


def base(dtype="float64"):
    x = Input((12, 10, 3), dtype=dtype)
    y = layers.Conv2D(4, 3, strides=2, padding="same", name="low")(x)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    z = layers.Conv2D(4, 3, padding="same", activation="tanh", name="branch")(y)
    return Model(x, layers.Add(name="sum")([y, z]), name="base")


def classifier(units=3, activation="softmax", dtype="float64"):
    inner = base(dtype)
    y = layers.GlobalAveragePooling2D()(inner.output)
    return randomize(Model(inner.input, layers.Dense(units, activation=activation)(y)))


def maps_by_differences(model, images, layer, classes):
    """Compute Grad-CAM maps from finite differences of the logits."""
    number = next(i for i, node in enumerate(model.nodes) if node.layer.name == layer)
    logits = Model(model.input, model.tensors[model.nodes[-1].inputs[0]])
    kernel, bias = model.layers[-1].get_weights()

    def scores(replacement):
        """Return the class logits for another output of the layer."""
        values = {}
        for i, node in enumerate(logits.nodes):
            if not node.inputs:
                values[i] = images
            elif i == number:
                values[i] = replacement
            else:
                xs = [values[j] for j in node.inputs]
                values[i] = node.layer.forward(node.layer.as_input(xs))[0]
        z = values[len(logits.nodes) - 1] @ kernel + bias
        z = np.hstack([-z, z]) if z.shape[1] == 1 else z
        return z[np.arange(len(z)), classes]

    a = model.tap(layer).infer(images)
    gradient = np.zeros_like(a)
    for index in np.ndindex(a.shape[1:]):
        step = np.zeros_like(a)
        step[:, *index] = 1e-5
        gradient[:, *index] = (scores(a + step) - scores(a - step)) / 2e-5
    maps = np.maximum((a * gradient.mean(axis=(1, 2), keepdims=True)).sum(axis=3), 0)
    largest = maps.max(axis=(1, 2), keepdims=True)
    return np.where(largest > 0, maps / np.where(largest > 0, largest, 1), 0)


@pytest.mark.parametrize(("units", "activation"), [(3, "softmax"), (1, "sigmoid"), (3, None)])
@pytest.mark.parametrize("layer", ["low", "branch", "sum"])
def test_grad_cam_follows_its_definition(layer, units, activation):
    model = classifier(units, activation)
    images = RNG.normal(size=(4, 12, 10, 3))
    classes = np.array([0, 1, 1, 0])
    maps = grad_cam(model, images, layer, classes, resize=False)
    assert maps.dtype == np.float32
    assert maps.max() == 1
    np.testing.assert_allclose(maps, maps_by_differences(model, images, layer, classes), atol=1e-4)


def test_sequential_model_and_functional_graph_agree():
    stack = [
        layers.Conv2D(4, 3, name="low"),
        layers.ReLU(name="relu"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(3, activation="softmax"),
    ]
    sequential = randomize(Sequential([Input((12, 10, 3)), *stack]))
    graph = Model(sequential.input, sequential.output)
    images = RNG.normal(size=(4, 12, 10, 3)).astype(np.float32)
    for layer in ("low", "relu", None):
        np.testing.assert_array_equal(
            grad_cam(sequential, images, layer), grad_cam(graph, images, layer)
        )


def test_defaults_are_the_predicted_class_and_the_last_feature_map():
    for model in (classifier(), classifier(1, "sigmoid"), classifier(1, None)):
        images = RNG.normal(size=(20, 12, 10, 3))  # more than one batch
        kernel, _ = model.layers[-1].get_weights()
        means = model.tap(model.layers[-2].name).infer(images)
        model.layers[-1].set_weights([kernel, -(means @ kernel).mean(axis=0)])  # both classes occur
        y = model.predict(images, verbose=0)
        predicted = predicted_classes(model, y)
        assert len(set(predicted)) > 1
        np.testing.assert_array_equal(
            grad_cam(model, images), grad_cam(model, images, "sum", predicted)
        )


def test_one_class_index_applies_to_all_images():
    model, images = classifier(), RNG.normal(size=(3, 12, 10, 3))
    np.testing.assert_array_equal(
        grad_cam(model, images, class_index=2), grad_cam(model, images, class_index=[2, 2, 2])
    )


def test_frozen_layers_change_nothing():
    model, images = classifier(dtype="float32"), RNG.normal(size=(3, 12, 10, 3))
    before = grad_cam(model, images)
    for layer in base().layers:
        model.get_layer(layer.name).trainable = False
    np.testing.assert_allclose(grad_cam(model, images), before, atol=1e-5)
    model.freeze()
    np.testing.assert_allclose(grad_cam(model, images), before, atol=1e-5)


def test_maps_highlight_the_relevant_region():
    """The maps of a network that counts red pixels highlight the red square."""
    model = Sequential(
        [
            Input((32, 32, 3)),
            layers.Conv2D(1, 1),
            layers.AveragePooling2D(4),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    model.set_weights(
        [
            np.array([1.0, 0, 0]).reshape(1, 1, 3, 1),
            np.zeros(1),
            np.array([[0.0, 1.0]]),
            np.zeros(2),
        ]
    )
    image = np.zeros((1, 32, 32, 3), np.float32)
    image[0, 8:16, 20:28, 0] = 1
    for heatmap in (
        grad_cam(model, image, class_index=1)[0],
        occlusion(model, image, class_index=1, patch=8, stride=4)[0],
    ):
        inside = heatmap[8:16, 20:28]
        assert inside.mean() > 5 * abs(heatmap).mean()
        assert heatmap.shape == (32, 32)
        assert heatmap.max() == inside.max()
    # Evidence for one class is evidence against the other.
    assert grad_cam(model, image, class_index=0).max() == 0
    assert occlusion(model, image, class_index=0, patch=8)[0, 8:16, 20:28].max() < 0


def test_occlusion_is_the_mean_drop_over_the_squares_that_cover_a_pixel():
    model = classifier(1, "sigmoid")
    image = RNG.normal(size=(1, 12, 10, 3))
    maps = occlusion(model, image, class_index=1, patch=5, stride=4, fill=0.5)
    drops, cover_count = np.zeros((12, 10)), np.zeros((12, 10))
    for y in (0, 4, 7):
        for x in (0, 4, 5):
            covered = image.copy()
            covered[:, y : y + 5, x : x + 5] = 0.5
            drop = model.infer(image) - model.infer(covered)
            drops[y : y + 5, x : x + 5] += drop.item()
            cover_count[y : y + 5, x : x + 5] += 1
    np.testing.assert_allclose(maps[0], drops / cover_count, atol=1e-6)
    np.testing.assert_allclose(occlusion(model, image, 0, 5, 4, 0.5), -maps, atol=1e-6)


def test_occlusion_of_logits_measures_probabilities():
    model = classifier(3, None)
    image = RNG.normal(size=(1, 12, 10, 3))
    maps = occlusion(model, image, class_index=2, patch=10, stride=10, fill=0.0)
    covered = image.copy()
    covered[:, :10] = 0
    before, after = (probabilities(model, model.infer(x))[0, 2] for x in (image, covered))
    np.testing.assert_allclose(maps[0, 0], before - after, atol=1e-6)  # under one square only


def test_empty_batch_gives_empty_maps():
    assert grad_cam(classifier(), np.empty((0, 12, 10, 3))).shape == (0, 12, 10)
    assert occlusion(classifier(), np.empty((0, 12, 10, 3))).shape == (0, 12, 10)


def test_overlay_blends_image_and_colors():
    image = np.full((4, 6, 3), 200, np.uint8)
    heatmap = np.linspace(0, 1, 24).reshape(4, 6)
    np.testing.assert_array_equal(overlay(image, heatmap, opacity=0), image)
    colors = overlay(image, heatmap, opacity=1)
    brightness = colors.astype(int).sum(axis=2).ravel()
    assert (np.diff(brightness) >= 0).all()
    assert brightness[0] < 10
    assert overlay(image[:, :, :1], heatmap).shape == (4, 6, 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m, x: grad_cam(m, x, "nothing"), ValueError, "nothing"),
        (lambda m, x: grad_cam(m, x, "dense"), ValueError, "output .N, h, w, channels."),
        (lambda m, x: grad_cam(m, x, class_index=3), ValueError, "0 ... 2"),
        (lambda m, x: grad_cam(m, x, class_index=[0]), ValueError, "one for each of 2"),
        (lambda m, x: grad_cam(m, x, class_index=0.5), ValueError, "0 ... 2"),
        (lambda m, x: grad_cam(m, x[:, :5]), ShapeError, "12"),
        (lambda m, x: grad_cam(m.tap("sum"), x), ValueError, "expected a classifier of images"),
        (lambda m, x: occlusion(m, x, patch=11), ValueError, "patch to be an integer from 1 to 10"),
        (lambda m, x: occlusion(m, x, patch=0), ValueError, "patch to be an integer from 1 to 10"),
        (lambda m, x: occlusion(m, x, patch=2.5), ValueError, "patch to be an integer .* 2.5"),
        (
            lambda m, x: occlusion(m, x, patch=4, stride=5),
            ValueError,
            "stride to be an integer from 1 to 4",
        ),
        (lambda m, x: occlusion(m, x, fill=(1, 2)), ValueError, "fill"),
        (lambda m, x: grad_cam(m, x, class_index=[[0], [1, 2]]), ValueError, "0 ... 2"),
        (lambda m, x: grad_cam(m, x * np.nan), ValueError, "finite"),
        (lambda m, x: overlay(x[0, :, :, 0], x[0, :, :, 0]), ShapeError, "H, W, 1"),
        (lambda m, x: overlay(x[0, :, :, :2], x[0, :, :, 0]), ShapeError, "H, W, 1"),
        (lambda m, x: overlay(x[0], x[0, :, :, 0] * np.nan), ValueError, "finite"),
        (lambda m, x: overlay(x[0], x[0, :, :5, 0]), ShapeError, "size .12, 10."),
        (lambda m, x: overlay(x[0], x[0, :, :, 0], 2), ValueError, "opacity"),
    ],
)
def test_invalid_arguments_are_refused(call, error, message):
    model = classifier()
    model.layers[-1].name = "dense"
    with pytest.raises(error, match=message):
        call(model, np.zeros((2, 12, 10, 3)))


def test_module_is_an_attribute_of_the_package():
    import minidl

    assert minidl.evaluation.explain is explain
