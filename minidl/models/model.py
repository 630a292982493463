"""Model: a network that can be compiled, trained, evaluated, asked and saved.

>>> import numpy as np
>>> from minidl import Input, Model, layers
>>> x = Input((3,))
>>> model = Model(x, layers.Dense(1, activation="sigmoid")(x))
>>> model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
>>> history = model.fit(np.eye(3), np.array([0, 1, 1]), epochs=2, verbose=0)
>>> sorted(history.history)
['accuracy', 'loss']
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.callbacks.callback import Callback
from minidl.callbacks.history import History
from minidl.callbacks.progress import format_logs
from minidl.common.errors import MinidlError, ShapeError
from minidl.common.seeding import draw_seed
from minidl.common.serialization import serialize
from minidl.data.array_checks import as_batch
from minidl.data.pipeline import as_dataset
from minidl.formats.architecture import describe
from minidl.formats.checkpoint import pack, write_checkpoint
from minidl.formats.matching import load_weights
from minidl.formats.weights import named_weights
from minidl.graph.network import Network
from minidl.kernels.runtime.memory import retain_freed_memory
from minidl.training.batches import check_finite, limit
from minidl.training.batches import unpack as unpack_batch
from minidl.training.fitting import FitArguments, fit
from minidl.training.trainer import Trainer

__all__ = ["Model"]


class Model(Network):
    """Layers between input and output tensors, with Keras' training methods.

    Parameters
    ----------
    inputs, outputs : SymbolicTensor or list of SymbolicTensor
        Made by ``Input`` and by calling layers.
    name : str, optional
    """

    def _prepare(self, name: str | None) -> None:
        super()._prepare(name)
        self.trainer: Trainer | None = None
        self.stop_training = False
        self.seed = draw_seed()  # all randomness of this model's training follows from it
        self.epochs_seen = 0  # over all calls of fit: each epoch has its own order
        self.training_state: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}  # saved with the model: class names and the like

    # ------------------------------------------------------------------ training

    def compile(self, optimizer="rmsprop", loss=None, metrics=None, loss_weights=None) -> None:
        """Choose how the model learns.

        Parameters
        ----------
        optimizer : str or Optimizer
        loss : str or Loss, or a list with one for each output
        metrics : list of str or Metric
            "accuracy" picks the accuracy that fits the labels, as Keras does.
        loss_weights : list of float, optional
            For several outputs.

        Raises
        ------
        ValueError
            For unknown names.
        """
        self.trainer = Trainer(self, optimizer, loss, metrics, loss_weights)

    def fit(
        self, x=None, y=None, batch_size: int | None = None, epochs: int = 1, verbose="auto",
        callbacks: list[Callback] | None = None, validation_split: float = 0.0,
        validation_data=None, shuffle: bool = True, class_weight: dict[int, float] | None = None,
        sample_weight=None, initial_epoch: int = 0, steps_per_epoch: int | None = None,
        validation_steps: int | None = None, validation_batch_size: int | None = None,
        validation_freq: int = 1, resume: bool = False, cache_features: bool | str = "auto",
        augmented_passes: int = 0,
    ) -> History:  # fmt: skip
        """Train, and return the :class:`History`.

        Parameters
        ----------
        x : array, list of arrays, Dataset (ImageFolder) or iterable of batches
        y : array or list of arrays
            For arrays `x` only.
        batch_size : int
            For arrays; 32 by default.
        epochs : int
        verbose : "auto", 0, 1 or 2
            Progress bar (1), a line for each epoch (2) or nothing (0).
        callbacks : list of Callback
        validation_split : float
            Share of the arrays, taken from their end, that is not trained on. Of no effect
            beside `validation_data`.
        validation_data : (x, y) or Dataset
        shuffle : bool
            Arrays: a new order in each epoch.
        class_weight : dict of int to float
        sample_weight : array
        initial_epoch : int
        steps_per_epoch, validation_steps : int
            Limits on the number of batches.
        validation_freq : int
        resume : bool
            Continue where the training of this model, or of the file it was loaded from,
            stands. From a file of ModelCheckpoint it continues exactly. A training that was
            interrupted within an epoch begins that epoch anew, with a warning.
        cache_features : "auto", True or False
            Whether the outputs of frozen layers below the first trainable or random one are
            computed once and kept: in memory up to 1 GiB, else in a file in the cache folder
            (``MINIDL_HOME``). "auto": wherever that is possible.
        augmented_passes : int
            Where random layers lie below the frozen ones: keep the features of so many
            augmented versions of each sample; the epochs take them in turn.

        Raises
        ------
        RuntimeError
            Before ``compile``.
        DataError, ShapeError
            For data that do not fit the model or the loss.
        """
        arguments = FitArguments(
            x=x,
            y=y,
            batch_size=batch_size,
            epochs=epochs,
            verbose=verbose,
            callbacks=callbacks,
            validation_split=validation_split,
            validation_data=validation_data,
            shuffle=shuffle,
            class_weight=class_weight,
            sample_weight=sample_weight,
            initial_epoch=initial_epoch,
            steps_per_epoch=steps_per_epoch,
            validation_steps=validation_steps,
            validation_batch_size=validation_batch_size,
            validation_freq=validation_freq,
            resume=resume,
            cache_features=cache_features,
            augmented_passes=augmented_passes,
        )
        return fit(self._compiled("fit"), arguments)

    def evaluate(
        self, x=None, y=None, batch_size=None, verbose="auto", sample_weight=None, steps=None,
        return_dict=False,
    ):  # fmt: skip
        """Return the loss, or ``[loss, metric, ...]``, or a dict with `return_dict`."""
        trainer = self._compiled("evaluate")
        dataset = as_dataset(x, y, sample_weight, batch_size=batch_size, shuffle=False)
        results = trainer.evaluate_dataset(dataset, steps)
        if verbose not in (0, "auto"):
            print(format_logs(results))
        if return_dict:
            return results
        values = list(results.values())
        return values[0] if len(values) == 1 else values

    def predict(self, x, batch_size=None, verbose="auto", steps=None):
        """Return the outputs for arrays or a dataset, batch by batch.

        Raises
        ------
        ShapeError
            If `x` does not fit the model's input.
        DataError
            For NaN or infinite values.
        """
        parts = []
        dataset = as_dataset(x, batch_size=batch_size, shuffle=False)
        for batch in limit(dataset.batches(0), steps):
            parts.append(self.predict_on_batch(unpack_batch(batch)[0]))
        if not parts:
            raise MinidlError(f"{self.label}: predict received no samples")
        if self.single_output:
            return np.concatenate(parts)
        return [np.concatenate(output) for output in zip(*parts, strict=True)]

    def predict_on_batch(self, x):
        """Return the outputs for one batch."""
        x, *_ = as_batch((x,), "predict")
        check_finite(x)
        return self.infer(x)

    @retain_freed_memory(trim=False)  # for the step after it
    def train_on_batch(self, x, y, sample_weight=None, class_weight=None, return_dict=False):
        """Make one optimizer step; return the loss, or ``[loss, metric, ...]`` of the batch."""
        trainer = self._compiled("train_on_batch")
        trainer.reset_metrics()
        x, y, sample_weight = as_batch((x, y, sample_weight), "train_on_batch")
        loss = trainer.train_step(x, y, sample_weight, class_weight)
        return _batch_results(loss, trainer, return_dict)

    def test_on_batch(self, x, y, sample_weight=None, return_dict=False):
        """Return the loss and metrics of one batch without learning from it."""
        trainer = self._compiled("test_on_batch")
        trainer.reset_metrics()
        x, y, sample_weight = as_batch((x, y, sample_weight), "test_on_batch")
        return _batch_results(trainer.test_step(x, y, sample_weight), trainer, return_dict)

    def check_inputs(self, x) -> list[np.ndarray]:
        """Return the inputs as a list of arrays in the model's dtype, or say what is wrong."""
        return super().check_inputs(self._only_input(x))

    def _only_input(self, x):
        """Take the array out of ``[x]`` where the model has one input, as Keras does."""
        arrays = isinstance(x, (list, tuple)) and all(isinstance(part, np.ndarray) for part in x)
        if not (self.single_input and arrays and len(x) > 0):
            return x
        if len(x) > 1:
            raise ShapeError(
                f"{self.label}: expected one array, received a list of {len(x)}; "
                "np.stack(samples) makes it one"
            )
        return x[0]

    @property
    def optimizer(self):
        """The optimizer given to ``compile``."""
        return self._compiled("optimizer").optimizer

    @property
    def loss(self):
        """The loss given to ``compile``."""
        losses = self._compiled("loss").losses
        return losses[0] if self.single_output else losses

    def _compiled(self, what: str) -> Trainer:
        if self.trainer is None:
            raise RuntimeError(
                f"{self.label}: {what} needs compile(optimizer, loss) to be called first"
            )
        return self.trainer

    # ------------------------------------------------------------------ files

    def save(self, path, include_optimizer: bool = True, dtype: str | None = None) -> None:
        """Write everything to one HDF5 file: architecture, weights, optimizer, random state.

        Parameters
        ----------
        path : str or Path
        include_optimizer : bool
            False: a smaller file to predict with, which does not know how it was trained.
        dtype : {"float16", "float32", "float64"}, optional
            Round the weights to it in the file. "float16" halves a file to deploy, at three
            digits of each weight; a model that is loaded computes as it did before.

        Raises
        ------
        TypeError
            If a layer's argument cannot be saved.
        ValueError
            If two parameters have the same path, or a weight is too large for the dtype.
        OSError
            If the file cannot be written; an older file of that name is left as it was.
        """
        write_checkpoint(path, *self.checkpoint(include_optimizer, dtype))

    def checkpoint(
        self, include_optimizer: bool = True, dtype: str | None = None
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return what :meth:`save` writes: a document that JSON can hold, and named arrays."""
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
            document["optimizer"] = pack(self.optimizer.get_state(), arrays, "optimizer")
        return document, arrays

    def save_weights(self, path) -> None:
        """Write the weights alone."""
        write_checkpoint(path, {"kind": "weights"}, named_weights(self))

    def load_weights(self, path) -> None:
        """Read the weights of a file; every tensor has to fit, else nothing is changed.

        Parameters
        ----------
        path : str or Path
            A file of minidl or of Keras (``.h5``, ``.weights.h5``, ``.keras``), or safetensors;
            the content decides, not the name.

        Raises
        ------
        FileFormatError
            If the file is damaged, or its tensors are not those of this model.
        """
        load_weights(self, path)

    def get_config(self) -> dict[str, Any]:
        """Return the architecture as JSON can hold it."""
        return describe(self)


def _compile_config(trainer: Trainer) -> dict[str, Any]:
    """What ``compile`` was given, as JSON can hold it."""
    single = len(trainer.losses) == 1
    names = [serialize(group) for group in trainer.metric_names]
    return {
        "optimizer": serialize(trainer.optimizer),
        "loss": serialize(trainer.losses[0] if single else trainer.losses),
        "metrics": names[0] if single else names,
        "loss_weights": trainer.loss_weights,
    }


def _batch_results(loss: float, trainer: Trainer, return_dict: bool):
    results = {"loss": loss, **trainer.metric_results()}
    if return_dict:
        return results
    values = list(results.values())
    return values[0] if len(values) == 1 else values
