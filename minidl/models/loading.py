"""load_model: a file becomes a model again, with its training where it stood.

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

from minidl.common.errors import FileFormatError
from minidl.formats.architecture import rebuild, revive
from minidl.formats.checkpoint import is_native, read_checkpoint, unpack
from minidl.formats.keras.architecture import rebuild_keras
from minidl.formats.matching import match
from minidl.formats.reading import read_weight_file
from minidl.formats.weights import assign_weights
from minidl.models.model import Model
from minidl.models.sequential import Sequential

__all__ = ["load_model"]


def load_model(path, custom_objects: dict[str, type] | None = None, compile: bool = True) -> Model:
    """Read a model written by :meth:`Model.save`; it predicts the same bits.

    Models that Keras saved whole (``.h5``, ``.keras``) are read, too, for predicting: built of
    minidl's layers, with their weights, not compiled.

    Parameters
    ----------
    path : str or Path
        The content decides what it is, not the name.
    custom_objects : dict of str to class, optional
        The user's own layers, losses, metrics and optimizers by class name.
    compile : bool
        Also restore optimizer, loss, metrics and where the training stands.

    Raises
    ------
    FileNotFoundError
    FileFormatError
        If the file is damaged, is no model, or needs a class that is not known.
    """
    if not isinstance(custom_objects, (dict, type(None))):
        raise TypeError(f"custom_objects: expected {{name: class}}, received {custom_objects!r}")
    if not is_native(path):
        return _load_keras(path)
    document, arrays = read_checkpoint(path)
    if document.get("kind") != "model":
        raise FileFormatError(
            f"{path}: holds weights without an architecture; build the model and load_weights it"
        )
    try:
        model = _make_model(document, arrays, custom_objects, path)
    except KeyError as error:
        raise FileFormatError(f"{path}: lacks {error}; it was written by another minidl") from error
    if compile and "compile" in document:
        try:
            model.compile(**revive(document["compile"], custom_objects or {}))
        except (TypeError, ValueError) as error:
            raise FileFormatError(
                f"{path}: {error}; classes of your own go into load_model(path, custom_objects="
                "{name: class}), compile=False does without them"
            ) from error
        model.optimizer.set_state(unpack(document["optimizer"], arrays))
    return model


def _load_keras(path) -> Model:
    """Return the model of a file that Keras wrote."""
    file = read_weight_file(path)
    if file.architecture is None:
        raise FileFormatError(
            f"{path} ({file.dialect}): holds weights without an architecture; build the model and "
            "load_weights it"
        )
    held = sum(a.size for layer in file.layers for a in layer.tensors.values())
    inputs, outputs, name, kind = rebuild_keras(
        file.architecture, path, model_class=Model, max_parameters=held
    )
    model = (Sequential if kind == "Sequential" else Model)._functional(inputs, outputs, name=name)
    for parameter, array in match(model.layers, file, network=model):
        parameter.array = array
    return model


def _make_model(document, arrays, custom_objects, path) -> Model:
    """Return the model of a document, with its weights and where its training stood."""
    description = document["architecture"]
    inputs, outputs = rebuild(description, custom_objects, Model)
    cls = Sequential if description["class_name"] == "Sequential" else Model
    model = cls._functional(inputs, outputs, name=description["name"])
    assign_weights(model, arrays, path)
    model.seed, model.metadata = document["seed"], unpack(document["metadata"], arrays)
    model.epochs_seen = document.get("epochs_seen", 0)
    model.training_state = unpack(document["training_state"], arrays)
    return model
