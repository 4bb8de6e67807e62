"""Softmax and its logarithm: scores as probabilities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from cnnlib import functional
from cnnlib.errors import ConfigError, ShapeError
from cnnlib.graph import Shape, shape_text
from cnnlib.layers.base import Array, Layer, Needs, Outs
from cnnlib.layers.registry import register

__all__ = ["LogSoftmax", "Softmax"]


class _AlongDim(Layer):
    """What both share: the dimension, and a gradient that is made from the output."""

    function: ClassVar[Callable[..., Array]]
    function_backward: ClassVar[Callable[..., Array]]

    def __init__(self, dim: int = 1, *, name: str | None = None) -> None:
        super().__init__(name=name)
        if isinstance(dim, bool) or not isinstance(dim, int) or dim == 0:
            raise ConfigError(f"dim = {dim!r}: expected an int other than 0, which is the batch")
        self.dim = dim
        self.by_channel = dim == 1

    def output_shape(self, x: Shape) -> Shape:
        if not -len(x) <= self.dim <= len(x):
            raise ShapeError(f"{self!r}: got N × {shape_text(x)}, which has no dimension {self.dim} beside the batch")
        return x

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        y = self.function(x, self.dim, out=out)
        return y, y if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        return (self.function_backward(dy, saved, self.dim, out=outs[0]) if needs[0] else None,)

    def sees_whole(self, x: Shape) -> bool:
        return len(x) == 1

    def describe(self) -> str:
        return type(self).__name__ if self.dim == 1 else f"{type(self).__name__} (dim={self.dim})"


@register
class Softmax(_AlongDim):
    """Softmax: scores of C classes become probabilities p that sum to 1 (lecture: L03, L07).

    Forward::

        p_i = exp(y_i) / Σ_j exp(y_j)

    Backward, as ∂p_i/∂y_j = p_i (δ_ij - p_j)::

        ∂J/∂y_j = Σ_i ∂J/∂p_i p_i (δ_ij - p_j) = p_j (∂J/∂p_j - Σ_i ∂J/∂p_i p_i)

    Input and output: N × any shape; the sums run along `dim`, which counts the batch dimension as 0, negative from the
    end: by default over the C of N × C or N × C × H × W. Saved for backward: p. For training, CrossEntropyLoss on the
    scores is faster and exact.

    >>> import numpy as np
    >>> softmax = Softmax()
    >>> softmax.forward(np.array([[0, 0], [1000, -1000]], dtype=np.float32), training=True).tolist()
    [[0.5, 0.5], [1.0, 0.0]]
    >>> softmax.backward(np.array([[1, 0], [1, 0]], dtype=np.float32))[0].tolist()
    [0.25, -0.25]
    """

    function = staticmethod(functional.softmax)
    function_backward = staticmethod(functional.softmax_backward)


@register
class LogSoftmax(_AlongDim):
    """Logarithm of the softmax, without its rounding to 0.

    Forward, along `dim`, as Softmax has it::

        y_i = x_i - log Σ_j exp(x_j)

    Backward::

        ∂J/∂x_j = ∂J/∂y_j - exp(y_j) Σ_i ∂J/∂y_i

    Input and output: N × any shape. Saved for backward: y.

    >>> import numpy as np
    >>> log_softmax = LogSoftmax()
    >>> log_softmax.forward(np.array([[0.0, 0.0], [1000.0, 0.0]]), training=True).round(4).tolist()
    [[-0.6931, -0.6931], [0.0, -1000.0]]
    >>> log_softmax.backward(np.array([[1.0, 0.0], [1.0, 0.0]])).round(4).tolist()
    [[0.5, -0.5], [0.0, 0.0]]
    """

    function = staticmethod(functional.log_softmax)
    function_backward = staticmethod(functional.log_softmax_backward)
