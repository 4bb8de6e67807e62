"""Lion: steps of one size, in the direction of a sign."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from cnnlib import functional
from cnnlib.optim.base import Optimizer
from cnnlib.schedules import Schedule

__all__ = ["Lion"]

Array = NDArray[Any]


class Lion(Optimizer):
    """Lion: every weight moves by lr, in the direction of the sign of a mean gradient.

    With gradient g, parameter w, mean m (0 at first)::

        w ← (1 - lr · weight_decay) w - lr · sign(β₁ m + (1 - β₁) g)        sign(0) = 0
        m ← β₂ m + (1 - β₂) g

    One array of state, half of Adam's. All steps are as large as Adam's largest, so lr is best three to ten times
    smaller than Adam's, and weight_decay larger by as much. PyTorch has no Lion; settings are named as its authors do.
    Source: Chen et al., "Symbolic Discovery of Optimization Algorithms", 2023, algorithm 2.

    Raises ConfigError for negative settings and for betas outside 0 <= β < 1.

    >>> import numpy as np
    >>> from cnnlib.layers.parameter import Parameter
    >>> w = Parameter(np.array([1.0, 2.0]))
    >>> w.grad = np.array([0.5, -0.001])
    >>> Lion(lr=0.25).step({"w": w})
    >>> w.data
    array([0.75, 2.25])
    """

    slots = ("m",)

    def __init__(
        self, lr: float | Schedule = 1e-4, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0
    ) -> None:
        super().__init__(lr, weight_decay)
        self.betas = self._betas(betas)

    def _update(self, data: Array, grad: Array, state: dict[str, Array], step: int, lr: float) -> None:
        functional.lion_step(data, grad, state["m"], lr, *self.betas, self.weight_decay)

    def __repr__(self) -> str:
        return f"Lion(lr={self.lr}, betas={self.betas}, weight_decay={self.weight_decay})"
