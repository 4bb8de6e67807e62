"""Activations that bend, bound or lift each number, and their gradients. Any shape; `out` may be either array."""

from __future__ import annotations

import numpy as np

from cnnlib.reference.activation import sigmoid
from cnnlib.reference.shared import Array, deliver

__all__ = [
    "SELU_ALPHA",
    "SELU_GAMMA",
    "elu",
    "elu_backward",
    "hardsigmoid",
    "hardsigmoid_backward",
    "hardtanh",
    "hardtanh_backward",
    "selu",
    "selu_backward",
    "softplus",
    "softplus_backward",
    "softsign",
    "softsign_backward",
]

#: α and γ for which outputs of mean 0 and variance 1 keep both from layer to layer (arXiv:1706.02515).
SELU_ALPHA, SELU_GAMMA = 1.6732632423543772848, 1.0507009873554804934


def elu(x: Array, alpha: float = 1.0, *, out: Array | None = None) -> Array:
    """Return x where x > 0, else alpha·(e^x - 1).

    >>> elu(np.array([-1000.0, 0.0, 2.0]), 0.5).tolist()
    [-0.5, 0.0, 2.0]
    """
    return deliver(np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))), out)


def elu_backward(grad_output: Array, x: Array, alpha: float = 1.0, *, out: Array | None = None) -> Array:
    """Return grad_output where x > 0, else grad_output·alpha·e^x.

    >>> elu_backward(np.array([4.0, 4.0, 4.0]), np.array([-1000.0, 0.0, 2.0]), 0.5).tolist()
    [0.0, 2.0, 4.0]
    """
    return deliver(grad_output * (np.where(x > 0, 1, alpha * np.exp(np.minimum(x, 0)))), out)


def selu(x: Array, alpha: float = SELU_ALPHA, gamma: float = SELU_GAMMA, *, out: Array | None = None) -> Array:
    """Return gamma·x where x > 0, else gamma·alpha·(e^x - 1).

    >>> selu(np.array([-1000.0, 0.0, 2.0]), 0.5, 2.0).tolist()
    [-1.0, 0.0, 4.0]
    """
    return deliver(np.where(x > 0, gamma * x, gamma * alpha * np.expm1(np.minimum(x, 0))), out)


def selu_backward(
    grad_output: Array, x: Array, alpha: float = SELU_ALPHA, gamma: float = SELU_GAMMA, *, out: Array | None = None
) -> Array:
    """Return grad_output·gamma where x > 0, else grad_output·gamma·alpha·e^x.

    >>> selu_backward(np.array([4.0, 4.0, 4.0]), np.array([-1000.0, 0.0, 2.0]), 0.5, 2.0).tolist()
    [0.0, 4.0, 8.0]
    """
    return deliver(grad_output * (np.where(x > 0, gamma, gamma * alpha * np.exp(np.minimum(x, 0)))), out)


def softplus(x: Array, beta: float = 1.0, threshold: float = 20.0, *, out: Array | None = None) -> Array:
    """Return log(1 + e^(beta·x))/beta, or x itself where beta·x > threshold.

    >>> softplus(np.array([-1000.0, 0.0, 1000.0])).round(6).tolist()
    [0.0, 0.693147, 1000.0]
    """
    return deliver(np.where(beta * x > threshold, x, np.logaddexp(0, beta * x) / beta), out)


def softplus_backward(
    grad_output: Array, x: Array, beta: float = 1.0, threshold: float = 20.0, *, out: Array | None = None
) -> Array:
    """Return grad_output/(1 + e^(-beta·x)), or grad_output itself where beta·x > threshold.

    >>> softplus_backward(np.array([4.0, 4.0, 4.0]), np.array([-1000.0, 0.0, 1000.0])).tolist()
    [0.0, 2.0, 4.0]
    """
    return deliver(grad_output * (np.where(beta * x > threshold, 1, sigmoid(beta * x))), out)


def softsign(x: Array, *, out: Array | None = None) -> Array:
    """Return x/(1 + |x|).

    >>> softsign(np.array([-1.0, 0.0, 3.0])).tolist()
    [-0.5, 0.0, 0.75]
    """
    return deliver(x / (1 + np.abs(x)), out)


def softsign_backward(grad_output: Array, x: Array, *, out: Array | None = None) -> Array:
    """Return grad_output/(1 + |x|)².

    >>> softsign_backward(np.array([4.0, 4.0, 4.0]), np.array([-1.0, 0.0, 3.0])).tolist()
    [1.0, 4.0, 0.25]
    """
    return deliver(grad_output * ((1 / (1 + np.abs(x))) ** 2), out)


def hardtanh(x: Array, min_val: float | None = -1.0, max_val: float | None = 1.0, *, out: Array | None = None) -> Array:
    """Return min(max(x, min_val), max_val), without a bound that is None.

    >>> hardtanh(np.array([-2.0, 0.5, 2.0]), None, 1.0).tolist()
    [-2.0, 0.5, 1.0]
    """
    low, high = -np.inf if min_val is None else min_val, np.inf if max_val is None else max_val
    return deliver(np.minimum(np.maximum(x, low), high), out)


def hardtanh_backward(
    grad_output: Array, x: Array, min_val: float | None = -1.0, max_val: float | None = 1.0, *, out: Array | None = None
) -> Array:
    """Return grad_output where min_val < x < max_val, else 0.

    >>> hardtanh_backward(np.array([4.0, 4.0, 4.0]), np.array([-2.0, 0.5, 2.0]), None, 1.0).tolist()
    [4.0, 4.0, 0.0]
    """
    low, high = -np.inf if min_val is None else min_val, np.inf if max_val is None else max_val
    return deliver(grad_output * ((x > low) & (x < high)), out)


def hardsigmoid(x: Array, alpha: float = 1 / 6, beta: float = 0.5, *, out: Array | None = None) -> Array:
    """Return min(max(alpha·x + beta, 0), 1).

    >>> hardsigmoid(np.array([-3.0, 0.0, 2.0]), 0.25, 0.5).tolist()
    [0.0, 0.5, 1.0]
    """
    line = x.dtype.type(alpha) * x + x.dtype.type(beta)
    return deliver(np.minimum(np.maximum(line, 0), 1), out)


def hardsigmoid_backward(
    grad_output: Array, x: Array, alpha: float = 1 / 6, beta: float = 0.5, *, out: Array | None = None
) -> Array:
    """Return alpha·grad_output where 0 < alpha·x + beta < 1, else 0.

    >>> hardsigmoid_backward(np.array([4.0, 4.0, 4.0]), np.array([-3.0, 0.0, 2.0]), 0.25, 0.5).tolist()
    [0.0, 1.0, 0.0]
    """
    line = x.dtype.type(alpha) * x + x.dtype.type(beta)
    return deliver(grad_output * (np.where((line > 0) & (line < 1), alpha, 0)), out)
