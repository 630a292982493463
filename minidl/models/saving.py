"""SavingMixin: the methods of a model that write and read files.

>>> import tempfile
>>> from minidl import Input, Sequential, layers
>>> model = Sequential([Input((2,)), layers.Dense(1)])
>>> path = tempfile.mkdtemp() + "/model.weights.h5"
>>> model.save_weights(path)
>>> model.load_weights(path)
"""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np

from minidl.common.optional_formats import format_of, registered_extensions
from minidl.common.serialization import serialize
from minidl.formats.architecture import describe
from minidl.formats.checkpoint import pack, write_checkpoint
from minidl.formats.matching import load_weights
from minidl.formats.weights import named_weights
from minidl.graph.network import Network
from minidl.training.trainer import Trainer

__all__ = ["SavingMixin"]


class SavingMixin(Network):
    """A network with a training state that can be saved.

    Attributes
    ----------
    trainer : Trainer or None
        Set by ``compile``.
    seed : int
        Seed of all randomness of the training.
    epochs_seen : int
        Number of epochs over all calls of ``fit``; each epoch has its own order of samples.
    training_state : dict
        State with which ``fit(resume=True)`` continues.
    metadata : dict
        Values saved with the model, such as class names.
    """

    trainer: Trainer | None
    seed: int
    epochs_seen: int
    training_state: dict[str, Any]
    metadata: dict[str, Any]

    def save(
        self, path: str | PathLike[str], include_optimizer: bool = True, dtype: str | None = None
    ) -> None:
        """Write architecture, weights, optimizer and training state to one HDF5 file.

        Parameters
        ----------
        path : str or Path
        include_optimizer : bool
            False writes a smaller file for inference, without the arguments of ``compile``.
        dtype : {"float16", "float32", "float64"}, optional
            Dtype of the weights in the file. "float16" halves the file and keeps three digits
            of each weight; a loaded model computes in its former dtype.

        Raises
        ------
        TypeError
            If a layer's argument cannot be saved.
        ValueError
            If two parameters have the same path, or a weight is too large for the dtype.
        OSError
            If the file cannot be written. An older file with that name is kept.

        Examples
        --------
        >>> import tempfile
        >>> from minidl import Input, Sequential, layers, load_model
        >>> path = tempfile.mkdtemp() + "/model.h5"
        >>> Sequential([Input((2,)), layers.Dense(1)], name="small").save(path)
        >>> load_model(path).name
        'small'
        """
        write_checkpoint(path, *self.checkpoint(include_optimizer, dtype))

    def checkpoint(
        self, include_optimizer: bool = True, dtype: str | None = None
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return what :meth:`save` writes, whose parameters it shares.

        Returns
        -------
        document : dict
            Everything but the arrays, for JSON.
        arrays : dict of str to array
        """
        arrays = named_weights(self, dtype)
        state = self.training_state if include_optimizer else {}
        document: dict[str, Any] = {
            "kind": "model",
            "architecture": describe(self),
            "seed": self.seed,
            "epochs_seen": self.epochs_seen,
            "metadata": serialize(pack(self.metadata, arrays, "metadata")),
            "training_state": pack(state, arrays, "training_state"),
        }
        if include_optimizer and self.trainer is not None:
            document["compile"] = _compile_config(self.trainer)
            state = self.trainer.optimizer.get_state()
            document["optimizer"] = pack(state, arrays, "optimizer")
        return document, arrays

    def save_weights(self, path: str | PathLike[str]) -> None:
        """Write the weights to an HDF5 file.

        Parameters
        ----------
        path : str or Path

        Raises
        ------
        ValueError
            If two parameters have the same path.
        OSError
            If the file cannot be written.

        Examples
        --------
        >>> import tempfile
        >>> from minidl import Input, Sequential, layers
        >>> model = Sequential([Input((2,)), layers.Dense(1)])
        >>> model.save_weights(tempfile.mkdtemp() + "/model.weights.h5")
        """
        write_checkpoint(path, {"kind": "weights"}, named_weights(self))

    def load_weights(self, path: str | PathLike[str]) -> None:
        """Read the weights of a file. Every tensor must fit, else no weight is changed.

        Parameters
        ----------
        path : str or Path
            A file of minidl or Keras (``.h5``, ``.weights.h5``, ``.keras``), safetensors, a state
            dict of PyTorch (``.pth``), or an ONNX file. The content determines the format; only
            ONNX files need their extension ``.onnx``.

        Raises
        ------
        FileNotFoundError
        FileFormatError
            If the file is damaged, or its tensors do not fit this model.

        Examples
        --------
        >>> import tempfile
        >>> from minidl import Input, Sequential, layers
        >>> model, twin = (Sequential([Input((2,)), layers.Dense(1)]) for _ in range(2))
        >>> path = tempfile.mkdtemp() + "/model.weights.h5"
        >>> model.save_weights(path)
        >>> twin.load_weights(path)
        >>> bool((twin.weights[0].value == model.weights[0].value).all())
        True
        """
        load_weights(self, path)

    def export(
        self,
        path: str | PathLike[str],
        float_input: bool = False,
        resize: bool = False,
        license: str | None = None,
    ) -> None:
        """Write the model to a file of another format, by its extension: ``.onnx``.

        The file contains everything that :meth:`predict` computes, preprocessing included. A model
        of images takes photos as uint8, shape (N, H, W, C), in batches of any size. The outputs
        are those of :meth:`predict`; logits of a classifier become probabilities. If an OOD score
        is fitted, it is the second output. Class names, image size and threshold are in the
        metadata.

        Parameters
        ----------
        path : str or Path
        float_input : bool
            Images are float32, shape (N, C, H, W), with values from 0 to 255.
        resize : bool
            Photos have any size; the file resizes them.
        license : str, optional
            Stored in the metadata; by default ``model.metadata["license"]``.

        Raises
        ------
        MinidlError
            If a layer has no rule, or the file would be larger than 2 GiB.
        ValueError
            If the extension is unknown, or an option does not fit the model.
        OSError
            If the file cannot be written. An older file with that name is kept.

        Examples
        --------
        >>> import tempfile
        >>> from minidl import Input, Sequential, layers
        >>> model = Sequential([Input((8, 8, 3)), layers.Flatten(), layers.Dense(2, "softmax")])
        >>> model.export(tempfile.mkdtemp() + "/model.onnx")
        """
        package: Any = format_of(path)
        if not hasattr(package, "export_model"):
            known = ", ".join(registered_extensions())
            raise ValueError(f"export: expected a name that ends in {known}, received {path!r}")
        package.export_model(self, path, float_input=float_input, resize=resize, license=license)

    def get_config(self) -> dict[str, Any]:
        """Return the architecture as values that JSON supports.

        Returns
        -------
        dict

        Examples
        --------
        >>> from minidl import Input, Sequential, layers
        >>> Sequential([Input((2,)), layers.Dense(1)]).get_config()["class_name"]
        'Sequential'
        """
        return describe(self)


def _compile_config(trainer: Trainer) -> dict[str, Any]:
    """Return the arguments of ``compile`` as values that JSON supports."""
    single = len(trainer.losses) == 1
    names = [serialize(group) for group in trainer.metric_names]
    return {
        "optimizer": serialize(trainer.optimizer),
        "loss": serialize(trainer.losses[0] if single else trainer.losses),
        "metrics": names[0] if single else names,
        "loss_weights": trainer.loss_weights,
    }
