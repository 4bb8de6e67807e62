"""The operators of a graph node and a constant: ``3 * a``, ``a + 3``, ``3 / a`` and the like."""

from __future__ import annotations

from typing import Any

from cnnlib import functional
from cnnlib.arrays import finite
from cnnlib.graph import Shape
from cnnlib.layers.base import Array, Layer, Needs, Outs
from cnnlib.layers.registry import register

__all__ = ["Affine", "Reciprocal"]


class _WithConstants(Layer):
    """A layer of one input whose settings are finite numbers."""

    by_channel = True

    def output_shape(self, x: Shape) -> Shape:
        return x


@register
class Affine(_WithConstants):
    """y = scale x + offset with two constants: ``3 * a``, ``a / 3``, ``a + 3``, ``3 - a``, ``-a`` on nodes.

    Backward: ∂J/∂x = scale ∂J/∂y. Input and output: N × any shape. Saved for backward: nothing.

    >>> import numpy as np
    >>> affine = Affine(3, -1)
    >>> affine.forward(np.array([[2.0]]), training=True).tolist(), affine.backward(np.array([[10.0]])).tolist()
    ([[5.0]], [[30.0]])
    """

    def __init__(self, scale: float = 1.0, offset: float = 0.0, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.scale, self.offset = finite(scale, "scale"), finite(offset, "offset")

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        return functional.affine(x, self.scale, self.offset, out=out), None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        return (functional.affine(dy, self.scale, out=outs[0]) if needs[0] else None,)


@register
class Reciprocal(_WithConstants):
    """y = numerator / x: ``3 / a`` on nodes.

    Backward: ∂J/∂x = -∂J/∂y y / x. Input and output: N × any shape. Saved for backward: x and y.

    >>> import numpy as np
    >>> reciprocal = Reciprocal(6)
    >>> y = reciprocal.forward(np.array([[2.0]]), training=True)
    >>> y.tolist(), reciprocal.backward(np.array([[4.0]])).tolist()
    ([[3.0]], [[-6.0]])
    """

    def __init__(self, numerator: float = 1.0, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.numerator = finite(numerator, "numerator")

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        y = functional.reciprocal(x, self.numerator, out=out)
        return y, (x, y) if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        return functional.divide_backward(dy, *saved, needs=(False, needs[0]), out=(None, outs[0]))[1:]
