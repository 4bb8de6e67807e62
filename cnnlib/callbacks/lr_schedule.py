"""LRSchedule: the learning rate as a function of the epoch or of the step."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING

from cnnlib.callbacks.base import Callback
from cnnlib.errors import ConfigError
from cnnlib.schedules import CosineLR, OneCycleLR, StepLR

if TYPE_CHECKING:
    from cnnlib.trainer import Trainer

__all__ = ["LRSchedule"]


class LRSchedule(Callback):
    """Set the optimizer's learning rate by a function: Keras's ``LearningRateScheduler``, and more.

    by="epoch": ``schedule(epoch)``, or ``schedule(epoch, lr)`` with the rate so far if it takes two arguments, is asked
        once an epoch, which counts from 0 as Keras's does.
    by="step": ``schedule(step)`` is asked before every batch; `step` batches were done since the fit began.
    A schedule of :mod:`cnnlib.schedules` is asked before every batch, too, for the fraction of the epoch. It may just
    as well be the optimizer's own rate: ``SGD(CosineLR(0.1, epochs=10))``.

    >>> import cnnlib, numpy as np
    >>> halved = LRSchedule(lambda epoch, lr: lr / 2 if epoch else lr)
    >>> model = cnnlib.Sequential(cnnlib.Linear(2, 2, rng=0), input_shape=2)
    >>> trainer = cnnlib.Trainer(model, cnnlib.CrossEntropyLoss(), cnnlib.SGD(0.1), callbacks=[halved])
    >>> trainer.fit((np.eye(2, dtype=np.float32), np.arange(2)), epochs=3, verbose=0)["lr"]
    [0.1, 0.05, 0.025]

    Raises ConfigError for another `by`, for what cannot be called, when training starts if the optimizer's rate is a
    schedule already, and for a rate that is not a number of at least 0.
    """

    def __init__(self, schedule: Callable[..., float], by: str = "epoch") -> None:
        if not callable(schedule):
            raise ConfigError(f"LRSchedule: schedule is a {type(schedule).__name__}, expected a function")
        if not isinstance(by, str) or by not in ("epoch", "step"):
            raise ConfigError(f"LRSchedule: by = {by!r}: expected 'epoch' or 'step'")
        self.schedule = schedule
        self.by = by
        self._fractional = isinstance(schedule, (StepLR, CosineLR, OneCycleLR))
        self._takes_rate = by == "epoch" and not self._fractional and _arguments(schedule) == 2

    def on_fit_begin(self, trainer: Trainer) -> None:
        """See that the rate is a number."""
        if callable(trainer.optimizer.lr):
            raise ConfigError(
                f"LRSchedule sets the optimizer's rate, which is the schedule {trainer.optimizer.lr}: give a number as "
                "lr, or leave this callback out"
            )

    def on_epoch_begin(self, trainer: Trainer, epoch: int) -> None:
        """Ask for the rate of the epoch; one that is resumed in its middle has it already."""
        if self.by == "epoch" and not self._fractional and not trainer.position.batch:
            rate = (trainer.optimizer.current_lr,) if self._takes_rate else ()
            trainer.optimizer.lr = self.schedule(epoch - 1, *rate)

    def on_batch_begin(self, trainer: Trainer, batch: int) -> None:
        """Ask for the rate of the step."""
        if self._fractional:
            trainer.optimizer.lr = self.schedule(trainer.optimizer.epoch)
        elif self.by == "step":
            trainer.optimizer.lr = self.schedule(trainer.position.step)

    def __repr__(self) -> str:
        return f"LRSchedule({self.schedule!r}, by={self.by!r})"


def _arguments(function: Callable[..., float]) -> int:
    """Return how many arguments must be given; 1 for a function that does not tell."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.default is p.empty for p in parameters)
