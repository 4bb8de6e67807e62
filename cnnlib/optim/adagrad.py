"""Adagrad: steps scaled by all gradients so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from cnnlib import functional
from cnnlib.optim.base import Optimizer
from cnnlib.schedules import Schedule

if TYPE_CHECKING:
    from cnnlib.layers.parameter import Parameter

__all__ = ["Adagrad"]

Array = NDArray[Any]


class Adagrad(Optimizer):
    """Adagrad: each step divided by the root of the sum of all squared gradients.

    With gradient g, parameter w, step t from 1, sum s (``initial_accumulator_value`` at first)::

        g ← g + weight_decay · w
        s ← s + g²
        w ← w - lr / (1 + (t - 1) lr_decay) · g / (√s + eps)

    Source: Duchi, Hazan and Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization",
    2011, in the form of ``torch.optim.Adagrad``.

    Raises ConfigError for negative settings.

    >>> import numpy as np
    >>> from cnnlib.layers.parameter import Parameter
    >>> w = Parameter(np.array([1.0, 2.0]))
    >>> w.grad = np.array([0.5, -1.0])
    >>> Adagrad(lr=0.1).step({"w": w})
    >>> w.data.round(6)
    array([0.9, 2.1])
    """

    slots = ("total",)

    def __init__(
        self,
        lr: float | Schedule = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
    ) -> None:
        super().__init__(lr, weight_decay)
        self.lr_decay = self._number("lr_decay", lr_decay)
        self.initial_accumulator_value = self._number("initial_accumulator_value", initial_accumulator_value)
        self.eps = self._number("eps", eps)

    def _slots(self, name: str, parameter: Parameter) -> dict[str, Array]:
        new = name not in self._state
        state = super()._slots(name, parameter)
        if new:
            state["total"] += self.initial_accumulator_value
        return state

    def _update(self, data: Array, grad: Array, state: dict[str, Array], step: int, lr: float) -> None:
        functional.adagrad_step(data, grad, state["total"], step, lr, self.lr_decay, self.eps, self.weight_decay)

    def __repr__(self) -> str:
        return (
            f"Adagrad(lr={self.lr}, lr_decay={self.lr_decay}, weight_decay={self.weight_decay}, "
            f"initial_accumulator_value={self.initial_accumulator_value}, eps={self.eps})"
        )
