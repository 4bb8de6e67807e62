"""Layer normalisation: the last dimensions of one sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from cnnlib import functional
from cnnlib.arrays import flag
from cnnlib.errors import ConfigError, ShapeError
from cnnlib.graph import Shape, shape_text
from cnnlib.layers.checks import count
from cnnlib.layers.group_norm import SampleNorm
from cnnlib.layers.registry import register

__all__ = ["LayerNorm"]


@register
class LayerNorm(SampleNorm):
    """Layer normalisation: over the last dimensions of each sample.

    Forward, with the mean μ and the variance σ² over normalized_shape, γ and β for each place in it::

        y = γ x̂ + β        x̂ = (x - μ) / √(σ² + ε)

    Backward, ⟨·⟩ being the mean over normalized_shape, sums over all else::

        ∂J/∂γ = Σ ∂J/∂y x̂        ∂J/∂β = Σ ∂J/∂y
        ∂J/∂x = (γ ∂J/∂y - ⟨γ ∂J/∂y⟩ - x̂ ⟨γ ∂J/∂y x̂⟩) / √(σ² + ε)

    Input and output: N × any shape that ends in normalized_shape. Parameters: weight γ, with `elementwise_affine`, and
    bias β, if `bias` is asked for, too. Saved for backward: x. Source: Ba et al., arXiv:1607.06450.

    >>> norm = LayerNorm(2, eps=0.0)
    >>> norm.forward(np.array([[1, 3], [5, 1]], np.float32), training=True).tolist()
    [[-1.0, 1.0], [1.0, -1.0]]
    >>> norm.backward(np.array([[1, 0], [1, 0]], np.float32)).tolist(), norm.bias.grad.tolist()
    ([[0.0, 0.0], [0.0, 0.0]], [2.0, 0.0])
    """

    function = staticmethod(functional.layer_norm)
    function_backward = staticmethod(functional.layer_norm_backward)

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: DTypeLike = np.float32,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        sizes = normalized_shape if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
        self.normalized_shape = tuple(count(size, "normalized_shape") for size in sizes)
        if not self.normalized_shape:
            raise ConfigError("normalized_shape is empty: expected the sizes of the last dimensions")
        self.elementwise_affine = flag(elementwise_affine, "elementwise_affine")
        both = flag(bias, "bias") and self.elementwise_affine
        self.set_up(self.normalized_shape, eps, self.elementwise_affine, both, dtype)

    def over(self) -> tuple[int, ...]:
        return self.normalized_shape

    def output_shape(self, x: Shape) -> Shape:
        size = len(self.normalized_shape)
        if x[-size:] != self.normalized_shape:
            ends = shape_text(self.normalized_shape)
            raise ShapeError(
                f"{self!r}: got an input of N × {shape_text(x)}, needs one that ends in {ends}: normalized_shape must "
                f"be {x[-size:]}"
            )
        return x
