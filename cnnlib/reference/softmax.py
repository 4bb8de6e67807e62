"""Softmax and its gradient."""

from __future__ import annotations

import numpy as np

from cnnlib.reference.shared import Array, deliver

__all__ = ["softmax", "softmax_backward"]


def softmax(x: Array, *, out: Array | None = None) -> Array:
    """Return p = exp(x) / Σ_c exp(x), the largest x of each row subtracted first, so that nothing overflows.

    Shapes: x and the result (N, C), along C.

    >>> softmax(np.array([[0.0, 0.0], [1000.0, -1000.0]])).tolist()
    [[0.5, 0.5], [1.0, 0.0]]
    """
    result = np.exp(x - x.max(axis=1, keepdims=True))
    result /= result.sum(axis=1, keepdims=True)
    return deliver(result, out)


def softmax_backward(grad_output: Array, y: Array, *, out: Array | None = None) -> Array:
    """Return ∂J/∂x_j = y_j (g_j - Σ_i g_i y_i), where y = softmax(x) and g = grad_output.

    Shapes: grad_output, y and the result (N, C).

    >>> softmax_backward(np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]])).tolist()
    [[0.25, -0.25]]
    """
    return deliver(y * (grad_output - (grad_output * y).sum(axis=1, keepdims=True)), out)
