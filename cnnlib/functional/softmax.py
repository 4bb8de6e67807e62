"""Softmax and its gradient."""

from __future__ import annotations

from cnnlib import _kernels
from cnnlib.arrays import as_array, expect_shape, output, unless_same
from cnnlib.functional.shared import instance
from cnnlib.reference import Array

__all__ = ["softmax", "softmax_backward"]


def softmax(x: Array, *, out: Array | None = None) -> Array:
    """Return exp(x_i) / Σ_j exp(x_j) along the classes, stable at any magnitude. x (N, C); `out` may be x.

    >>> import numpy as np
    >>> softmax(np.array([[1000.0, 1000.0]])).tolist()
    [[0.5, 0.5]]
    """
    x = as_array(x, "x", 2)
    result = output(out, "out", x.shape, unless_same(x, out))
    instance(_kernels.softmax_forward, x)(result, x)
    return result


def softmax_backward(grad_output: Array, y: Array, *, out: Array | None = None) -> Array:
    """Return y_j (g_j - Σ_i g_i y_i) for softmax's output y and g = grad_output. Both (N, C); `out` may be either.

    >>> import numpy as np
    >>> softmax_backward(np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]])).tolist()
    [[0.25, -0.25]]
    """
    y = as_array(y, "y", 2)
    grad_output = as_array(grad_output, "grad_output", 2, y)
    expect_shape(grad_output, "grad_output", y.shape, "the shape of y")
    result = output(out, "out", y.shape, unless_same(y, out), unless_same(grad_output, out))
    instance(_kernels.softmax_grad, y)(result, grad_output, y)
    return result
