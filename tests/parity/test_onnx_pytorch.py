"""Networks that PyTorch exports to ONNX: imported, equal to ONNX Runtime, with a new head, trained.

The networks have torchvision's topology (ResNet18, MobileNetV2, VGG11) and random weights, so that
torchvision itself is not needed.
"""

import warnings

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: parity is checked in CI")

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
from torch import nn  # noqa: E402

from minidl import Model, layers, load_model  # noqa: E402

torch.set_num_threads(1)  # the machine's cores are minidl's

SIZE = 64  # pixels
TOLERANCE = 1e-5  # of the range of ONNX Runtime's outputs


class Residual(nn.Module):
    """ResNet's basic block."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Identity()
        if stride > 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn1(self.conv1(x)).relu()
        return (self.bn2(self.conv2(y)) + self.downsample(x)).relu()


def resnet18():
    """Return torchvision's ResNet18."""
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    blocks, inputs = [], 64
    for outputs in (64, 64, 128, 128, 256, 256, 512, 512):
        blocks.append(Residual(inputs, outputs, 2 if outputs > inputs else 1))
        inputs = outputs
    top = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)]
    return nn.Sequential(*stem, nn.MaxPool2d(3, 2, 1), *blocks, *top)


class Inverted(nn.Module):
    """MobileNetV2's inverted bottleneck."""

    def __init__(self, inputs, outputs, stride, expansion):
        super().__init__()
        width = inputs * expansion
        expand = conv_bn(inputs, width, 1) if expansion > 1 else []
        depthwise = conv_bn(width, width, 3, stride, width)
        project = [nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*expand, *depthwise, *project)
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.conv(x) if self.is_residual else self.conv(x)


def conv_bn(inputs, outputs, size, stride=1, groups=1):
    conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU6()]


def mobilenet_v2():
    """Return torchvision's MobileNetV2."""
    stages = [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ]
    blocks, inputs = conv_bn(3, 32, 3, 2), 32
    for expansion, outputs, count, stride in stages:
        for i in range(count):
            blocks.append(Inverted(inputs, outputs, stride if i == 0 else 1, expansion))
            inputs = outputs
    top = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(1280, 10)]
    return nn.Sequential(*blocks, *conv_bn(320, 1280, 1), *top)


def vgg11():
    """Return torchvision's VGG11 with fewer units in its dense layers."""
    stack, inputs = [], 3
    for outputs in (64, None, 128, None, 256, 256, None, 512, 512, None, 512, 512, None):
        if outputs is None:
            stack.append(nn.MaxPool2d(2))
        else:
            stack += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
            inputs = outputs
    features = 512 * (SIZE // 32) ** 2
    top = [nn.Flatten(), nn.Linear(features, 64), nn.ReLU(), nn.Dropout(), nn.Linear(64, 10)]
    return nn.Sequential(*stack, *top)


def export(build, path):
    """Write a network with random weights and statistics."""
    torch.manual_seed(0)
    network = build().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter needs no further package
        torch.onnx.export(
            network,
            (torch.zeros(2, 3, SIZE, SIZE),),
            path,
            dynamo=False,
            input_names=["x"],
            dynamic_axes={"x": {0: "N"}},
        )


@pytest.mark.parametrize("build", [resnet18, mobilenet_v2, vgg11], ids=lambda f: f.__name__)
def test_exported_networks_equal_onnx_runtime_and_train(tmp_path, build):
    path = str(tmp_path / "network.onnx")
    export(build, path)
    x = np.random.default_rng(0).normal(size=(3, SIZE, SIZE, 3)).astype(np.float32)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": x.transpose(0, 3, 1, 2)})
    model = load_model(path)
    np.testing.assert_allclose(model.predict(x), expected, atol=TOLERANCE * np.ptp(expected))
    assert not {"Permute", "Reshape"} & {type(layer).__name__ for layer in model.layers}

    base = model.tap(model.layers[-2].name)
    head = layers.Dense(2, activation="softmax", name="new_head")
    tuned = Model(model.input, head(base.output))
    tuned.compile("sgd", "sparse_categorical_crossentropy")
    before = [w.value.copy() for w in tuned.trainable_weights]
    tuned.train_on_batch(x, np.array([0, 1, 0]))
    assert len(before) == len(model.trainable_weights)
    moved = [(w.value != old).any() for w, old in zip(tuned.trainable_weights, before, strict=True)]
    assert moved[0]  # from the first convolution
    assert moved[-1]  # to the new head
