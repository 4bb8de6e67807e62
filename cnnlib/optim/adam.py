"""Adam and what is made of it: steps scaled by moments of the gradient."""

from __future__ import annotations

from typing import Any, ClassVar

from numpy.typing import NDArray

from cnnlib import functional
from cnnlib.optim.base import Optimizer
from cnnlib.schedules import Schedule

__all__ = ["Adam", "AdamW"]

Array = NDArray[Any]


class Adam(Optimizer):
    """Adam: steps scaled by running estimates of the gradient's mean and uncentred variance.

    With gradient g, parameter w, step t from 1, moments m and s (0 at first)::

        g ← g + weight_decay · w
        m ← β₁ m + (1 - β₁) g                s ← β₂ s + (1 - β₂) g²
        w ← w - lr · m̂ / (√ŝ + eps)          m̂ = m / (1 - β₁ᵗ), ŝ = s / (1 - β₂ᵗ)

    Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015, in the form of ``torch.optim.Adam``.

    Raises ConfigError for negative settings and for betas outside 0 <= β < 1.

    >>> import numpy as np
    >>> from cnnlib.layers.parameter import Parameter
    >>> w = Parameter(np.array([1.0, 2.0]))
    >>> w.grad = np.array([0.5, -1.0])
    >>> Adam(lr=0.5).step({"w": w})
    >>> w.data.round(6)
    array([0.5, 2.5])
    """

    slots = ("m", "v")
    #: Roots and quotients take longer than memory, unless this is the main memory.
    large = 1 << 25
    _fused: ClassVar[bool] = True
    _decoupled: ClassVar[bool] = False

    def __init__(
        self,
        lr: float | Schedule = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(lr, weight_decay)
        self.betas = self._betas(betas)
        self.eps = self._number("eps", eps)

    def _update(self, data: Array, grad: Array, state: dict[str, Array], step: int, lr: float) -> None:
        functional.adam_step(
            data, grad, state["m"], state["v"], step, lr, *self.betas, self.eps, self.weight_decay, self._decoupled
        )

    def _fields(self, step: int, lr: float) -> tuple[float, ...]:
        return 1, 0, self._decoupled, lr, self.weight_decay, 0, step, *self.betas, self.eps

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(lr={self.lr}, betas={self.betas}, eps={self.eps}, weight_decay={self.weight_decay})"
        )


class AdamW(Adam):
    """Adam with decoupled weight decay: the weights shrink by lr · weight_decay, the gradient is left alone.

    w ← (1 - lr · weight_decay) w, then the update of :class:`Adam` without its first line.

    Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019, in the form of ``torch.optim.AdamW``.

    >>> import numpy as np
    >>> from cnnlib.layers.parameter import Parameter
    >>> w = Parameter(np.array([1.0, 2.0]))
    >>> w.grad = np.array([0.0, 0.0])
    >>> AdamW(lr=0.5, weight_decay=0.1).step({"w": w})
    >>> w.data
    array([0.95, 1.9 ])
    """

    _fused: ClassVar[bool] = True
    _decoupled: ClassVar[bool] = True

    def __init__(
        self,
        lr: float | Schedule = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(lr, betas, eps, weight_decay)
