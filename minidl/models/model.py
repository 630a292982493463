"""Model: a network with Keras' methods for training, evaluation, prediction and saving.

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

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minidl.callbacks.callback import Callback
from minidl.callbacks.history import History
from minidl.callbacks.progress import Progress, display_mode
from minidl.common.errors import MinidlError
from minidl.common.seeding import draw_seed
from minidl.data.array_checks import as_batch
from minidl.data.pipeline import Dataset, as_dataset
from minidl.distributed.communicator import alone, current
from minidl.kernels.runtime.memory import retain_freed_memory
from minidl.losses.base import Loss
from minidl.models.saving import SavingMixin
from minidl.optimizers.optimizer import Optimizer
from minidl.training.batches import limit, unpack
from minidl.training.fitting import FitArguments, fit
from minidl.training.shared_inference import shared_outputs
from minidl.training.trainer import Trainer

__all__ = ["Model"]

Verbose = int | str  # "auto", 0, 1 or 2


class Model(SavingMixin):
    """Layers between input and output tensors, with Keras' training methods.

    Parameters
    ----------
    inputs, outputs : SymbolicTensor or list of SymbolicTensor
        Made by ``Input`` and by calling layers.
    name : str, optional

    Examples
    --------
    >>> from minidl import Input, Model, layers
    >>> x = Input((8, 8, 3))
    >>> branches = [layers.Conv2D(4, 1)(x), layers.Conv2D(4, 3, padding="same")(x)]
    >>> Model(x, layers.Concatenate()(branches)).output_shape
    (None, 8, 8, 8)
    """

    def _prepare(self, name: str | None) -> None:
        super()._prepare(name)
        self.trainer = None
        self.stop_training = False
        self.seed = draw_seed()
        self.epochs_seen = 0
        self.training_state = {}
        self.metadata = {}

    def compile(
        self,
        optimizer: str | Optimizer = "rmsprop",
        loss: str | Loss | Sequence[str | Loss] | None = None,
        metrics: Sequence[Any] | None = None,
        loss_weights: list[float] | None = None,
    ) -> None:
        """Set optimizer, loss and metrics.

        Parameters
        ----------
        optimizer : str or Optimizer
        loss : str or Loss, or a list with one for each output
        metrics : list of str or Metric, optional
            "accuracy" stands for the accuracy that fits the labels, as in Keras. For several
            outputs a list of such lists.
        loss_weights : list of float, optional
            One for each of several outputs.

        Raises
        ------
        ValueError
            If a name is unknown, or the number of losses is not that of the outputs.
        TypeError
            If an argument has another type.

        Examples
        --------
        >>> from minidl import Input, Sequential, layers, optimizers
        >>> model = Sequential([Input((2,)), layers.Dense(1, activation="sigmoid")])
        >>> model.compile(optimizers.Adam(1e-3), loss="binary_crossentropy", metrics=["auc"])
        >>> model.optimizer.learning_rate
        0.001
        """
        self.trainer = Trainer(self, optimizer, loss, metrics, loss_weights)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Verbose = "auto",
        callbacks: Callback | Sequence[Callback] | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: dict[int, float] | None = None,
        sample_weight: ArrayLike | None = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int = 1,
        resume: bool = False,
        cache_features: bool | str = "auto",
        augmented_passes: int = 0,
        shards: int | None = None,
        gradient_dtype: str = "float32",
        distributed: bool = True,
    ) -> History:
        """Train the model.

        Parameters
        ----------
        x : array, list of arrays, Dataset such as ImageFolder, or iterable of batches
        y : array or list of arrays, optional
            Labels, if `x` are arrays.
        batch_size : int, optional
            Number of samples in each gradient step, if `x` are arrays; 32 by default.
        epochs : int
            Number of the last epoch.
        verbose : {"auto", 0, 1, 2}
            0: nothing; 1: a progress bar; 2: a line for each epoch. "auto": a bar on a terminal
            or in a notebook, else lines.
        callbacks : Callback or list of Callback, optional
        validation_split : float
            Fraction of the arrays, taken from their end, for validation. Ignored if
            `validation_data` is given.
        validation_data : (x, y), (x, y, sample_weight) or Dataset, optional
        shuffle : bool
            Whether arrays have a new order in each epoch.
        class_weight : dict of int to float, optional
            Weights of the classes in the loss.
        sample_weight : array_like, shape (samples,), optional
            Weights of the samples in the loss, if `x` are arrays.
        initial_epoch : int
            Number of epochs that count as done.
        steps_per_epoch, validation_steps : int, optional
            Limits on the number of batches.
        validation_batch_size : int, optional
            By default `batch_size`.
        validation_freq : int
            Number of epochs between two validations.
        resume : bool
            Continue the training of this model, or of the file from which it was loaded. A file
            of ModelCheckpoint continues exactly. An epoch that was interrupted starts again,
            with a warning.
        cache_features : {"auto", True, False}
            Whether to compute the outputs of the frozen layers below the first trainable or
            random one only once. Up to 1 GiB is kept in memory, more in a file in the cache
            folder (``MINIDL_HOME``). "auto": wherever possible.
        augmented_passes : int
            If random layers are below the frozen ones: number of augmented versions of each
            sample whose features are cached; the epochs use them in turn.
        shards : int, optional
            Number of contiguous parts of each batch, each with its own BatchNormalization
            statistics and random numbers. Their number determines the result, whichever MPI
            process computes them. By default the number of MPI processes, 1 without MPI; a
            resumed training keeps its number.
        gradient_dtype : {"float32", "float16"}
            Precision in which the shards' gradients are exchanged. "float16" halves the messages;
            sums are computed in the gradients' own precision.
        distributed : bool
            Whether the processes that ``mpiexec`` has started together train together.

        Returns
        -------
        History
            ``history.history`` contains a list with one value per epoch for each metric.

        Raises
        ------
        RuntimeError
            Before ``compile``.
        DataError, ShapeError
            If the data do not fit the model or the loss.
        ValueError
            If another argument is out of range.

        Examples
        --------
        >>> import numpy as np
        >>> from minidl import Input, Sequential, layers
        >>> model = Sequential([Input((1,)), layers.Dense(1, kernel_initializer="ones")])
        >>> model.compile("sgd", "mse")
        >>> x = np.ones((4, 1))
        >>> [round(loss, 3) for loss in model.fit(x, 2 * x, epochs=2, verbose=0).history["loss"]]
        [1.0, 0.922]
        """
        arguments = {name: value for name, value in locals().items() if name != "self"}
        return fit(self._compiled("fit"), FitArguments(**arguments))

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Verbose = "auto",
        sample_weight: ArrayLike | None = None,
        steps: int | None = None,
        return_dict: bool = False,
        distributed: bool = True,
    ) -> Any:
        """Compute the loss and the metrics.

        Parameters
        ----------
        x, y, batch_size, sample_weight
            As for :meth:`fit`.
        verbose : {"auto", 0, 1, 2}
            0: nothing; 1: a progress bar; 2: a line. "auto": a bar on a terminal or in a
            notebook, else nothing, so that scripts choose what they print.
        steps : int, optional
            Limit on the number of batches.
        return_dict : bool
        distributed : bool
            Whether the processes that ``mpiexec`` has started together share the batches. All
            return the results of one process, to the last bit.

        Returns
        -------
        float, list of float, or dict of str to float
            The loss; ``[loss, metric, ...]`` if there are metrics; both by name with
            `return_dict`.

        Raises
        ------
        RuntimeError
            Before ``compile``.
        DataError, ShapeError
            If the data do not fit the model or the loss.

        Examples
        --------
        >>> import numpy as np
        >>> from minidl import Input, Sequential, layers
        >>> model = Sequential([Input((1,)), layers.Dense(1, kernel_initializer="ones")])
        >>> model.compile("sgd", "mse", metrics=["binary_accuracy"])
        >>> model.evaluate(np.ones((2, 1)), np.zeros((2, 1)), return_dict=True)
        {'loss': 1.0, 'binary_accuracy': 0.0}
        """
        trainer = self._compiled("evaluate")
        dataset = as_dataset(x, y, sample_weight, batch_size=batch_size, shuffle=False)
        with (
            _processes(distributed),
            _progress("Evaluation", dataset, steps, verbose) as progress,
        ):
            results = trainer.evaluate_dataset(dataset, steps, progress=progress)
            progress.finish(results)
        return _as_results(results, return_dict)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Verbose = "auto",
        steps: int | None = None,
        distributed: bool = True,
    ) -> Any:
        """Compute the outputs batch by batch.

        Parameters
        ----------
        x : array, list of arrays, Dataset or iterable of batches
            Labels of a dataset are ignored.
        batch_size : int, optional
            If `x` are arrays; 32 by default.
        verbose : {"auto", 0, 1, 2}
            As for :meth:`evaluate`.
        steps : int, optional
            Limit on the number of batches.
        distributed : bool
            As for :meth:`evaluate`.

        Returns
        -------
        array, or list of arrays for several outputs

        Raises
        ------
        ShapeError
            If `x` does not fit the model's input.
        DataError
            If `x` contains NaN or infinite values, or no samples.

        Examples
        --------
        >>> import numpy as np
        >>> from minidl import Input, Sequential, layers
        >>> model = Sequential([Input((3,)), layers.Dense(1, kernel_initializer="ones")])
        >>> model.predict(np.ones((2, 3)))
        array([[3.],
               [3.]], dtype=float32)
        """
        dataset = as_dataset(x, batch_size=batch_size, shuffle=False)
        parts = []
        with (
            _processes(distributed),
            _progress("Prediction", dataset, steps, verbose) as progress,
        ):
            for _, outputs in shared_outputs(
                limit(dataset.batches(0), steps),
                lambda batch: self.predict_on_batch(unpack(batch)[0]),
            ):
                parts.append(outputs)
                progress.update()
            progress.finish({})
        if not parts:
            raise MinidlError(f"{self.label}: predict received no samples")
        if self.single_output:
            return np.concatenate(parts)
        return [np.concatenate(output) for output in zip(*parts, strict=True)]

    def predict_on_batch(self, x: Any) -> Any:
        """Compute the outputs for one batch.

        Parameters
        ----------
        x : array or list of arrays

        Returns
        -------
        array, or list of arrays for several outputs

        Raises
        ------
        ShapeError, TypeError, DataError
            See :func:`minidl.graph.input_checks.check_inputs`.

        Examples
        --------
        >>> import numpy as np
        >>> from minidl import Input, Sequential, layers
        >>> Sequential([Input((2,)), layers.ReLU()]).predict_on_batch(np.array([[-1.0, 1.0]]))
        array([[0., 1.]], dtype=float32)
        """
        return self.run_plan(self.check_inputs(x, require_finite=True))

    def run_plan(self, xs: list[np.ndarray]) -> Any:
        """Return the outputs for checked inputs."""
        return super().run_plan(xs) if self.trainer is None else self.trainer.predict(xs)

    @retain_freed_memory(trim=False)  # the next step uses the memory again
    def train_on_batch(
        self,
        x: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        class_weight: dict[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Make one optimizer step.

        Parameters
        ----------
        x, y : array or list of arrays
        sample_weight : array_like, shape (samples,), optional
        class_weight : dict of int to float, optional
        return_dict : bool

        Returns
        -------
        float, list of float, or dict of str to float
            Loss and metrics of the batch before the step, as from :meth:`evaluate`.

        Raises
        ------
        RuntimeError
            Before ``compile``.
        DataError, ShapeError
            If the data do not fit the model or the loss.

        Examples
        --------
        >>> import numpy as np
        >>> from minidl import Input, Sequential, layers
        >>> model = Sequential([Input((1,)), layers.Dense(1, kernel_initializer="ones")])
        >>> model.compile("sgd", "mse")
        >>> model.train_on_batch(np.ones((2, 1)), np.zeros((2, 1)))
        1.0
        """
        trainer = self._compiled("train_on_batch")
        x, y, sample_weight = as_batch((x, y, sample_weight), "train_on_batch")
        trainer.reset_metrics()
        loss = trainer.train_step(x, y, sample_weight, class_weight)
        return _as_results({"loss": loss, **trainer.metric_results()}, return_dict)

    def test_on_batch(
        self,
        x: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Compute the loss and the metrics of one batch without changing the model.

        Parameters
        ----------
        x, y, sample_weight, return_dict
            As for :meth:`train_on_batch`.

        Returns
        -------
        float, list of float, or dict of str to float

        Raises
        ------
        RuntimeError
            Before ``compile``.
        DataError, ShapeError
            If the data do not fit the model or the loss.

        Examples
        --------
        >>> import numpy as np
        >>> from minidl import Input, Sequential, layers
        >>> model = Sequential([Input((1,)), layers.Dense(1, kernel_initializer="ones")])
        >>> model.compile("sgd", "mse")
        >>> model.test_on_batch(np.ones((2, 1)), np.zeros((2, 1)))
        1.0
        """
        trainer = self._compiled("test_on_batch")
        batch = as_batch((x, y, sample_weight), "test_on_batch")
        trainer.reset_metrics()
        loss = trainer.test_step(*batch)
        return _as_results({"loss": loss, **trainer.metric_results()}, return_dict)

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer given to ``compile``."""
        return self._compiled("optimizer").optimizer

    @property
    def loss(self) -> Any:
        """The loss given to ``compile``, or a list with one for each of several outputs."""
        losses = self._compiled("loss").losses
        return losses[0] if self.single_output else losses

    def _compiled(self, caller: str) -> Trainer:
        if self.trainer is None:
            raise RuntimeError(
                f"{self.label}: expected a compiled model for {caller}. "
                "Call compile(optimizer, loss) first."
            )
        return self.trainer


def _processes(distributed: bool) -> AbstractContextManager[None]:
    """Return the context for all processes of MPI, or for this one alone."""
    return nullcontext() if distributed else alone()


def _progress(title: str, dataset: Dataset, steps: int | None, verbose: Verbose) -> Progress:
    """Return the progress of a pass; "auto" without a terminal or notebook shows nothing."""
    if current().rank or (verbose == "auto" and display_mode("auto") != "bar"):
        verbose = 0
    try:
        total: int | None = len(dataset)
    except TypeError:  # an iterable of unknown length
        total = steps
    return Progress(title, total if steps is None or total is None else min(total, steps), verbose)


def _as_results(results: dict[str, Any], return_dict: bool) -> Any:
    values = list(results.values())
    return results if return_dict else values[0] if len(values) == 1 else values
