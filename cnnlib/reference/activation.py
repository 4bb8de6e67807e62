"""The rectifiers, sigmoid and tanh, and their gradients."""

from __future__ import annotations

import numpy as np

from cnnlib.reference.shared import Array, but_channels, by_channel, deliver

__all__ = [
    "leaky_relu",
    "leaky_relu_backward",
    "prelu",
    "prelu_backward",
    "relu",
    "relu_backward",
    "sigmoid",
    "sigmoid_backward",
    "tanh",
    "tanh_backward",
]


def relu(x: Array, *, out: Array | None = None) -> Array:
    """Return max(x, 0) element by element; NaN stays NaN. `out` may be x. Any shape.

    >>> relu(np.array([-1.0, 0.0, 2.0])).tolist()
    [0.0, 0.0, 2.0]
    """
    return np.maximum(x, 0, out=out)


def relu_backward(grad_output: Array, x: Array, *, out: Array | None = None) -> Array:
    """Return grad_output where x > 0, else 0: relu'(0) = 0, and nothing passes a NaN in x.

    `x` may be relu's input or its output; `out` may be either argument. Any shape.

    >>> relu_backward(np.array([5.0, 5.0, 5.0]), np.array([-1.0, 0.0, 2.0])).tolist()
    [0.0, 0.0, 5.0]
    """
    return deliver(np.where(x > 0, grad_output, 0), out)


def sigmoid(x: Array, *, out: Array | None = None) -> Array:
    """Return σ(x) = 1/(1 + e^-x), by e^-|x|, which cannot overflow. `out` may be x. Any shape.

    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    e = np.exp(-np.abs(x))
    return deliver(np.where(x > 0, 1, e) / (1 + e), out)


def sigmoid_backward(grad_output: Array, y: Array, *, out: Array | None = None) -> Array:
    """Return grad_output · y (1 - y) for y = sigmoid(x). `out` may be either argument. Any shape.

    >>> sigmoid_backward(np.array([2.0]), np.array([0.5])).tolist()
    [0.5]
    """
    return deliver(grad_output * (y * (1 - y)), out)


def tanh(x: Array, *, out: Array | None = None) -> Array:
    """Return tanh(x) = (e^x - e^-x)/(e^x + e^-x). `out` may be x. Any shape.

    >>> tanh(np.array([-1000.0, 0.0, 1000.0])).tolist()
    [-1.0, 0.0, 1.0]
    """
    return np.tanh(x, out=out)


def tanh_backward(grad_output: Array, y: Array, *, out: Array | None = None) -> Array:
    """Return grad_output · (1 - y²) for y = tanh(x). `out` may be either argument. Any shape.

    >>> tanh_backward(np.array([2.0]), np.array([0.5])).tolist()
    [1.5]
    """
    return deliver(grad_output * ((1 - y) * (1 + y)), out)


def leaky_relu(x: Array, negative_slope: float = 0.01, *, out: Array | None = None) -> Array:
    """Return x where x > 0, else negative_slope·x. `out` may be x. Any shape.

    >>> leaky_relu(np.array([-2.0, 0.0, 3.0]), 0.5).tolist()
    [-1.0, 0.0, 3.0]
    """
    return deliver(np.where(x > 0, x, x * x.dtype.type(negative_slope)), out)


def leaky_relu_backward(
    grad_output: Array, x: Array, negative_slope: float = 0.01, *, out: Array | None = None
) -> Array:
    """Return grad_output where x > 0, else negative_slope·grad_output. `out` may be either array. Any shape.

    >>> leaky_relu_backward(np.array([4.0, 4.0, 4.0]), np.array([-2.0, 0.0, 3.0]), 0.5).tolist()
    [2.0, 2.0, 4.0]
    """
    return deliver(np.where(x > 0, grad_output, grad_output * x.dtype.type(negative_slope)), out)


def prelu(x: Array, weight: Array, *, out: Array | None = None) -> Array:
    """Return x where x > 0, else weight·x: one slope for all channels, or one for each.

    Shapes: x and the result (N, C, …), weight (1,) or (C,).

    >>> prelu(np.array([[-2.0, -2.0]]), np.array([0.5, 0.25])).tolist()
    [[-1.0, -0.5]]
    """
    return deliver(np.where(x > 0, x, x * by_channel(weight, x)), out)


def prelu_backward(
    grad_output: Array,
    x: Array,
    weight: Array,
    *,
    needs: tuple[bool, bool] = (True, True),
    out: tuple[Array | None, Array | None] = (None, None),
) -> tuple[Array | None, Array | None]:
    """Return the gradients of `prelu` for (x, weight), None where `needs` says so.

    ∂J/∂x = g where x > 0, else weight·g; ∂J/∂weight = Σ g x over the places where x ≤ 0 that share the weight.
    Shapes: grad_output and x (N, C, …), weight (1,) or (C,).

    >>> dx, dw = prelu_backward(np.array([[1.0, 1.0]]), np.array([[-2.0, 3.0]]), np.array([0.5]))
    >>> dx.tolist(), dw.tolist()
    ([[0.5, 1.0]], [-2.0])
    """
    grad_x = grad_weight = None
    if needs[0]:
        grad_x = deliver(np.where(x > 0, grad_output, grad_output * by_channel(weight, x)), out[0])
    if needs[1]:
        terms = np.where(x > 0, 0, x * grad_output)
        grad_weight = terms.sum(axis=but_channels(x)) if weight.size > 1 else terms.sum().reshape(1)
        grad_weight = deliver(grad_weight, out[1])
    return grad_x, grad_weight
