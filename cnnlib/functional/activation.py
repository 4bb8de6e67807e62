"""The rectifiers, sigmoid and tanh, and their gradients."""

from __future__ import annotations

from cnnlib import _kernels
from cnnlib.arrays import as_array, expect_shape, number, output, several, wanted
from cnnlib.functional.shared import as_channels, curve, curve_backward, each, each_backward, instance, with_channels
from cnnlib.reference import Array

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
    """Return max(x, 0) element by element; NaN stays NaN. Any shape; `out` may be x.

    >>> import numpy as np
    >>> relu(np.array([-1.0, 0.0, 2.0])).tolist()
    [0.0, 0.0, 2.0]
    """
    return each(_kernels.relu_forward, x, out)


def relu_backward(grad_output: Array, x: Array, *, out: Array | None = None) -> Array:
    """Return grad_output where x > 0, else 0. `x` may be relu's input or its output; `out` may be either argument.

    >>> import numpy as np
    >>> relu_backward(np.array([1.0, 1.0, 1.0]), np.array([-1.0, 0.0, 2.0])).tolist()
    [0.0, 0.0, 1.0]
    """
    return each_backward(_kernels.relu_grad, grad_output, x, "x", out)


def leaky_relu(x: Array, negative_slope: float = 0.01, *, out: Array | None = None) -> Array:
    """Return x where x > 0, else negative_slope·x. Any shape; `out` may be x.

    >>> import numpy as np
    >>> leaky_relu(np.array([-2.0, 0.0, 3.0]), 0.5).tolist()
    [-1.0, 0.0, 3.0]
    """
    return curve(_kernels.LEAKY_RELU, x, out, number(negative_slope, "negative_slope"))


def leaky_relu_backward(
    grad_output: Array, x: Array, negative_slope: float = 0.01, *, out: Array | None = None
) -> Array:
    """Return grad_output where x > 0, else negative_slope·grad_output. `out` may be either array.

    >>> import numpy as np
    >>> leaky_relu_backward(np.array([4.0, 4.0, 4.0]), np.array([-2.0, 0.0, 3.0]), 0.5).tolist()
    [2.0, 2.0, 4.0]
    """
    return curve_backward(_kernels.LEAKY_RELU, grad_output, x, out, number(negative_slope, "negative_slope"))


def prelu(x: Array, weight: Array, *, out: Array | None = None) -> Array:
    """Return x where x > 0, else weight·x: one slope for all channels, or one for each.

    Shapes: x and the result (N, C, …), weight (1,) or (C,).

    >>> import numpy as np
    >>> prelu(np.array([[-2.0, -2.0]]), np.array([0.5, 0.25])).tolist()
    [[-1.0, -0.5]]
    """
    x, weight = _prelu_arrays(x, weight)
    result = output(out, "out", x.shape, x, weight)
    shape = as_channels(x, weight)
    instance(_kernels.prelu_forward, x)(result.reshape(shape), x.reshape(shape), weight)
    return result


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

    >>> import numpy as np
    >>> dx, dw = prelu_backward(np.array([[1.0, 1.0]]), np.array([[-2.0, 3.0]]), np.array([0.5]))
    >>> dx.tolist(), dw.tolist()
    ([[0.5, 1.0]], [-2.0])
    """
    x, weight = _prelu_arrays(x, weight)
    grad_output = as_array(grad_output, "grad_output", like=x)
    expect_shape(grad_output, "grad_output", x.shape, "the shape of x")
    shape = as_channels(x, weight)
    needs, out = wanted(needs, 2), several(out, "out", 2)
    grad_x = output(out[0], "out[0]", x.shape, grad_output, x, weight) if needs[0] else None
    grad_weight = output(out[1], "out[1]", weight.shape, grad_output, x, weight, grad_x) if needs[1] else None
    flat = None if grad_x is None else grad_x.reshape(shape)
    instance(_kernels.prelu_grad, x)(flat, grad_weight, grad_output.reshape(shape), x.reshape(shape), weight)
    return grad_x, grad_weight


def sigmoid(x: Array, *, out: Array | None = None) -> Array:
    """Return 1/(1 + e^-x), without overflow, within 3 units of the last place, 0 below the normal numbers.

    Any shape; `out` may be x.

    >>> import numpy as np
    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    return curve(_kernels.SIGMOID, x, out)


def sigmoid_backward(grad_output: Array, y: Array, *, out: Array | None = None) -> Array:
    """Return grad_output · y (1 - y) for sigmoid's output y. `out` may be either argument.

    >>> import numpy as np
    >>> sigmoid_backward(np.array([2.0]), np.array([0.5])).tolist()
    [0.5]
    """
    return curve_backward(_kernels.SIGMOID, grad_output, y, out, name="y")


def tanh(x: Array, *, out: Array | None = None) -> Array:
    """Return tanh(x), within 3 units of the last place. Any shape; `out` may be x.

    >>> import numpy as np
    >>> tanh(np.array([-1000.0, 0.0, 1000.0])).tolist()
    [-1.0, 0.0, 1.0]
    """
    return curve(_kernels.TANH, x, out)


def tanh_backward(grad_output: Array, y: Array, *, out: Array | None = None) -> Array:
    """Return grad_output · (1 - y²) for tanh's output y. `out` may be either argument.

    >>> import numpy as np
    >>> tanh_backward(np.array([2.0]), np.array([0.5])).tolist()
    [1.5]
    """
    return curve_backward(_kernels.TANH, grad_output, y, out, name="y")


def _prelu_arrays(x: Array, weight: Array) -> tuple[Array, Array]:
    x = with_channels(x)
    weight = as_array(weight, "weight", 1, x)
    if weight.size != 1:
        expect_shape(weight, "weight", x.shape[1:2], f"one value, or one for each channel of x {x.shape}")
    return x, weight
