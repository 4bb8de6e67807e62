"""Activations that bend each number: exponential linear units, softplus, softsign."""

from __future__ import annotations

from typing import Any

from cnnlib import functional
from cnnlib.arrays import finite
from cnnlib.functional.curves import positive
from cnnlib.layers.elementwise import Elementwise
from cnnlib.layers.registry import register
from cnnlib.reference.curves import SELU_ALPHA, SELU_GAMMA

__all__ = ["ELU", "SELU", "Softplus", "Softsign"]


@register
class ELU(Elementwise):
    """Exponential linear unit, element by element, with a constant α.

    Forward: y = x where x > 0, else α (e^x - 1). Backward, with the slope α at 0: ∂J/∂x = ∂J/∂y where x > 0, else
    α e^x ∂J/∂y. Input and output: N × any shape. Saved for backward: x. Source: Clevert et al., arXiv:1511.07289.

    >>> import numpy as np
    >>> elu = ELU(0.5)
    >>> elu.forward(np.array([[-1000.0, 0.0, 2.0]]), training=True).tolist()
    [[-0.5, 0.0, 2.0]]
    >>> elu.backward(np.array([[4.0, 4.0, 4.0]])).tolist()
    [[0.0, 2.0, 4.0]]
    """

    function = staticmethod(functional.elu)
    function_backward = staticmethod(functional.elu_backward)

    def __init__(self, alpha: float = 1.0, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.alpha = finite(alpha, "alpha")

    def settings(self) -> tuple[Any, ...]:
        return (self.alpha,)

    def describe(self) -> str:
        return f"ELU (α={self.alpha:g})"


@register
class SELU(Elementwise):
    """Scaled exponential linear unit, element by element: mean 0 and variance 1 stay so from layer to layer.

    Forward: y = γ x where x > 0, else γ α (e^x - 1). Backward: ∂J/∂x = γ ∂J/∂y where x > 0, else γ α e^x ∂J/∂y.
    Input and output: N × any shape. Saved for backward: x. α and γ are the source's unless given: Klambauer et al.,
    arXiv:1706.02515.

    >>> import numpy as np
    >>> selu = SELU()
    >>> selu.forward(np.array([[-1000.0, 0.0, 1.0]]), training=True).round(4).tolist()
    [[-1.7581, 0.0, 1.0507]]
    >>> selu.backward(np.array([[1.0, 1.0, 1.0]])).round(4).tolist()
    [[0.0, 1.7581, 1.0507]]
    """

    function = staticmethod(functional.selu)
    function_backward = staticmethod(functional.selu_backward)

    def __init__(self, alpha: float = SELU_ALPHA, gamma: float = SELU_GAMMA, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.alpha, self.gamma = finite(alpha, "alpha"), finite(gamma, "gamma")

    def settings(self) -> tuple[Any, ...]:
        return self.alpha, self.gamma


@register
class Softplus(Elementwise):
    """Softplus, element by element: a ReLU without a kink, sharper the larger β.

    Forward: y = log(1 + e^(β x))/β, or x itself where β x > threshold. Backward: ∂J/∂x = ∂J/∂y/(1 + e^(-β x)), or
    ∂J/∂y. Input and output: N × any shape. Saved for backward: x.

    >>> import numpy as np
    >>> softplus = Softplus()
    >>> softplus.forward(np.array([[-1000.0, 0.0, 1000.0]]), training=True).round(4).tolist()
    [[0.0, 0.6931, 1000.0]]
    >>> softplus.backward(np.array([[4.0, 4.0, 4.0]])).tolist()
    [[0.0, 2.0, 4.0]]
    """

    function = staticmethod(functional.softplus)
    function_backward = staticmethod(functional.softplus_backward)

    def __init__(self, beta: float = 1.0, threshold: float = 20.0, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.beta, self.threshold = positive(beta, "beta"), finite(threshold, "threshold")

    def settings(self) -> tuple[Any, ...]:
        return self.beta, self.threshold


@register
class Softsign(Elementwise):
    """Softsign, element by element: like tanh, but it nears ±1 slowly.

    Forward: y = x/(1 + |x|). Backward: ∂J/∂x = ∂J/∂y/(1 + |x|)². Input and output: N × any shape.
    Saved for backward: x.

    >>> import numpy as np
    >>> softsign = Softsign()
    >>> softsign.forward(np.array([[-1.0, 0.0, 3.0]]), training=True).tolist()
    [[-0.5, 0.0, 0.75]]
    >>> softsign.backward(np.array([[4.0, 4.0, 4.0]])).tolist()
    [[1.0, 4.0, 0.25]]
    """

    function = staticmethod(functional.softsign)
    function_backward = staticmethod(functional.softsign_backward)
