"""Activations that are x times a gate between 0 and 1, and their gradients. Any shape; `out` may be either array."""

from __future__ import annotations

from math import erfc, pi, sqrt
from typing import Literal

import numpy as np

from cnnlib.reference.activation import sigmoid
from cnnlib.reference.shared import Array, deliver

__all__ = [
    "gelu",
    "gelu_backward",
    "hardswish",
    "hardswish_backward",
    "mish",
    "mish_backward",
    "silu",
    "silu_backward",
]


def gelu(x: Array, approximate: Literal["none", "tanh"] = "none", *, out: Array | None = None) -> Array:
    """Return x Φ(x), where Φ is the normal distribution, or, with "tanh", ½ x (1 + tanh(√(2/π) (x + 0.044715 x³))).

    >>> gelu(np.array([-1000.0, 0.0, 1.0])).round(6).tolist()
    [-0.0, 0.0, 0.841345]
    """
    return deliver(x * _gelu_gate(x, approximate)[0], out)


def gelu_backward(
    grad_output: Array, x: Array, approximate: Literal["none", "tanh"] = "none", *, out: Array | None = None
) -> Array:
    """Return grad_output·(Φ(x) + x φ(x)), φ being Φ's density, or what "tanh" puts in its place.

    >>> gelu_backward(np.array([4.0, 4.0, 4.0]), np.array([-1000.0, 0.0, 1000.0])).tolist()
    [0.0, 2.0, 4.0]
    """
    gate, slope = _gelu_gate(x, approximate)
    return deliver(grad_output * (gate + x * slope), out)


def _gelu_gate(x: Array, approximate: Literal["none", "tanh"]) -> tuple[Array, Array]:
    """Return the gate of GELU and its derivative; an infinite x takes part as one that is far out."""
    near = np.clip(x, -40, 40)
    if approximate == "tanh":
        gate = sigmoid(sqrt(8 / pi) * (near + 0.044715 * near**3))
        return gate, gate * (1 - gate) * sqrt(8 / pi) * (1 + 3 * 0.044715 * near**2)
    gate = np.array([erfc(-z / sqrt(2)) / 2 for z in near.flat], x.dtype).reshape(x.shape)
    return gate, np.exp(-(near**2) / 2) / sqrt(2 * pi)


def silu(x: Array, *, out: Array | None = None) -> Array:
    """Return x/(1 + e^-x), which is x sigmoid(x).

    >>> silu(np.array([-1000.0, 0.0, 1000.0])).tolist()
    [-0.0, 0.0, 1000.0]
    """
    s = sigmoid(x)
    return deliver(x * s, out)


def silu_backward(grad_output: Array, x: Array, *, out: Array | None = None) -> Array:
    """Return grad_output·(s + x s (1 - s)) with s = sigmoid(x).

    >>> silu_backward(np.array([4.0, 4.0, 4.0]), np.array([-1000.0, 0.0, 1000.0])).tolist()
    [0.0, 2.0, 4.0]
    """
    s = sigmoid(x)
    return deliver(grad_output * (s + x * s * (1 - s)), out)


def mish(x: Array, *, out: Array | None = None) -> Array:
    """Return x tanh(log(1 + e^x)).

    >>> mish(np.array([-1000.0, 0.0, 1000.0])).tolist()
    [-0.0, 0.0, 1000.0]
    """
    t = np.tanh(np.logaddexp(0, x))
    return deliver(x * t, out)


def mish_backward(grad_output: Array, x: Array, *, out: Array | None = None) -> Array:
    """Return grad_output·(t + x sigmoid(x) (1 - t²)) with t = tanh(log(1 + e^x)).

    >>> mish_backward(np.array([4.0, 4.0, 4.0]), np.array([-1000.0, 0.0, 1000.0])).round(6).tolist()
    [0.0, 2.4, 4.0]
    """
    t = np.tanh(np.logaddexp(0, x))
    return deliver(grad_output * (t + x * sigmoid(x) * (1 - t * t)), out)


def hardswish(x: Array, *, out: Array | None = None) -> Array:
    """Return x min(max(x + 3, 0), 6)/6.

    >>> hardswish(np.array([-3.0, 0.0, 1.5, 9.0])).tolist()
    [-0.0, 0.0, 1.125, 9.0]
    """
    return deliver(x * (np.minimum(np.maximum(x + 3, 0), 6) / 6), out)


def hardswish_backward(grad_output: Array, x: Array, *, out: Array | None = None) -> Array:
    """Return grad_output times 0 where x ≤ -3, x/3 + ½ between, 1 where x ≥ 3.

    >>> hardswish_backward(np.array([4.0, 4.0, 4.0]), np.array([-3.0, 0.0, 3.0])).tolist()
    [0.0, 2.0, 4.0]
    """
    return deliver(grad_output * (np.where(x > -3, np.where(x < 3, x / 3 + 0.5, 1), 0)), out)
