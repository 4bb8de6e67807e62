"""RMSprop: steps scaled by a running mean of the gradient's squares."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from cnnlib import functional
from cnnlib.arrays import flag
from cnnlib.optim.base import Optimizer
from cnnlib.schedules import Schedule

__all__ = ["RMSprop"]

Array = NDArray[Any]


class RMSprop(Optimizer):
    """RMSprop: each step divided by the root of the gradient's running mean square.

    With gradient g, parameter w, mean square v, mean m and velocity b (0 at first)::

        g ← g + weight_decay · w
        v ← α v + (1 - α) g²                 centered:  m ← α m + (1 - α) g, else m = 0
        u = g / (√(v - m²) + eps)
        b ← momentum · b + u                 without momentum b = u
        w ← w - lr · b

    Source: Tieleman and Hinton, "Neural Networks for Machine Learning", lecture 6.5, 2012; centred: Graves, "Generating
    Sequences With Recurrent Neural Networks", 2013; in the form of ``torch.optim.RMSprop``. Where rounding makes v - m²
    negative, it counts as 0 (PyTorch's step becomes NaN).

    Raises ConfigError for negative settings, and for alpha >= 1 or momentum >= 1.

    >>> import numpy as np
    >>> from cnnlib.layers.parameter import Parameter
    >>> w = Parameter(np.array([1.0, 2.0]))
    >>> w.grad = np.array([0.5, -1.0])
    >>> RMSprop(lr=0.1, alpha=0.75).step({"w": w})
    >>> w.data.round(6)
    array([0.8, 2.2])
    """

    def __init__(
        self,
        lr: float | Schedule = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        super().__init__(lr, weight_decay)
        self.alpha = self._number("alpha", alpha, below=1.0)
        self.eps = self._number("eps", eps)
        self.momentum = self._number("momentum", momentum, below=1.0)
        self.centered = flag(centered, "centered")
        self.slots = ("v", *["m"] * self.centered, *["velocity"] * bool(momentum))

    def _update(self, data: Array, grad: Array, state: dict[str, Array], step: int, lr: float) -> None:
        arrays = state["v"], state.get("m"), state.get("velocity")
        functional.rmsprop_step(data, grad, *arrays, lr, self.alpha, self.eps, self.weight_decay, self.momentum)

    def __repr__(self) -> str:
        return (
            f"RMSprop(lr={self.lr}, alpha={self.alpha}, eps={self.eps}, weight_decay={self.weight_decay}, "
            f"momentum={self.momentum}, centered={self.centered})"
        )
