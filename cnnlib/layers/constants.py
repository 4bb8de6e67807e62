"""The operators of a graph node and a constant: ``3 * a``, ``a + 3``, ``3 / a`` and the like; powers and rounding."""

from __future__ import annotations

from typing import Any

import numpy as np

from cnnlib import functional
from cnnlib.arrays import finite
from cnnlib.errors import ConfigError
from cnnlib.graph import Shape
from cnnlib.layers.base import Array, Layer, Needs, Outs
from cnnlib.layers.checks import put
from cnnlib.layers.registry import register

__all__ = ["Affine", "Cast", "Power", "Reciprocal"]


class _WithConstants(Layer):
    """A layer of one input whose settings are finite numbers."""

    by_channel = True

    def output_shape(self, x: Shape) -> Shape:
        return x


@register
class Affine(_WithConstants):
    """y = scale x + offset with two constants: ``3 * a``, ``a / 3``, ``a + 3``, ``3 - a``, ``-a`` on nodes.

    Backward: ∂J/∂x = scale ∂J/∂y. Input and output: N × any shape. Saved for backward: nothing.

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


@register
class Power(_WithConstants):
    """y = x to a constant power: ``Power(0.5)`` is the square root.

    Backward: ∂J/∂x = ∂J/∂y exponent x^(exponent - 1). Input and output: N × any shape. Saved for backward: x. As with
    NumPy, a negative x gives NaN unless the exponent is a whole number.

    >>> power = Power(3)
    >>> power.forward(np.array([[2.0]]), training=True).tolist(), power.backward(np.array([[10.0]])).tolist()
    ([[8.0]], [[120.0]])
    """

    def __init__(self, exponent: float, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.exponent = finite(exponent, "exponent")

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        with np.errstate(all="ignore"):
            return np.power(x, x.dtype.type(self.exponent), out=out), x if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        if not needs[0]:
            return (None,)
        with np.errstate(all="ignore"):
            slope = np.power(saved, saved.dtype.type(self.exponent - 1))
            return (functional.multiply(dy, functional.affine(slope, self.exponent), out=outs[0]),)


@register
class Cast(_WithConstants):
    """Numbers rounded to a narrower float: "float16", "float32" or "float64"; their dtype stays the model's.

    Forward: y = x rounded. Backward: ∂J/∂x = ∂J/∂y. Input and output: N × any shape. Saved for backward: nothing.

    >>> cast = Cast("float16")
    >>> cast.forward(np.array([[0.1, 1e6]]), training=True).tolist(), cast.backward(np.array([[1.0, 2.0]])).tolist()
    ([[0.0999755859375, inf]], [[1.0, 2.0]])
    """

    shares_gradient = True

    def __init__(self, to: str, *, name: str | None = None) -> None:
        super().__init__(name=name)
        if not isinstance(to, str) or to not in ("float16", "float32", "float64"):
            raise ConfigError(f"to = {to!r}: expected 'float16', 'float32' or 'float64'")
        self.to = to

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        with np.errstate(over="ignore"):
            return put(x.astype(self.to).astype(x.dtype), out), None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        return (dy if needs[0] else None,)
