"""Activations of straight pieces with two kinks: what is clipped."""

from __future__ import annotations

from typing import Any

from cnnlib import functional
from cnnlib.arrays import finite
from cnnlib.functional.curves import bounds
from cnnlib.layers.elementwise import Elementwise
from cnnlib.layers.registry import register

__all__ = ["Hardsigmoid", "Hardtanh", "ReLU6"]


@register
class Hardtanh(Elementwise):
    """Clipping, element by element, to min_val … max_val; either may be None, for no bound.

    Forward: y = min(max(x, min_val), max_val); a NaN stays one. Backward: ∂J/∂x = ∂J/∂y where min_val < x < max_val,
    else 0. Input and output: N × any shape. Saved for backward: x. Raises ConfigError for min_val > max_val.

    >>> import numpy as np
    >>> clip = Hardtanh(-1.0, 2.0)
    >>> clip.forward(np.array([[-3.0, 0.5, 2.0]]), training=True).tolist()
    [[-1.0, 0.5, 2.0]]
    >>> clip.backward(np.array([[4.0, 4.0, 4.0]])).tolist()
    [[0.0, 4.0, 0.0]]
    """

    function = staticmethod(functional.hardtanh)
    function_backward = staticmethod(functional.hardtanh_backward)

    def __init__(self, min_val: float | None = -1.0, max_val: float | None = 1.0, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.min_val = None if min_val is None else finite(min_val, "min_val")
        self.max_val = None if max_val is None else finite(max_val, "max_val")
        bounds(self.min_val, self.max_val)

    def settings(self) -> tuple[Any, ...]:
        return self.min_val, self.max_val

    def describe(self) -> str:
        low, high = ("" if bound is None else f"{bound:g}" for bound in (self.min_val, self.max_val))
        return f"{type(self).__name__} ({low}…{high})"


@register
class ReLU6(Hardtanh):
    """Rectified linear unit that ends at 6, element by element.

    Forward: y = min(max(x, 0), 6). Backward: ∂J/∂x = ∂J/∂y where 0 < x < 6, else 0. Input and output: N × any shape.
    Saved for backward: x.

    >>> import numpy as np
    >>> relu6 = ReLU6()
    >>> relu6.forward(np.array([[-1.0, 5.0, 7.0]]), training=True).tolist()
    [[0.0, 5.0, 6.0]]
    >>> relu6.backward(np.array([[4.0, 4.0, 4.0]])).tolist()
    [[0.0, 4.0, 0.0]]
    """

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(0.0, 6.0, name=name)

    def describe(self) -> str:
        return "ReLU6"


@register
class Hardsigmoid(Elementwise):
    """Hard sigmoid, element by element: a straight line between 0 and 1.

    Forward: y = min(max(α x + β, 0), 1). Backward: ∂J/∂x = α ∂J/∂y where 0 < α x + β < 1, else 0. Input and output:
    N × any shape. Saved for backward: x. α = 1/6 and β = 1/2 are PyTorch's; ONNX has others, too.

    >>> import numpy as np
    >>> hard = Hardsigmoid(0.25)
    >>> hard.forward(np.array([[-3.0, 0.0, 1.0]]), training=True).tolist()
    [[0.0, 0.5, 0.75]]
    >>> hard.backward(np.array([[4.0, 4.0, 4.0]])).tolist()
    [[0.0, 1.0, 1.0]]
    """

    function = staticmethod(functional.hardsigmoid)
    function_backward = staticmethod(functional.hardsigmoid_backward)

    def __init__(self, alpha: float = 1 / 6, beta: float = 0.5, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.alpha, self.beta = finite(alpha, "alpha"), finite(beta, "beta")

    def settings(self) -> tuple[Any, ...]:
        return self.alpha, self.beta
