"""Writers of Keras' legacy HDF5 files in all dialects, for tests without Keras.

What to write is a model, of minidl or of Keras, or a list: layers as ``(name, {role: array})``,
with roles as minidl calls its parameters, and a model inside the model as ``(name, [layers])``.
"""

import json

import h5py
import numpy as np

KERAS_1_NAMES = {
    "kernel": "W",
    "bias": "b",
    "gamma": "gamma",
    "beta": "beta",
    "moving_mean": "running_mean",
    "moving_variance": "running_std",
}
STATISTICS = ("moving_mean", "moving_variance")
HEADER_LIMIT = 64512  # bytes; Keras splits longer attributes


def random_layers(network, seed=0, rename=lambda name: name):
    """Return the network's layers with tensors of other values than the network has.

    No two numbers are alike, so that no exchange can go unseen.
    """
    rng = np.random.default_rng(seed)
    return [
        (rename(layer.name), {p.name: _distinct(rng, p) for p in layer.weights})
        for layer in network.layers
    ]


def _distinct(rng, parameter):
    low = 0.1 if parameter.name == "moving_variance" else -1.0
    return rng.uniform(low, 1.0, parameter.shape).astype(np.float32)


def layers_of(model):
    """Return a model, of minidl or of Keras, as the list that the writers take."""
    found = []
    for layer in model.layers:
        if hasattr(layer, "layers"):
            found.append((layer.name, layers_of(layer)))
        else:
            found.append((layer.name, {w.name: _array(w) for w in layer.weights}))
    return found


def _array(weight):
    return weight.numpy() if hasattr(weight, "numpy") else weight.value


def write_keras1(layers, path, **options):
    """Write as Keras 1 did: flat names, of fixed length, no versions."""
    options = {"text": "bytes", "version": None, "backend": None, **options}
    write_legacy(layers, path, _flat_name, **options)


def write_keras2(layers, path, **options):
    """Write as Keras 2 and tf.keras did: ``layer/kernel:0``."""
    write_legacy(layers, path, lambda name, role: f"{name}/{role}:0", **options)


def write_keras3(layers, path, scope="sequential", **options):
    """Write as Keras 3 writes ``.h5`` files: ``sequential/layer/kernel``."""
    options = {"version": "3.10.0", "top_level": True, **options}
    prefix = f"{scope}/" if scope else ""
    write_legacy(layers, path, lambda name, role: f"{prefix}{name}/{role}", **options)


def _flat_name(name, role):
    return f"{name}_{KERAS_1_NAMES.get(role, role)}_1:0"


def write_legacy(
    layers, path, tensor_name, text="str", version="2.2.4", backend="tensorflow",
    config=None, frozen=(), shuffled=None, limit=HEADER_LIMIT, top_level=False,
):  # fmt: skip
    """Write a file.

    Parameters
    ----------
    layers : model, or list of (name, tensors) or (name, layers)
    path : str or Path or binary file object
    tensor_name : callable
        ``tensor_name(layer, role)``.
    text : {"str", "bytes"}
        How names are stored: of any length, or of fixed length.
    version, backend : str, optional
        Left out where None.
    config : dict, optional
        The model's configuration: makes it a file of a whole model.
    frozen : collection of str
        Models inside the model that were not trainable: the order of their tensors differs.
    shuffled : numpy.random.Generator, optional
        Create the groups in a random order.
    limit : int
        Longer attributes, in bytes, are split.
    top_level : bool
        Also write the empty group that Keras has since 2.6.
    """
    layers = layers_of(layers) if hasattr(layers, "layers") else layers
    encode = (lambda name: name.encode()) if text == "bytes" else (lambda name: name)
    with h5py.File(path, "w") as file:
        root = file
        if config is not None:
            file.attrs["model_config"] = encode(json.dumps(config))
            root = file.create_group("model_weights")
        _write_names(root, "layer_names", [name for name, _ in layers], encode, limit)
        for name, value in (("backend", backend), ("keras_version", version)):
            if value is not None:
                root.attrs[name] = np.bytes_(value) if text == "bytes" else value
        order = list(layers)
        if shuffled is not None:
            shuffled.shuffle(order)
        for name, content in order:
            tensors = _flattened(name, content, tensor_name, name in frozen)
            group = root.create_group(name)
            _write_names(group, "weight_names", list(tensors), encode, limit)
            for place, array in tensors.items():
                group.create_dataset(place, data=array)
        if top_level:
            root.create_group("top_level_model_weights").attrs["weight_names"] = np.zeros(0)


def _flattened(name, content, tensor_name, frozen):
    """Return the tensors of a group by name, in Keras' order."""
    if isinstance(content, dict):
        return {tensor_name(name, role): array for role, array in content.items()}
    inner = [
        (tensor_name(layer, role), role, array)
        for layer, tensors in content
        for role, array in tensors.items()
    ]
    if not frozen:  # statistics go last, as they are not trainable; in a frozen model nothing is
        inner.sort(key=lambda item: item[1] in STATISTICS)
    return {place: array for place, _, array in inner}


def _write_names(group, attribute, names, encode, limit):
    if not names:
        group.attrs[attribute] = np.zeros(0)
        return
    values = np.array([encode(name) for name in names])
    pieces = 1
    while pieces < len(names) and values[: -(-len(names) // pieces)].nbytes > limit:
        pieces += 1
    for i, piece in enumerate(np.array_split(values, pieces)):
        stored = piece if piece.dtype.kind == "S" else piece.tolist()
        group.attrs[attribute if pieces == 1 else f"{attribute}{i}"] = stored
