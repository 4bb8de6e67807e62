"""Learning-rate schedules: callables from the epoch to the learning rate.

The epoch counts fractionally from 0 (1.5 is the middle of the second), so a schedule may change the rate with
every step and does not depend on the batch size. An optimizer takes a schedule wherever it takes a number, and
any function ``epoch -> lr`` is one:

>>> from cnnlib.optim import SGD
>>> optimizer = SGD(lr=lambda epoch: 0.1 / (1 + epoch))
>>> optimizer.epoch = 1.0
>>> optimizer.current_lr
0.05
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from cnnlib.arrays import finite
from cnnlib.errors import ConfigError

__all__ = ["CosineLR", "OneCycleLR", "Schedule", "StepLR"]

Schedule = Callable[[float], float]


def _numbers(schedule: object) -> None:
    """Make the fields of a schedule floats, or raise ConfigError if one is no finite number."""
    for name, value in vars(schedule).items():
        object.__setattr__(schedule, name, finite(value, f"{type(schedule).__name__}: {name}"))


def _require(condition: bool, schedule: object, expected: str) -> None:
    if not condition:
        raise ConfigError(f"{schedule}: expected {expected}")


@dataclass(frozen=True)
class StepLR:
    """Multiply the rate by ``gamma`` after every ``step_size`` epochs.

    lr(epoch) = lr · gamma^⌊epoch / step_size⌋

    >>> schedule = StepLR(0.1, step_size=2, gamma=0.5)
    >>> [schedule(epoch) for epoch in (0, 1.9, 2, 4.5)]
    [0.1, 0.1, 0.05, 0.025]

    Raises ConfigError if ``step_size`` or ``gamma`` is not positive, or ``lr`` is negative.
    """

    lr: float
    step_size: float
    gamma: float = 0.1

    def __post_init__(self) -> None:
        _numbers(self)
        _require(
            0 <= self.lr < math.inf and 0 < self.step_size < math.inf and 0 < self.gamma < math.inf,
            self,
            "finite lr >= 0, step_size > 0, gamma > 0",
        )

    def __call__(self, epoch: float) -> float:
        """Return the learning rate at an epoch."""
        return float(self.lr * self.gamma ** (epoch // self.step_size))


@dataclass(frozen=True)
class CosineLR:
    """Fall from ``lr`` to ``min_lr`` along half a cosine, after a linear rise over the first ``warmup`` epochs.

    | lr(epoch) = min_lr + (lr - min_lr) · epoch / warmup                          for epoch < warmup
    | lr(epoch) = min_lr + (lr - min_lr) · ½ (1 + cos(π (epoch - warmup) / (epochs - warmup)))   up to epochs
    | lr(epoch) = min_lr                                                           from then on

    Source: Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017 (without restarts).

    >>> schedule = CosineLR(0.1, epochs=5, warmup=1.0)
    >>> [round(schedule(epoch), 4) for epoch in (0, 0.5, 1, 3, 5, 6)]
    [0.0, 0.05, 0.1, 0.05, 0.0, 0.0]

    Raises ConfigError unless 0 <= warmup < epochs and 0 <= min_lr <= lr.
    """

    lr: float
    epochs: float
    min_lr: float = 0.0
    warmup: float = 0.0

    def __post_init__(self) -> None:
        _numbers(self)
        _require(
            0 <= self.warmup < self.epochs < math.inf and 0 <= self.min_lr <= self.lr < math.inf,
            self,
            "0 <= warmup < epochs and 0 <= min_lr <= lr, all finite",
        )

    def __call__(self, epoch: float) -> float:
        """Return the learning rate at an epoch."""
        if epoch < self.warmup:
            share = epoch / self.warmup
        elif epoch < self.epochs:
            share = 0.5 * (1.0 + math.cos(math.pi * (epoch - self.warmup) / (self.epochs - self.warmup)))
        else:
            share = 0.0
        return self.min_lr + (self.lr - self.min_lr) * share


@dataclass(frozen=True)
class OneCycleLR:
    """Rise to ``max_lr`` along half a cosine over the first share ``pct_start`` of the epochs, then fall to almost 0.

    | lr(epoch) = from max_lr / div_factor up to max_lr                            for epoch < pct_start · epochs
    | lr(epoch) = from max_lr down to max_lr / (div_factor · final_div_factor)     up to epochs, the same from then on

    each along a + (b - a) · ½ (1 - cos(π share)). Source: Smith and Topin, "Super-Convergence", 2018, in the form of
    ``torch.optim.lr_scheduler.OneCycleLR`` (which counts steps and leaves momentum to be cycled, too).

    >>> schedule = OneCycleLR(0.1, epochs=10)
    >>> [round(schedule(epoch), 4) for epoch in (0, 1.5, 3, 6.5, 10)]
    [0.004, 0.052, 0.1, 0.05, 0.0]

    Raises ConfigError unless max_lr, epochs, div_factor and final_div_factor are positive and 0 <= pct_start <= 1.
    """

    max_lr: float
    epochs: float
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4

    def __post_init__(self) -> None:
        _numbers(self)
        positive = (self.max_lr, self.epochs, self.div_factor, self.final_div_factor)
        _require(
            all(0 < value < math.inf for value in positive) and 0 <= self.pct_start <= 1,
            self,
            "finite max_lr, epochs, div_factor, final_div_factor > 0 and 0 <= pct_start <= 1",
        )

    def __call__(self, epoch: float) -> float:
        """Return the learning rate at an epoch."""
        share, first = min(epoch / self.epochs, 1.0), self.max_lr / self.div_factor
        if share < self.pct_start:
            return _half_cosine(first, self.max_lr, share / self.pct_start)
        rest = (share - self.pct_start) / (1 - self.pct_start) if self.pct_start < 1 else 0.0
        return _half_cosine(self.max_lr, first / self.final_div_factor, rest)


def _half_cosine(start: float, end: float, share: float) -> float:
    return start + (end - start) * 0.5 * (1.0 - math.cos(math.pi * share))
