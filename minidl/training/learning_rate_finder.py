"""Learning-rate finder: a short training with a growing learning rate.

The rate grows by the same factor in each step. At first the loss hardly changes, then it falls, at
last it diverges (Smith, 2015, https://arxiv.org/abs/1506.01186, section 3.3). Afterwards the model
is restored.

>>> import numpy as np
>>> from minidl import Input, Sequential, layers
>>> from minidl.training import find_learning_rate
>>> x = np.random.default_rng(0).normal(size=(64, 3))
>>> model = Sequential([Input((3,)), layers.Dense(1)])
>>> model.compile("sgd", "mse")
>>> found = find_learning_rate(model, x, x @ [[1.0], [2.0], [3.0]])
>>> 1e-3 < found.suggestion < 1
True
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.callbacks.progress import Progress
from minidl.common.argument_checks import check_integer, check_number
from minidl.common.errors import DataError
from minidl.data.pipeline import Dataset, as_dataset
from minidl.kernels.runtime.memory import retain_freed_memory
from minidl.training.batches import unpack
from minidl.training.trainer import Trainer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LearningRateCurve", "find_learning_rate"]

SMOOTHING = 0.9  # decay rate of the running mean of the loss
SETTLED = 10  # first step whose running mean covers enough batches
DIVERGED = 3.0  # stop at this multiple of the first loss above the lowest one


@dataclass(frozen=True)
class LearningRateCurve:
    """Learning rates and losses measured by :func:`find_learning_rate`.

    Attributes
    ----------
    learning_rates : numpy.ndarray, shape (S,)
        Increasing rate of each step.
    losses : numpy.ndarray, shape (S,)
        Loss of each step's batch before the update.
    smoothed : numpy.ndarray, shape (S,)
        Running mean of the losses, corrected for its start at zero.
    """

    learning_rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray

    @property
    def suggestion(self) -> float:
        """A tenth of the highest rate with a smoothed loss within a standard error of the lowest.

        At that highest rate the steps are about to become too large; the usual advice is to stay
        an order of magnitude below. The suggestion suits a constant rate. As the peak of a schedule
        with warm-up, two or three times the rate often works.

        The rule of one standard error (Breiman and others, 1984, "Classification and Regression
        Trees", section 3.4.3) matters with small batches: a few easy batches may have the lowest
        loss at a rate that is too low to learn anything.
        """
        settled = min(SETTLED, len(self.losses) // 2)
        smoothed = self.smoothed[settled:]
        good = smoothed <= smoothed.min() + _standard_error(self.losses)
        return float(self.learning_rates[settled:][good][-1] / 10)

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw the loss over the learning rate with matplotlib, and mark the suggestion.

        Parameters
        ----------
        path : str or Path, optional
            File to save the figure to.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        from minidl.common import plotting

        figure = plotting.new_figure((5.2, 3.4))
        axes = figure.subplots()
        axes.plot(self.learning_rates, self.losses, color=plotting.SERIES[6], alpha=0.4, lw=1)
        axes.plot(self.learning_rates, self.smoothed, color=plotting.SERIES[0])
        axes.axvline(
            self.suggestion, color="0.4", ls=":", label=f"suggested: {self.suggestion:.1e}"
        )
        lowest, first = self.smoothed.min(), self.smoothed[0]
        height = max(first - lowest, 1e-12)
        axes.set_ylim(lowest - 0.1 * height, first + height)
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
        axes.legend()
        if path is not None:
            plotting.save_figure(figure, path)
        return figure

    def __repr__(self) -> str:
        low, high = self.learning_rates[0], self.learning_rates[-1]
        return (
            f"<LearningRateCurve {len(self.losses)} steps from {low:.1e} to {high:.1e}, "
            f"suggestion {self.suggestion:.1e}>"
        )


@retain_freed_memory()
def find_learning_rate(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    batch_size: int | None = None,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 120,
    verbose: int | str = "auto",
) -> LearningRateCurve:
    """Train briefly with a growing learning rate, then restore the model.

    Parameters
    ----------
    model : Model
        Compiled. Weights, statistics and optimizer are restored, so that a later ``fit`` gives
        the same bits as without this call.
    x, y : array, Dataset or iterable of batches
        As for ``fit``; repeated if there are fewer batches than steps.
    batch_size : int, optional
        The best rate depends on it, so it should be that of the training.
    low, high : float
        Rates of the first and of the last step.
    steps : int
        Number of steps, at least 10. The training ends earlier if the loss diverges.
    verbose : {"auto", 0, 1, 2}
        1: a progress bar, 0 and 2: none, "auto": a bar on a terminal.

    Returns
    -------
    LearningRateCurve

    Raises
    ------
    ValueError
        If not ``0 < low < high``, or for fewer than 10 steps.
    RuntimeError
        If the model is not compiled.
    DataError
        If the loss of the first step is not finite, or there are no batches.

    Examples
    --------
    >>> import numpy as np
    >>> from minidl import Input, Sequential, layers
    >>> model = Sequential([Input((2,)), layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> curve = find_learning_rate(model, np.ones((8, 2)), np.ones(8), steps=10)
    >>> bool(curve.learning_rates[0] == 1e-6)
    True
    """
    low = check_number("find_learning_rate", "low", low, 0, exclusive="minimum")
    high = check_number("find_learning_rate", "high", high, low, exclusive="minimum")
    steps = check_integer("find_learning_rate", "steps", steps, 10)
    trainer = model._compiled("find_learning_rate")
    data = as_dataset(x, y, batch_size=batch_size, shuffle=True, seed=model.seed)
    rates = np.geomspace(low, high, steps)
    before = _State(model)
    try:
        with Progress("Learning rates", steps, verbose) as bar:
            losses = _train(trainer, _endless(data), rates, bar)
    finally:
        before.restore()
    return LearningRateCurve(rates[: len(losses)], np.array(losses), np.array(_smoothed(losses)))


def _train(
    trainer: Trainer, batches: Iterator[Any], rates: np.ndarray, bar: Progress
) -> list[float]:
    """Make one step with each rate until the loss diverges; return the losses."""
    losses: list[float] = []
    for rate, batch in zip(rates, batches, strict=False):
        trainer.optimizer.learning_rate = float(rate)
        loss = trainer.train_step(*unpack(batch))
        if not math.isfinite(loss):
            break
        losses.append(loss)
        bar.update()
        smoothed = _smoothed(losses)
        lowest = min(smoothed)
        if smoothed[-1] > lowest + DIVERGED * max(smoothed[0] - lowest, abs(smoothed[0])):
            break
    if not losses:
        raise DataError(
            "find_learning_rate: the loss of the first step is not a finite number, or there was "
            "no batch; check the data and the model"
        )
    return losses


def _smoothed(losses: list[float]) -> list[float]:
    """Return the running mean up to each step, corrected for its start at zero."""
    mean, result = 0.0, []
    for step, loss in enumerate(losses, 1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        result.append(mean / (1 - SMOOTHING**step))
    return result


def _standard_error(losses: np.ndarray) -> float:
    """Return the standard error of the running mean, estimated from differences of the losses.

    The median of normal differences is 0.6745 standard deviations; it ignores the divergence.
    """
    if len(losses) < 2:
        return 0.0
    deviation = np.median(np.abs(np.diff(losses))) / 0.6745
    return float(deviation / math.sqrt(2) * math.sqrt((1 - SMOOTHING) / (1 + SMOOTHING)))


def _endless(data: Dataset) -> Iterator[Any]:
    """Yield batches epoch after epoch."""
    for epoch in itertools.count():
        empty = True
        for batch in data.batches(epoch):
            empty = False
            yield batch
        if empty:
            return


class _State:
    """A copy of everything that training steps change in a model."""

    def __init__(self, model: Any) -> None:
        self.model, self.optimizer = model, model.optimizer
        self.weights = [(p, p.value.copy()) for p in model.weights]
        self.rate, self.state = self.optimizer.learning_rate, self.optimizer.get_state()

    def restore(self) -> None:
        for parameter, value in self.weights:
            parameter.assign(value)
        self.optimizer.set_state(self.state)
        self.optimizer.learning_rate = self.rate
        self.model.trainer.reset_metrics()
