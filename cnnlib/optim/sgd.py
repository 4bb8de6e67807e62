"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any, ClassVar

from numpy.typing import NDArray

from cnnlib import functional
from cnnlib.arrays import flag
from cnnlib.errors import ConfigError
from cnnlib.optim.base import Optimizer
from cnnlib.schedules import Schedule

__all__ = ["SGD"]

Array = NDArray[Any]


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum (Polyak's or Nesterov's) and weight decay.

    With gradient g, parameter w, velocity v (0 at first)::

        g ← g + weight_decay · w
        v ← momentum · v + g
        w ← w - lr · v                       nesterov:  w ← w - lr · (g + momentum · v)

    Source: Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013, in the
    form of ``torch.optim.SGD`` (dampening 0).

    Raises ConfigError for negative settings, momentum >= 1, and nesterov without momentum.

    >>> import numpy as np
    >>> from cnnlib.layers.parameter import Parameter
    >>> w = Parameter(np.array([1.0, 2.0]))
    >>> w.grad = np.array([0.5, -1.0])
    >>> SGD(lr=0.5).step({"w": w})
    >>> w.data
    array([0.75, 2.5 ])
    """

    _fused: ClassVar[bool] = True

    def __init__(
        self, lr: float | Schedule, momentum: float = 0.0, weight_decay: float = 0.0, nesterov: bool = False
    ) -> None:
        super().__init__(lr, weight_decay)
        self.momentum = self._number("momentum", momentum, below=1.0)
        self.nesterov = flag(nesterov, "nesterov")
        self.slots = ("velocity",) if momentum else ()
        if self.nesterov and not momentum:
            raise ConfigError("SGD: nesterov=True needs a momentum above 0, such as 0.9")

    def _update(self, data: Array, grad: Array, state: dict[str, Array], step: int, lr: float) -> None:
        functional.sgd_step(data, grad, state.get("velocity"), lr, self.momentum, self.weight_decay, self.nesterov)

    def _fields(self, step: int, lr: float) -> tuple[float, ...]:
        return 0, self.nesterov, 0, lr, self.weight_decay, self.momentum, step, 0, 0, 0

    def __repr__(self) -> str:
        return (
            f"SGD(lr={self.lr}, momentum={self.momentum}, weight_decay={self.weight_decay}, nesterov={self.nesterov})"
        )
