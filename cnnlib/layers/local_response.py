"""Local response normalisation: channels kept in check by their neighbours."""

from __future__ import annotations

from typing import Any

from cnnlib import functional
from cnnlib.arrays import number, whole
from cnnlib.errors import ShapeError
from cnnlib.functional.curves import positive
from cnnlib.graph import Shape
from cnnlib.layers.elementwise import Elementwise
from cnnlib.layers.registry import register

__all__ = ["LocalResponseNorm"]


@register
class LocalResponseNorm(Elementwise):
    """Local response normalisation: each number is divided by what its neighbours in other channels are.

    Forward, the sum being over channels j = c - ⌊size/2⌋ … c + ⌊(size - 1)/2⌋ at the same place, as far as there are::

        y_c = x_c / d_c^β        d_c = k + α/size Σ_j x_j²

    Backward, the sum being over the channels j in whose windows c lies::

        ∂J/∂x_c = ∂J/∂y_c / d_c^β - 2 α β/size x_c Σ_j ∂J/∂y_j x_j / d_j^(β + 1)

    Input and output: N × C × any shape. Saved for backward: x. For odd sizes ONNX's LRN is the same. Source: Krizhevsky
    et al., 2012 (AlexNet).

    >>> import numpy as np
    >>> norm = LocalResponseNorm(3, alpha=3.0, beta=0.5, k=4.0)
    >>> norm.forward(np.array([[1.0, 2.0, 2.0]]), training=True).round(4).tolist()
    [[0.3333, 0.5547, 0.5774]]
    >>> norm.backward(np.array([[1.0, 0.0, 0.0]])).round(4).tolist()
    [[0.2963, -0.0741, 0.0]]
    """

    function = staticmethod(functional.local_response_norm)
    function_backward = staticmethod(functional.local_response_norm_backward)

    def __init__(
        self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, *, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.size, self.k = whole(size, "size", 1, 2**30), positive(k, "k")
        self.alpha, self.beta = number(alpha, "alpha", 0), number(beta, "beta", 0)

    def settings(self) -> tuple[Any, ...]:
        return self.size, self.alpha, self.beta, self.k

    def output_shape(self, x: Shape) -> Shape:
        if not x:
            raise ShapeError(f"{self!r}: got an input of N numbers, needs N × C or N × C × H × W")
        return x
