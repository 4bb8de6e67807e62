"""Activations that are x times a gate between 0 and 1 that x itself opens."""

from __future__ import annotations

from typing import Any, Literal

from cnnlib import functional
from cnnlib.functional.gates import check_approximate
from cnnlib.layers.elementwise import Elementwise
from cnnlib.layers.registry import register

__all__ = ["GELU", "Hardswish", "Mish", "SiLU"]


@register
class GELU(Elementwise):
    """Gaussian error linear unit, element by element.

    Forward, with the normal distribution Φ and its density φ, or with approximate="tanh"::

        y = x Φ(x)        y ≈ ½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))

    Backward, or the derivative of the approximation::

        ∂J/∂x = ∂J/∂y (Φ(x) + x φ(x))

    Input and output: N × any shape. Saved for backward: x. Source: Hendrycks and Gimpel, arXiv:1606.08415.

    >>> import numpy as np
    >>> gelu = GELU()
    >>> gelu.forward(np.array([[-1.0, 0.0, 2.0]]), training=True).round(4).tolist()
    [[-0.1587, 0.0, 1.9545]]
    >>> gelu.backward(np.array([[1.0, 1.0, 1.0]])).round(4).tolist()
    [[-0.0833, 0.5, 1.0852]]
    """

    function = staticmethod(functional.gelu)
    function_backward = staticmethod(functional.gelu_backward)

    def __init__(self, approximate: Literal["none", "tanh"] = "none", *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.approximate = check_approximate(approximate)

    def settings(self) -> tuple[Any, ...]:
        return (self.approximate,)


@register
class SiLU(Elementwise):
    """Sigmoid linear unit, or swish, element by element.

    Forward: y = x σ(x). Backward: ∂J/∂x = ∂J/∂y (σ(x) + x σ(x) (1 - σ(x))). Input and output: N × any shape.
    Saved for backward: x.

    >>> import numpy as np
    >>> silu = SiLU()
    >>> silu.forward(np.array([[-1.0, 0.0, 2.0]]), training=True).round(4).tolist()
    [[-0.2689, 0.0, 1.7616]]
    >>> silu.backward(np.array([[1.0, 1.0, 1.0]])).round(4).tolist()
    [[0.0723, 0.5, 1.0908]]
    """

    function = staticmethod(functional.silu)
    function_backward = staticmethod(functional.silu_backward)


@register
class Mish(Elementwise):
    """Mish, element by element.

    Forward, with t = tanh(log(1 + e^x)): y = x t. Backward: ∂J/∂x = ∂J/∂y (t + x σ(x) (1 - t²)). Input and output:
    N × any shape. Saved for backward: x. Source: Misra, arXiv:1908.08681.

    >>> import numpy as np
    >>> mish = Mish()
    >>> mish.forward(np.array([[-1.0, 0.0, 2.0]]), training=True).round(4).tolist()
    [[-0.3034, 0.0, 1.944]]
    >>> mish.backward(np.array([[1.0, 1.0, 1.0]])).round(4).tolist()
    [[0.0592, 0.6, 1.0693]]
    """

    function = staticmethod(functional.mish)
    function_backward = staticmethod(functional.mish_backward)


@register
class Hardswish(Elementwise):
    """Hard swish, element by element: SiLU with a gate of straight pieces.

    Forward: y = x min(max(x + 3, 0), 6)/6. Backward: ∂J/∂x = ∂J/∂y times 0 where x ≤ -3, x/3 + ½ between, 1 where
    x ≥ 3. Input and output: N × any shape. Saved for backward: x. Source: Howard et al., arXiv:1905.02244.

    >>> import numpy as np
    >>> hardswish = Hardswish()
    >>> hardswish.forward(np.array([[-1.5, 0.0, 4.0]]), training=True).tolist()
    [[-0.375, 0.0, 4.0]]
    >>> hardswish.backward(np.array([[1.0, 1.0, 1.0]])).tolist()
    [[0.0, 0.5, 1.0]]
    """

    function = staticmethod(functional.hardswish)
    function_backward = staticmethod(functional.hardswish_backward)
