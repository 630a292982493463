"""PyTorch's own files: state dicts that torch.save writes give the outputs that torch computes.

The networks are written here with torchvision's names and topology (He et al. 2015, with the
stride on the 3x3 convolution), so that torchvision itself is not needed.
"""

import json

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: parity is checked in CI")

import numpy as np  # noqa: E402
from torch import nn  # noqa: E402

from minidl import Input, Sequential, applications, layers  # noqa: E402
from minidl.formats.reading import read_weight_file  # noqa: E402

torch.set_num_threads(1)  # the machine's cores are minidl's

TOLERANCE = 1e-4  # of the range of torch's outputs
FORMS = ["zip", "legacy", "safetensors"]
each_form = pytest.mark.parametrize("form", FORMS)


class Block(nn.Module):
    """A residual block: two 3x3 convolutions, or a bottleneck of 1x1, 3x3 and 1x1."""

    def __init__(self, inputs, channels, stride, bottleneck):
        super().__init__()
        outputs = 4 * channels if bottleneck else channels
        sizes = (1, 3, 1) if bottleneck else (3, 3)
        widths = (channels, channels, outputs) if bottleneck else (channels, channels)
        self.depth, strided = len(sizes), int(bottleneck)
        for i, (size, width) in enumerate(zip(sizes, widths, strict=True)):
            s = stride if i == strided else 1
            conv = nn.Conv2d(inputs if i == 0 else channels, width, size, s, size // 2, bias=False)
            setattr(self, f"conv{i + 1}", conv)
            setattr(self, f"bn{i + 1}", nn.BatchNorm2d(width))
        self.downsample = None
        if stride > 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = x
        for i in range(1, self.depth + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = y.relu() if i < self.depth else y
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class ResNet(nn.Module):
    """torchvision's ResNet."""

    def __init__(self, depths, bottleneck):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        width = 64
        for stage, depth in enumerate(depths, start=1):
            channels, blocks = 32 * 2**stage, []
            for i in range(depth):
                stride = 2 if stage > 1 and i == 0 else 1
                blocks.append(Block(width, channels, stride, bottleneck))
                width = 4 * channels if bottleneck else channels
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.fc = nn.Linear(width, 1000)

    def forward(self, x):
        x = self.maxpool(self.bn1(self.conv1(x)).relu())
        for stage in (1, 2, 3, 4):
            x = getattr(self, f"layer{stage}")(x)
        return self.fc(x.mean((2, 3)))


RESNETS = {
    "resnet18": (applications.ResNet18, {}, (2, 2, 2, 2), False),
    "resnet34": (applications.ResNet34, {}, (3, 4, 6, 3), False),
    "resnet50": (applications.ResNet50, {"variant": "torchvision"}, (3, 4, 6, 3), True),
}


def randomize(module):
    """Give all parameters and statistics random numbers, and set the mode of inference."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in module.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif tensor.ndim == 1:
            middle = 1.0 if name.endswith("weight") else 0.0
            tensor.normal_(middle, 0.1, generator=generator)
        elif tensor.ndim:
            scale = (2 / tensor[0].numel()) ** 0.5
            tensor.normal_(0, scale, generator=generator)
    return module.eval()


def save(tensors, path, form):
    """Write a state dict by torch.save in one of its forms, or as safetensors."""
    if form != "safetensors":
        torch.save(tensors, path, _use_new_zipfile_serialization=form == "zip")
        return
    kinds = {torch.float32: "F32", torch.int64: "I64"}
    table, data = {}, b""
    for name, tensor in tensors.items():
        part = tensor.contiguous().numpy().tobytes()
        offsets = [len(data), len(data) + len(part)]
        table[name] = {"dtype": kinds[tensor.dtype], "shape": list(tensor.shape)}
        table[name]["data_offsets"] = offsets
        data += part
    header = json.dumps(table).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)


def draw_images(count, size, channels=3):
    rng = np.random.default_rng(1)
    return rng.normal(size=(count, size, size, channels)).astype("float32")


def compute(module, images):
    """Return torch's outputs for images in minidl's layout."""
    with torch.no_grad():
        return module(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()


def assert_close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE * np.ptp(theirs))


@each_form
@pytest.mark.parametrize("name", RESNETS)
def test_resnets_compute_as_in_torch(tmp_path, name, form):
    build, options, depths, bottleneck = RESNETS[name]
    module = randomize(ResNet(depths, bottleneck))
    path = tmp_path / "resnet.pth"
    save(module.state_dict(), path, form)
    options = {**options, "include_preprocessing": False, "classifier_activation": None}
    network = build(weights=path, input_shape=(96, 96, 3), **options)
    assert network.count_params() - sum(
        p.value.size for p in network.weights if not p.learned
    ) == sum(p.numel() for p in module.parameters())
    images = draw_images(2, 96)
    expected = compute(module, images)
    assert_close(network.predict(images), expected)
    assert_close(network.forward(images, training=False)[0], expected)


def small_module():
    """Return convolutions in groups and depthwise, and dense layers on flattened features."""
    module = nn.Module()
    module.conv = nn.Conv2d(4, 6, 3, groups=2)
    module.dw = nn.Conv2d(6, 12, 3, groups=6, padding=1, bias=False)
    module.bn = nn.BatchNorm2d(12, eps=1e-3)
    module.norm = nn.BatchNorm1d(12 * 6 * 6, eps=1e-3)
    module.fc = nn.Linear(12 * 6 * 6, 7)
    module.head = nn.Linear(7, 3)

    def forward(x):
        x = module.bn(module.dw(module.conv(x).relu())).relu()
        x = module.norm(x.flatten(1))
        return module.head(module.fc(x).relu())

    module.forward = forward
    return randomize(module)


def small_network():
    return Sequential(
        [
            Input((8, 8, 4)),
            layers.Conv2D(6, 3, groups=2, activation="relu", name="conv"),
            layers.DepthwiseConv2D(3, (1, 1), "same", 2, use_bias=False, name="dw"),
            layers.BatchNormalization(name="bn"),
            layers.ReLU(),
            layers.Flatten(),
            layers.BatchNormalization(name="norm"),
            layers.Dropout(0.5),
            layers.Dense(7, activation="relu", name="fc"),
            layers.Dense(3, name="head"),
        ]
    )


@each_form
def test_groups_depthwise_and_flattened_features(tmp_path, form):
    module, network, path = small_module(), small_network(), tmp_path / "small.pth"
    save(module.state_dict(), path, form)
    network.load_weights(path)
    images = draw_images(3, 8, 4)
    assert_close(network.predict(images), compute(module, images))


@pytest.mark.parametrize("form", ["zip", "legacy"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_of_numbers(tmp_path, form, dtype):
    module, network, path = small_module().to(dtype), small_network(), tmp_path / "small.pth"
    save(module.state_dict(), path, form)
    network.load_weights(path)
    images = draw_images(3, 8, 4)
    assert_close(network.predict(images), compute(module.float(), images))


def wraps(module):
    state = module.state_dict()
    optimizer = torch.optim.Adam(module.parameters())
    sum(p.sum() for p in module.parameters()).backward()
    optimizer.step()
    prefixed = {f"module.{name}": tensor for name, tensor in state.items()}
    scripts = {"epoch": 3, "state_dict": prefixed, "optimizer": optimizer.state_dict()}
    return {
        "plain dict": dict(state),
        "parameters": {**state, **dict(module.named_parameters())},
        "data parallel": prefixed,
        "training script": scripts,
        "nested": {"model": state, "best": 0.5, "args": {"lr": 1e-3, "layers": [1, 2], "x": None}},
    }


@pytest.mark.parametrize("form", ["zip", "legacy"])
@pytest.mark.parametrize("kind", wraps(small_module()))
def test_wraps(tmp_path, kind, form):
    module, network, path = small_module(), small_network(), tmp_path / "small.pt"
    content = wraps(module)[kind]
    save(content, path, form)
    network.load_weights(path)
    images = draw_images(3, 8, 4)
    assert_close(network.predict(images), compute(module, images))


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_views_of_one_storage_and_other_strides(tmp_path, form):
    numbers = torch.arange(120.0)
    tensors = {
        "a.weight": numbers[10:34].view(4, 6).t(),
        "b.weight": numbers.view(2, 3, 4, 5).permute(3, 1, 0, 2),
        "c.weight": torch.randn(4, 3, 5, 5).contiguous(memory_format=torch.channels_last),
        "d.bias": numbers[5::7],
    }
    path = tmp_path / "views.pt"
    save(tensors, path, form)
    found = {entry.name: entry.tensors for entry in read_weight_file(path).layers}
    axes = {2: (1, 0), 4: (2, 3, 1, 0)}
    for name in ("a", "b", "c"):
        tensor = tensors[f"{name}.weight"].numpy()
        np.testing.assert_array_equal(found[name]["kernel"], tensor.transpose(axes[tensor.ndim]))
    np.testing.assert_array_equal(found["d"]["bias"], tensors["d.bias"].numpy())


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_a_whole_module_is_refused_by_its_class(tmp_path, form):
    path = tmp_path / "module.pt"
    save(nn.Linear(2, 2), path, form)
    with pytest.raises(ValueError, match="refers to torch.nn.modules.linear.Linear.*state_dict"):
        read_weight_file(path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_refused(tmp_path):
    path = tmp_path / "script.pt"
    torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)).save(path)
    with pytest.raises(ValueError, match="TorchScript"):
        read_weight_file(path)


def test_files_without_checksums_are_read(tmp_path):
    path = tmp_path / "small.pt"
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        save(small_module().state_dict(), path, "zip")
    finally:
        torch.serialization.set_crc32_options(before)
    small_network().load_weights(path)
