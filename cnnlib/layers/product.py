"""The product of two matrices that are both computed."""

from __future__ import annotations

from typing import Any

import numpy as np

from cnnlib import functional
from cnnlib.errors import ShapeError
from cnnlib.graph import Shape, shape_text
from cnnlib.layers.base import Array, Layer, Needs, Outs
from cnnlib.layers.registry import register

__all__ = ["MatMul"]


@register
class MatMul(Layer):
    """Matrix product of two inputs, sample by sample: of N × … × a × b and N × … × b × c.

    Forward: y = A B. Backward: ∂J/∂A = ∂J/∂y Bᵀ, ∂J/∂B = Aᵀ ∂J/∂y. Output: N × … × a × c; what stands for … is the same
    in both. Saved for backward: A and B. For a learned matrix use Linear.

    >>> product = MatMul()
    >>> a, b = np.array([[[1.0, 2.0]]]), np.array([[[3.0], [4.0]]])
    >>> product.forward(a, b, training=True).tolist()
    [[[11.0]]]
    >>> [dx.tolist() for dx in product.backward(np.array([[[10.0]]]))]
    [[[[30.0, 40.0]]], [[[10.0], [20.0]]]]
    """

    arity = 2

    def output_shape(self, a: Shape, b: Shape) -> Shape:
        if len(a) < 2 or len(a) != len(b) or a[:-2] != b[:-2] or a[-1] != b[-2]:
            raise ShapeError(
                f"{self!r}: got inputs of N × {shape_text(a)} and N × {shape_text(b)}, needs N × … × a × b "
                "and N × … × b × c: Reshape or Permute them"
            )
        return (*a[:-1], b[-1])

    def apply(self, a: Array, b: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        return _products(a, b, out), (a, b) if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True, True), outs: Outs = (None, None)) -> Outs:
        a, b = saved
        return (
            _products(dy, b.swapaxes(-1, -2), outs[0]) if needs[0] else None,
            _products(a.swapaxes(-1, -2), dy, outs[1]) if needs[1] else None,
        )


def _products(a: Array, b: Array, out: Array | None) -> Array:
    """Return a b, matrix by matrix, by the kernel of linear layers: NumPy's gives other bits on other machines."""
    lefts = np.ascontiguousarray(a).reshape(-1, *a.shape[-2:])
    rights = np.ascontiguousarray(b.swapaxes(-1, -2)).reshape(-1, *b.shape[:-3:-1])
    y = np.empty((*a.shape[:-1], b.shape[-1]), a.dtype) if out is None else out
    for left, right, result in zip(lefts, rights, y.reshape(-1, *y.shape[-2:]), strict=True):
        functional.linear(left, right, None, out=result)
    return y
