"""Softmax and its logarithm along one dimension, and their gradients."""

from __future__ import annotations

import numpy as np

from cnnlib.reference.shared import Array, deliver

__all__ = ["log_softmax", "log_softmax_backward", "softmax", "softmax_backward"]


def softmax(x: Array, dim: int = 1, *, out: Array | None = None) -> Array:
    """Return p = exp(x) / Σ exp(x) along `dim`, the largest x subtracted first, so that nothing overflows.

    >>> softmax(np.array([[0.0, 0.0], [1000.0, -1000.0]])).tolist()
    [[0.5, 0.5], [1.0, 0.0]]
    """
    result = np.exp(x - x.max(axis=dim, keepdims=True))
    result /= result.sum(axis=dim, keepdims=True)
    return deliver(result, out)


def softmax_backward(grad_output: Array, y: Array, dim: int = 1, *, out: Array | None = None) -> Array:
    """Return ∂J/∂x_j = y_j (g_j - Σ_i g_i y_i) along `dim`, where y = softmax(x) and g = grad_output.

    >>> softmax_backward(np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]])).tolist()
    [[0.25, -0.25]]
    """
    return deliver(y * (grad_output - (grad_output * y).sum(axis=dim, keepdims=True)), out)


def log_softmax(x: Array, dim: int = 1, *, out: Array | None = None) -> Array:
    """Return log softmax(x) = x - log Σ exp(x) along `dim`, the largest x subtracted first.

    >>> log_softmax(np.array([[1000.0, 0.0]])).tolist()
    [[0.0, -1000.0]]
    """
    shifted = x - x.max(axis=dim, keepdims=True)
    return deliver(shifted - np.log(np.exp(shifted).sum(axis=dim, keepdims=True)), out)


def log_softmax_backward(grad_output: Array, y: Array, dim: int = 1, *, out: Array | None = None) -> Array:
    """Return ∂J/∂x_j = g_j - exp(y_j) Σ_i g_i along `dim`, where y = log_softmax(x) and g = grad_output.

    >>> log_softmax_backward(np.array([[1.0, 0.0]]), np.log(np.array([[0.5, 0.5]]))).tolist()
    [[0.5, -0.5]]
    """
    return deliver(grad_output - np.exp(y) * grad_output.sum(axis=dim, keepdims=True), out)
