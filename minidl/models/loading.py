"""load_model: reads a model from a file, with its weights and its training state.

>>> import tempfile
>>> import numpy as np
>>> from minidl import Input, Sequential, layers, load_model
>>> model = Sequential([Input((2,)), layers.Dense(1)])
>>> path = tempfile.mkdtemp() + "/model.h5"
>>> model.save(path)
>>> bool((load_model(path).predict(np.ones((1, 2))) == model.predict(np.ones((1, 2)))).all())
True
"""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np

from minidl.common.errors import FileFormatError
from minidl.common.optional_formats import format_of
from minidl.formats.architecture import rebuild, revive
from minidl.formats.checkpoint import is_native, read_checkpoint, unpack
from minidl.formats.keras.architecture import rebuild_keras
from minidl.formats.matching import match
from minidl.formats.reading import read_weight_file
from minidl.formats.weights import assign_weights
from minidl.models.model import Model
from minidl.models.sequential import Sequential

__all__ = ["load_model"]

FilePath = str | PathLike[str]


def load_model(
    path: FilePath, custom_objects: dict[str, type] | None = None, compile: bool = True
) -> Model:
    """Read a model written by :meth:`Model.save`; it predicts the same bits.

    Whole models that Keras saved (``.h5``, ``.keras``), and ONNX files, can be read, too. They
    are built of minidl's layers with their weights, and are not compiled.

    Parameters
    ----------
    path : str or Path
        The content determines the format; only ONNX files need their extension ``.onnx``.
    custom_objects : dict of str to class, optional
        The user's own layers, losses, metrics and optimizers by class name.
    compile : bool
        Whether to restore optimizer, loss, metrics and the state of the training.

    Returns
    -------
    Model

    Raises
    ------
    FileNotFoundError
    FileFormatError
        If the file is damaged, contains no model, or needs an unknown class.

    Examples
    --------
    >>> import tempfile
    >>> from minidl import Input, Sequential, layers, load_model
    >>> path = tempfile.mkdtemp() + "/model.h5"
    >>> Sequential([Input((2,)), layers.Dense(1)], name="small").save(path)
    >>> load_model(path)
    <Sequential 'small' 1 layers, 3 parameters>
    """
    if not isinstance(custom_objects, (dict, type(None))):
        raise TypeError(
            f"load_model: expected custom_objects {{name: class}}, received {custom_objects!r}"
        )
    if not is_native(path):
        package = format_of(path)
        if package is not None:
            return package.load_model(path)
        return _load_keras(path)
    document, arrays = read_checkpoint(path)
    if document.get("kind") != "model":
        raise _no_architecture(str(path))
    try:
        model = _build_model(document, arrays, custom_objects, path)
    except KeyError as error:
        raise FileFormatError(
            f"{path}: missing entry {error}; another version of minidl wrote the file"
        ) from error
    if compile and "compile" in document:
        try:
            model.compile(**revive(document["compile"], custom_objects or {}))
        except (TypeError, ValueError) as error:
            raise FileFormatError(
                f"{path}: {error}. Pass your own classes as load_model(path, custom_objects="
                "{name: class}), or load without them by compile=False."
            ) from error
        model.optimizer.set_state(unpack(document["optimizer"], arrays))
    return model


def _no_architecture(file: str) -> FileFormatError:
    return FileFormatError(
        f"{file}: expected a model, received weights without an architecture. Build the model and "
        "call load_weights."
    )


def _load_keras(path: FilePath) -> Model:
    file = read_weight_file(path)
    if file.architecture is None:
        raise _no_architecture(f"{path} ({file.dialect})")
    available = sum(a.size for layer in file.layers for a in layer.tensors.values())
    inputs, outputs, name, kind = rebuild_keras(
        file.architecture, path, model_class=Model, max_parameters=available
    )
    model = (Sequential if kind == "Sequential" else Model)._functional(inputs, outputs, name=name)
    for parameter, array in match(model.layers, file, network=model):
        parameter.array = array
    return model


def _build_model(
    document: dict[str, Any],
    arrays: dict[str, np.ndarray],
    custom_objects: dict[str, type] | None,
    path: FilePath,
) -> Model:
    """Return the model of a document, with its weights and its training state."""
    description = document["architecture"]
    inputs, outputs = rebuild(description, custom_objects, Model)
    model_class = Sequential if description["class_name"] == "Sequential" else Model
    model = model_class._functional(inputs, outputs, name=description["name"])
    assign_weights(model, arrays, path)
    model.seed, model.metadata = document["seed"], unpack(document["metadata"], arrays)
    model.epochs_seen = document.get("epochs_seen", 0)
    model.training_state = unpack(document["training_state"], arrays)
    return model
