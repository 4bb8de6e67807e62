"""Layers that only change how an array's elements are arranged."""

from __future__ import annotations

from math import prod
from typing import Any

from cnnlib.graph import Shape
from cnnlib.layers.base import Array, Layer, Needs, Outs
from cnnlib.layers.registry import register

__all__ = ["Flatten"]


@register
class Flatten(Layer):
    """Flatten: feature maps become a vector, row by row, channel by channel (lecture: L41, L42).

    Forward::

        y[c H W + h W + w] = x[c, h, w]

    Backward: ∂J/∂x has the elements of ∂J/∂y in the shape of x.

    Input: N × C × H × W, or any shape. Output: N × C·H·W; both passes return views. Saved for backward: the shape of x.

    >>> import numpy as np
    >>> flatten = Flatten()
    >>> flatten.forward(np.zeros((2, 50, 7, 7), np.float32), training=True).shape
    (2, 2450)
    >>> flatten.backward(np.ones((2, 2450), np.float32)).shape
    (2, 50, 7, 7)
    """

    shares_gradient = True

    def output_shape(self, x: Shape) -> Shape:
        return (prod(x),)

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        return x.reshape(len(x), prod(x.shape[1:])), x.shape if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        return (dy.reshape(saved) if needs[0] else None,)

    def shares_input(self, training: bool) -> bool:
        return True
