"""Which learning rate? Try them all in one short training, from far too low to far too high.

The rate grows with each step by the same factor. At first nothing happens, then the loss falls, at
last it explodes (Smith, 2015, https://arxiv.org/abs/1506.01186, section 3.3). The model is put back
as it was.

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
from typing import Any

import numpy as np

from minidl.callbacks.progress import Progress
from minidl.common.argument_checks import check_integer, check_number
from minidl.common.errors import DataError
from minidl.data.pipeline import as_dataset
from minidl.kernels.runtime.memory import retain_freed_memory
from minidl.training.batches import unpack

__all__ = ["LearningRateCurve", "find_learning_rate"]

SMOOTHING = 0.9  # of the running mean of the loss
SETTLED = 10  # steps until that mean is one of enough batches to be compared
EXPLODED = 3.0  # times the first loss above the lowest one: no use going on


@dataclass(frozen=True)
class LearningRateCurve:
    """What :func:`find_learning_rate` saw.

    Attributes
    ----------
    learning_rates : (S,) of float64
        Of each step, growing.
    losses : (S,) of float64
        Of the step's batch, before its update.
    smoothed : (S,) of float64
        Their running mean, corrected for its start.
    """

    learning_rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray

    @property
    def suggestion(self) -> float:
        """A tenth of the highest rate at which the smoothed loss was as good as lowest.

        There the steps are about to become too large; the usual advice is to stay an order of
        magnitude below. It suits a constant rate; as the peak of a schedule with a warm-up, two or
        three times as much often works.

        "As good as lowest" is within a standard error of the smoothed loss (Breiman and others,
        1984, "Classification and Regression Trees", section 3.4.3): where batches are small, a few
        easy ones give the lowest loss long before the rate is high enough to learn anything.
        """
        settled = min(SETTLED, len(self.losses) // 2)
        smoothed = self.smoothed[settled:]
        good = smoothed <= smoothed.min() + _standard_error(self.losses)
        return float(self.learning_rates[settled:][good][-1] / 10)

    def plot(self, path=None):
        """Draw the loss over the rate, the suggestion marked; needs matplotlib.

        Parameters
        ----------
        path : str or Path, optional
            Where to save the picture.

        Returns
        -------
        matplotlib.figure.Figure
            Notebooks show it by themselves.
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
        reach = max(first - lowest, 1e-12)
        axes.set_ylim(lowest - 0.1 * reach, first + reach)
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
    model, x, y=None, *, batch_size: int | None = None, low: float = 1e-6, high: float = 10.0,
    steps: int = 120, verbose="auto",
) -> LearningRateCurve:  # fmt: skip
    """Train with a growing learning rate for a while, and put the model back as it was.

    Parameters
    ----------
    model : Model
        Compiled. Afterwards its weights, its statistics and its optimizer are what they were, so
        that ``fit`` gives the same bits as without this call.
    x, y : array, Dataset or other batches
        As for ``fit``; where there are fewer batches than steps, they are gone through again.
    batch_size : int, optional
        The one to train with: the best rate depends on it.
    low, high : float
        The first rate, and the one of the last step.
    steps : int
        It ends earlier where the loss explodes.
    verbose : {"auto", 0, 1, 2}
        0 for no progress bar.

    Raises
    ------
    ValueError
        For limits that are no growing pair of positive numbers, or fewer than 10 steps.
    RuntimeError
        If the model is not compiled.
    DataError
        If the loss of the first step is not finite, or there are no batches.
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


def _train(trainer, batches, rates: np.ndarray, bar) -> list[float]:
    """Make one step with each rate and return the losses, until they explode."""
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
        if smoothed[-1] > lowest + EXPLODED * max(smoothed[0] - lowest, abs(smoothed[0])):
            break
    if not losses:
        raise DataError(
            "find_learning_rate: the loss of the first step is not a finite number, or there was "
            "no batch; check the data and the model"
        )
    return losses


def _smoothed(losses: list[float]) -> list[float]:
    """Return the running mean up to each step, as if it had not started at zero."""
    mean, result = 0.0, []
    for step, loss in enumerate(losses, 1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        result.append(mean / (1 - SMOOTHING**step))
    return result


def _standard_error(losses: np.ndarray) -> float:
    """Return how uncertain the running mean is, by how much the loss jumps from step to step.

    The median of the jumps (0.6745 standard deviations for normal ones) ignores the explosion.
    """
    if len(losses) < 2:
        return 0.0
    jump = np.median(np.abs(np.diff(losses))) / 0.6745
    return float(jump / math.sqrt(2) * math.sqrt((1 - SMOOTHING) / (1 + SMOOTHING)))


def _endless(data) -> Iterator[Any]:
    """Yield batches, epoch after epoch."""
    for epoch in itertools.count():
        empty = True
        for batch in data.batches(epoch):
            empty = False
            yield batch
        if empty:
            return


class _State:
    """What a training step changes in a model."""

    def __init__(self, model):
        self.model, self.optimizer = model, model.optimizer
        self.weights = [(p, p.value.copy()) for p in model.weights]
        self.rate, self.state = self.optimizer.learning_rate, self.optimizer.get_state()

    def restore(self) -> None:
        for parameter, value in self.weights:
            parameter.assign(value)
        self.optimizer.set_state(self.state)
        self.optimizer.learning_rate = self.rate
        self.model.trainer.reset_metrics()
