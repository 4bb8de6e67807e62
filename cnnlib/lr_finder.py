"""LRFinder: which learning rates train, found out by a few steps at ever larger ones."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from cnnlib.datasets.feeding import Data, batches_of
from cnnlib.errors import ConfigError, DataError, NonFiniteError
from cnnlib.trainer import Trainer
from cnnlib.trial import without_trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from cnnlib.plots.canvas import Path

__all__ = ["LRFinder"]

_SMOOTHING = 0.9
_EXPLODED = 4.0  # a loss so many times the smallest one tells no more


class LRFinder:
    """Train for some steps at rates that grow from each to the next by the same factor, and see what the loss does.

    lr_k = start_lr · (end_lr / start_lr)^(k / (steps - 1))

    The loss falls where the rate is large enough and explodes where it is too large: a good one lies in between, a
    tenth of the rate where the loss was smallest, or somewhat above. Source: L. N. Smith, "Cyclical Learning Rates for
    Training Neural Networks", 2017. Model, optimizer and the layers' random generators are afterwards as before.

    After ``run``: ``rates``, ``losses`` (each before its step), ``smoothed`` (their moving mean), and ``suggestion``.

    >>> import cnnlib
    >>> (x, y), _ = cnnlib.datasets.mnist_sample()
    >>> finder = LRFinder(Trainer(cnnlib.models.lenet5(rng=0), cnnlib.CrossEntropyLoss(), cnnlib.SGD(0.1)))
    >>> 0.001 < finder.run((x, y), steps=40, batch_size=32).suggestion < 1
    True
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.smoothed: list[float] = []
        self._mean = 0.0

    def run(
        self,
        train: Data,
        *,
        start_lr: float = 1e-5,
        end_lr: float = 10.0,
        steps: int = 100,
        batch_size: int = 64,
        seed: int = 0,
    ) -> LRFinder:
        """Try the rates on `train`, as ``fit`` takes it, again from its start if it ends early; return the finder.

        Stops where the loss is four times the smallest one, or not finite. Raises ConfigError for bad settings.
        """
        if not 0 < start_lr < end_lr < math.inf or steps < 10:
            raise ConfigError(
                f"LRFinder: expected 0 < start_lr < end_lr and steps >= 10; got {start_lr}, {end_lr}, {steps}"
            )
        self.rates, self.losses, self.smoothed, self._mean = [], [], [], 0.0
        batches = batches_of(train, batch_size, np.random.default_rng(seed))
        iterator = iter(batches)
        with without_trace(self.trainer):
            for step in range(steps):
                batch = next(iterator, None)
                if batch is None:
                    iterator = iter(batches)
                    batch = next(iterator, None)
                    if batch is None:
                        raise DataError("LRFinder: the data gave no batches; a generator gives its batches only once")
                rate = start_lr * (end_lr / start_lr) ** (step / (steps - 1))
                self.trainer.optimizer.lr = rate
                try:
                    loss = self.trainer.train_step(*batch)
                except NonFiniteError:
                    break
                self._record(rate, loss)
                if self.smoothed[-1] > _EXPLODED * min(self.smoothed):
                    break
        return self

    def _record(self, rate: float, loss: float) -> None:
        self.rates.append(rate)
        self.losses.append(loss)
        self._mean = _SMOOTHING * self._mean + (1 - _SMOOTHING) * loss
        self.smoothed.append(self._mean / (1 - _SMOOTHING ** len(self.losses)))

    @property
    def suggestion(self) -> float:
        """A tenth of the rate at which the smoothed loss was smallest. Raises DataError before ``run``."""
        if not self.smoothed:
            raise DataError("LRFinder: there is no suggestion yet: run it first, or from a smaller start_lr")
        return self.rates[int(np.argmin(self.smoothed))] / 10

    def plot(self, *, ax: Axes | None = None, save: Path | None = None) -> Figure:
        """Draw loss over rate, with the suggestion (:func:`cnnlib.plots.learning_rates`)."""
        from cnnlib import plots

        return plots.learning_rates(self.rates, self.losses, self.smoothed, self.suggestion, ax=ax, save=save)
