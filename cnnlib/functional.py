"""Array functions: check, make contiguous, allocate the output, call the kernel.

The functions of :mod:`cnnlib.reference`, which defines them, in C: same signatures, same results up to rounding, and
the same bits for any number of threads. All arrays of a call are float32 or all are float64; what is not C-contiguous
is copied first. `out` receives the result where given: C-contiguous, writable, of the result's shape and dtype, and not
overlapping an input unless a function says so. Wrong dtypes raise DTypeError, wrong shapes ShapeError, impossible
settings ConfigError.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cnnlib import _kernels
from cnnlib.arrays import ELEMENTS, as_array, as_labels, expect_shape, in_place, output, unless_same
from cnnlib.errors import ConfigError, DataError, ShapeError
from cnnlib.reference import Array, Gradients, Needs, Outs, as_input
from cnnlib.shapes import (
    IntPair,
    Padding,
    conv2d_output_shape,
    pair,
    pool2d_geometry,
    pool2d_output_shape,
    resolve_padding,
)

__all__ = [
    "adam_step",
    "add",
    "affine",
    "as_input",
    "avg_pool2d",
    "avg_pool2d_backward",
    "batch_moments",
    "batch_norm",
    "batch_norm_backward",
    "binary_cross_entropy",
    "conv2d",
    "conv2d_backward",
    "cross_entropy",
    "divide",
    "divide_backward",
    "dropout",
    "l1_loss",
    "leaky_relu",
    "leaky_relu_backward",
    "linear",
    "linear_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "mse_loss",
    "multiply",
    "prelu",
    "prelu_backward",
    "reciprocal",
    "relu",
    "relu_backward",
    "sgd_step",
    "sigmoid",
    "sigmoid_backward",
    "softmax",
    "softmax_backward",
    "subtract",
    "tanh",
    "tanh_backward",
]

#: The largest window whose positions a byte tells apart, 255 itself being kept for "none".
MOST_POSITIONS = 255

NCHW = 0  # the layout of arrays, as kernels are told: not lanes


def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: IntPair = 1,
    padding: Padding = 0,
    dilation: IntPair = 1,
    groups: int = 1,
    *,
    out: Array | None = None,
) -> Array:
    """Return the convolution (cross-correlation) of images with a bank of filters.

    y[n,k,p,q] = b[k] + Σ_c,r,s w[k,c,r,s] x[n, c, p·stride + r·dilation - padding, …]; c runs over k's group.
    Shapes: x (N, C, H, W), weight (K, C/groups, KH, KW), bias (K,) or None, result (N, K, H', W') with
    H' = ⌊(H + 2·padding - dilation·(KH - 1) - 1)/stride⌋ + 1. `padding` is an int, a pair or "same".

    >>> conv2d(np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2)), np.array([0.5]))[0, 0].tolist()
    [[4.5, 4.5], [4.5, 4.5]]
    """
    x = as_array(x, "x", 4)
    weight = as_array(weight, "weight", 4, x)
    shape = conv2d_output_shape(x.shape, weight.shape, stride, padding, dilation, groups)
    if bias is not None:
        bias = as_array(bias, "bias", 1, x)
        expect_shape(bias, "bias", (weight.shape[0],), "one value for each filter of weight")
    result = output(out, "out", shape, x, weight, bias)
    options, layout = _conv_options(weight, stride, padding, dilation, groups), (shape[0], *shape[2:], 0, 0, 0, 0)
    _kernel(_kernels.conv2d_forward, x)(result, None, x, weight, bias, None, options, layout)
    return result


def conv2d_backward(
    grad_output: Array,
    x: Array,
    weight: Array,
    stride: IntPair = 1,
    padding: Padding = 0,
    dilation: IntPair = 1,
    groups: int = 1,
    *,
    needs: Needs = (True, True, True),
    out: Outs = (None, None, None),
) -> Gradients:
    """Return the gradients of `conv2d` for (x, weight, bias), None where `needs` says so.

    Shapes: grad_output (N, K, H', W') as `conv2d` returns; the gradients are shaped as x, weight and (K,).

    >>> dx, dw, db = conv2d_backward(np.ones((1, 1, 2, 2)), np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2)))
    >>> dx[0, 0].tolist(), dw[0, 0].tolist(), db.tolist()
    ([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]], [[4.0, 4.0], [4.0, 4.0]], [4.0])
    """
    x = as_array(x, "x", 4)
    weight, grad_output = as_array(weight, "weight", 4, x), as_array(grad_output, "grad_output", 4, x)
    shape = conv2d_output_shape(x.shape, weight.shape, stride, padding, dilation, groups)
    expect_shape(grad_output, "grad_output", shape, f"conv2d's output for x {x.shape} and weight {weight.shape}")
    grad_x = output(out[0], "out[0]", x.shape, grad_output, x, weight) if needs[0] else None
    grad_weight = output(out[1], "out[1]", weight.shape, grad_output, x, weight, grad_x) if needs[1] else None
    grad_bias = (
        output(out[2], "out[2]", weight.shape[:1], grad_output, x, weight, grad_x, grad_weight) if needs[2] else None
    )
    options, layout = _conv_options(weight, stride, padding, dilation, groups), (shape[0], *shape[2:], 0, 0, 0, 0)
    _kernel(_kernels.conv2d_backward, x)(
        grad_x, grad_weight, grad_bias, grad_output, None, None, x, weight, options, layout
    )
    return grad_x, grad_weight, grad_bias


def max_pool2d(
    x: Array, kernel_size: IntPair, stride: IntPair | None = None, padding: IntPair = 0, *, out: Array | None = None
) -> Array:
    """Return the largest pixel of every window; a NaN in the window wins, padding never does.

    Shapes: x (N, C, H, W), result (N, C, H', W') with H' = ⌊(H + 2·padding - KH)/stride⌋ + 1; stride None means the
    kernel's size. Raises ConfigError for padding above half the kernel.

    >>> max_pool2d(np.array([[[[1.0, 3.0], [2.0, 0.0]]]]), 2).tolist()
    [[[[3.0]]]]
    """
    x = as_array(x, "x", 4)
    result = output(out, "out", pool2d_output_shape(x.shape, kernel_size, stride, padding), x)
    _kernel(_kernels.max_pool2d_forward, x)(result, None, x, _pool_options(kernel_size, stride, padding))
    return result


def max_pool2d_backward(
    grad_output: Array,
    x: Array,
    kernel_size: IntPair,
    stride: IntPair | None = None,
    padding: IntPair = 0,
    *,
    out: Array | None = None,
) -> Array:
    """Return the gradient of `max_pool2d`: to each window's largest pixel, the first of equal ones, the last NaN.

    Shapes: grad_output (N, C, H', W') as `max_pool2d` returns; x and the result (N, C, H, W).

    >>> max_pool2d_backward(np.array([[[[5.0]]]]), np.array([[[[1.0, 3.0], [3.0, 2.0]]]]), 2)[0, 0].tolist()
    [[0.0, 5.0], [0.0, 0.0]]
    """
    x = as_array(x, "x", 4)
    grad_output = as_array(grad_output, "grad_output", 4, x)
    shape = pool2d_output_shape(x.shape, kernel_size, stride, padding)
    expect_shape(grad_output, "grad_output", shape, f"max_pool2d's output for x {x.shape}")
    result = output(out, "out", x.shape, grad_output, x)
    _kernel(_kernels.max_pool2d_grad, x)(result, grad_output, x, None, _pool_options(kernel_size, stride, padding))
    return result


def max_pool2d_winners(
    x: Array, kernel_size: IntPair, stride: IntPair | None = None, padding: IntPair = 0, *, out: Array | None = None
) -> tuple[Array, Array]:
    """Return `max_pool2d` of x, and its winners for `max_pool2d_winners_backward`, which need much less room than x.

    The winners are the largest pixels' positions in their windows, a byte each, in the order in which kernels of the
    instruction set in use like them. Raises ConfigError for windows of more than 255 pixels, which a byte cannot count.

    >>> max_pool2d_winners(np.array([[[[1.0, 3.0], [2.0, 0.0]]]]), 2)[0].tolist()
    [[[[3.0]]]]
    """
    x = as_array(x, "x", 4)
    result = output(out, "out", pool2d_output_shape(x.shape, kernel_size, stride, padding), x)
    options = _winner_options(kernel_size, stride, padding)
    lanes = _kernels.lanes() * 4 // x.itemsize
    winners = np.empty(-(-x.shape[0] * x.shape[1] // lanes) * lanes * result[0, 0].size, np.uint8)
    _kernel(_kernels.max_pool2d_forward, x)(result, winners, x, options)
    return result, winners


def max_pool2d_winners_backward(
    grad_output: Array,
    winners: Array,
    x_shape: Sequence[int],
    kernel_size: IntPair,
    stride: IntPair | None = None,
    padding: IntPair = 0,
    *,
    out: Array | None = None,
) -> Array:
    """Return the gradient of `max_pool2d` by the winners that `max_pool2d_winners` returned: `max_pool2d_backward`'s.

    >>> _, winners = max_pool2d_winners(np.array([[[[1.0, 3.0], [3.0, 2.0]]]]), 2)
    >>> max_pool2d_winners_backward(np.array([[[[5.0]]]]), winners, (1, 1, 2, 2), 2)[0, 0].tolist()
    [[0.0, 5.0], [0.0, 0.0]]
    """
    grad_output = as_array(grad_output, "grad_output", 4)
    shape = pool2d_output_shape(x_shape, kernel_size, stride, padding)
    expect_shape(grad_output, "grad_output", shape, f"max_pool2d's output for x {tuple(x_shape)}")
    result = output(out, "out", x_shape, grad_output)
    options = _winner_options(kernel_size, stride, padding)
    _kernel(_kernels.max_pool2d_grad, grad_output)(result, grad_output, None, winners, options)
    return result


def avg_pool2d(
    x: Array,
    kernel_size: IntPair,
    stride: IntPair | None = None,
    padding: IntPair = 0,
    count_include_pad: bool = True,
    *,
    out: Array | None = None,
) -> Array:
    """Return the mean of every window: its sum over KH·KW pixels, or over those inside the image.

    Shapes: as `max_pool2d`. Raises ConfigError for padding above half the kernel.

    >>> avg_pool2d(np.array([[[[1.0, 3.0], [2.0, 0.0]]]]), 2).tolist()
    [[[[1.5]]]]
    """
    x = as_array(x, "x", 4)
    result = output(out, "out", pool2d_output_shape(x.shape, kernel_size, stride, padding), x)
    options = _pool_options(kernel_size, stride, padding, count_include_pad)
    _kernel(_kernels.avg_pool2d_forward, x)(result, x, options)
    return result


def avg_pool2d_backward(
    grad_output: Array,
    x: Array | Sequence[int],
    kernel_size: IntPair,
    stride: IntPair | None = None,
    padding: IntPair = 0,
    count_include_pad: bool = True,
    *,
    out: Array | None = None,
) -> Array:
    """Return the gradient of `avg_pool2d`: each window's gradient shared equally by its pixels.

    Shapes: grad_output (N, C, H', W') as `avg_pool2d` returns; x the input or its shape (N, C, H, W), as the result.

    >>> avg_pool2d_backward(np.array([[[[4.0]]]]), (1, 1, 2, 3), 2)[0, 0].tolist()
    [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]
    """
    grad_output = as_array(grad_output, "grad_output", 4)
    x_shape = x.shape if isinstance(x, np.ndarray) else tuple(x)
    shape = pool2d_output_shape(x_shape, kernel_size, stride, padding)
    expect_shape(grad_output, "grad_output", shape, f"avg_pool2d's output for x {x_shape}")
    result = output(out, "out", x_shape, grad_output)
    options = _pool_options(kernel_size, stride, padding, count_include_pad)
    _kernel(_kernels.avg_pool2d_grad, grad_output)(result, grad_output, options)
    return result


def linear(x: Array, weight: Array, bias: Array | None = None, *, out: Array | None = None) -> Array:
    """Return x weightᵀ + bias.

    Shapes: x (N, n), weight (C, n), bias (C,) or None, result (N, C).

    >>> linear(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, 6.0]]), np.array([0.5, 0.0])).tolist()
    [[11.5, 17.0]]
    """
    x, weight = _linear_arrays(x, weight)
    if bias is not None:
        bias = as_array(bias, "bias", 1, x)
        expect_shape(bias, "bias", weight.shape[:1], "one value for each row of weight")
    result = output(out, "out", (x.shape[0], weight.shape[0]), x, weight, bias)
    _kernel(_kernels.linear_forward, x)(result.reshape(-1), x.reshape(-1), weight, bias, (len(x), False, False, False))
    return result


def linear_backward(
    grad_output: Array,
    x: Array,
    weight: Array,
    *,
    needs: Needs = (True, True, True),
    out: Outs = (None, None, None),
) -> Gradients:
    """Return (grad_output weight, grad_outputᵀ x, Σ_n grad_output), None where `needs` says so.

    Shapes: grad_output (N, C), x (N, n), weight (C, n); the gradients are shaped as x, weight and (C,).

    >>> dx, dw, db = linear_backward(np.array([[2.0]]), np.array([[1.0, 3.0]]), np.array([[4.0, 5.0]]))
    >>> dx.tolist(), dw.tolist(), db.tolist()
    ([[8.0, 10.0]], [[2.0, 6.0]], [2.0])
    """
    x, weight = _linear_arrays(x, weight)
    grad_output = as_array(grad_output, "grad_output", 2, x)
    shape = (x.shape[0], weight.shape[0])
    expect_shape(grad_output, "grad_output", shape, f"linear's output for x {x.shape} and weight {weight.shape}")
    grad_x = grad_weight = grad_bias = None
    if needs[0]:
        grad_x = output(out[0], "out[0]", x.shape, grad_output, x, weight)
    if needs[1]:
        grad_weight = output(out[1], "out[1]", weight.shape, grad_output, x, weight, grad_x)
    if needs[2]:
        grad_bias = output(out[2], "out[2]", weight.shape[:1], grad_output, x, weight, grad_x, grad_weight)
    flat = None if grad_x is None else grad_x.reshape(-1)
    options = (len(x), False, False, False)
    _kernel(_kernels.linear_backward, x)(
        flat, grad_weight, grad_bias, grad_output.reshape(-1), x.reshape(-1), weight, None, options
    )
    return grad_x, grad_weight, grad_bias


def add(a: Array, b: Array, *, out: Array | None = None) -> Array:
    """Return a + b element by element, both of one shape; `out` may be either.

    >>> add(np.array([1.0, 2.0]), np.array([10.0, 20.0])).tolist()
    [11.0, 22.0]
    """
    return _arithmetic(a, b, _kernels.ADD, out)


def subtract(a: Array, b: Array, *, out: Array | None = None) -> Array:
    """Return a - b element by element, both of one shape; `out` may be either.

    >>> subtract(np.array([1.0, 2.0]), np.array([10.0, 20.0])).tolist()
    [-9.0, -18.0]
    """
    return _arithmetic(a, b, _kernels.SUBTRACT, out)


def multiply(a: Array, b: Array, *, out: Array | None = None) -> Array:
    """Return a·b element by element, both of one shape; `out` may be either.

    >>> multiply(np.array([1.0, 2.0]), np.array([10.0, 20.0])).tolist()
    [10.0, 40.0]
    """
    return _arithmetic(a, b, _kernels.MULTIPLY, out)


def divide(a: Array, b: Array, *, out: Array | None = None) -> Array:
    """Return a/b element by element, both of one shape, infinite or NaN where b is 0; `out` may be either.

    >>> divide(np.array([1.0, 2.0]), np.array([10.0, 0.0])).tolist()
    [0.1, inf]
    """
    return _arithmetic(a, b, _kernels.DIVIDE, out)


def divide_backward(
    grad_output: Array,
    b: Array,
    y: Array,
    *,
    needs: tuple[bool, bool] = (True, True),
    out: tuple[Array | None, Array | None] = (None, None),
) -> tuple[Array | None, Array | None]:
    """Return the gradients of y = a/b for (a, b): g/b and -(g/b) y, where g = grad_output; None where `needs` says so.

    >>> da, db = divide_backward(np.array([4.0]), np.array([2.0]), np.array([3.0]))
    >>> da.tolist(), db.tolist()
    ([2.0], [-6.0])
    """
    y = as_array(y, "y")
    b, grad_output = as_array(b, "b", like=y), as_array(grad_output, "grad_output", like=y)
    for array, name in ((b, "b"), (grad_output, "grad_output")):
        expect_shape(array, name, y.shape, "the shape of y")
    grad_a = output(out[0], "out[0]", y.shape, grad_output, b, y) if needs[0] else None
    grad_b = output(out[1], "out[1]", y.shape, grad_output, b, y, grad_a) if needs[1] else None
    flat = grad_output.reshape(-1), b.reshape(-1)
    if grad_a is not None:
        _kernel(_kernels.arithmetic, y)(grad_a.reshape(-1), *flat, _kernels.DIVIDE)
    if grad_b is not None:
        _kernel(_kernels.divide_grad_b, y)(grad_b.reshape(-1), *flat, y.reshape(-1))
    return grad_a, grad_b


def affine(x: Array, scale: float, offset: float = 0.0, *, out: Array | None = None) -> Array:
    """Return scale·x + offset with two numbers. Any shape; `out` may be x.

    >>> affine(np.array([1.0, 2.0]), 3, -1).tolist()
    [2.0, 5.0]
    """
    return _each(_kernels.affine, x, out, scale, offset)


def reciprocal(x: Array, numerator: float = 1.0, *, out: Array | None = None) -> Array:
    """Return numerator/x, infinite or NaN where x is 0; its gradient is `divide_backward`'s for b. `out` may be x.

    >>> reciprocal(np.array([1.0, 2.0]), 6).tolist()
    [6.0, 3.0]
    """
    return _each(_kernels.reciprocal, x, out, numerator)


def relu(x: Array, *, out: Array | None = None) -> Array:
    """Return max(x, 0) element by element; NaN stays NaN. Any shape; `out` may be x.

    >>> relu(np.array([-1.0, 0.0, 2.0])).tolist()
    [0.0, 0.0, 2.0]
    """
    return _each(_kernels.relu_forward, x, out)


def relu_backward(grad_output: Array, x: Array, *, out: Array | None = None) -> Array:
    """Return grad_output where x > 0, else 0. `x` may be relu's input or its output; `out` may be either argument.

    >>> relu_backward(np.array([1.0, 1.0, 1.0]), np.array([-1.0, 0.0, 2.0])).tolist()
    [0.0, 0.0, 1.0]
    """
    return _each_backward(_kernels.relu_grad, grad_output, x, "x", out)


def sigmoid(x: Array, *, out: Array | None = None) -> Array:
    """Return 1/(1 + e^-x), without overflow, within 3 units of the last place, 0 below the normal numbers.

    Any shape; `out` may be x.

    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    return _each(_kernels.sigmoid_forward, x, out)


def sigmoid_backward(grad_output: Array, y: Array, *, out: Array | None = None) -> Array:
    """Return grad_output · y (1 - y) for sigmoid's output y. `out` may be either argument.

    >>> sigmoid_backward(np.array([2.0]), np.array([0.5])).tolist()
    [0.5]
    """
    return _each_backward(_kernels.sigmoid_grad, grad_output, y, "y", out)


def tanh(x: Array, *, out: Array | None = None) -> Array:
    """Return tanh(x), within 3 units of the last place. Any shape; `out` may be x.

    >>> tanh(np.array([-1000.0, 0.0, 1000.0])).tolist()
    [-1.0, 0.0, 1.0]
    """
    return _each(_kernels.tanh_forward, x, out)


def tanh_backward(grad_output: Array, y: Array, *, out: Array | None = None) -> Array:
    """Return grad_output · (1 - y²) for tanh's output y. `out` may be either argument.

    >>> tanh_backward(np.array([2.0]), np.array([0.5])).tolist()
    [1.5]
    """
    return _each_backward(_kernels.tanh_grad, grad_output, y, "y", out)


def leaky_relu(x: Array, negative_slope: float = 0.01, *, out: Array | None = None) -> Array:
    """Return x where x > 0, else negative_slope·x. Any shape; `out` may be x.

    >>> leaky_relu(np.array([-2.0, 0.0, 3.0]), 0.5).tolist()
    [-1.0, 0.0, 3.0]
    """
    return _each(_kernels.leaky_relu_forward, x, out, negative_slope)


def leaky_relu_backward(
    grad_output: Array, x: Array, negative_slope: float = 0.01, *, out: Array | None = None
) -> Array:
    """Return grad_output where x > 0, else negative_slope·grad_output. `out` may be either array.

    >>> leaky_relu_backward(np.array([4.0, 4.0, 4.0]), np.array([-2.0, 0.0, 3.0]), 0.5).tolist()
    [2.0, 2.0, 4.0]
    """
    return _each_backward(_kernels.leaky_relu_grad, grad_output, x, "x", out, negative_slope)


def prelu(x: Array, weight: Array, *, out: Array | None = None) -> Array:
    """Return x where x > 0, else weight·x: one slope for all channels, or one for each.

    Shapes: x and the result (N, C, …), weight (1,) or (C,).

    >>> prelu(np.array([[-2.0, -2.0]]), np.array([0.5, 0.25])).tolist()
    [[-1.0, -0.5]]
    """
    x, weight = _prelu_arrays(x, weight)
    result = output(out, "out", x.shape, x, weight)
    shape = _channels(x, weight)
    _kernel(_kernels.prelu_forward, x)(result.reshape(shape), x.reshape(shape), weight)
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

    >>> dx, dw = prelu_backward(np.array([[1.0, 1.0]]), np.array([[-2.0, 3.0]]), np.array([0.5]))
    >>> dx.tolist(), dw.tolist()
    ([[0.5, 1.0]], [-2.0])
    """
    x, weight = _prelu_arrays(x, weight)
    grad_output = as_array(grad_output, "grad_output", like=x)
    expect_shape(grad_output, "grad_output", x.shape, "the shape of x")
    shape = _channels(x, weight)
    grad_x = output(out[0], "out[0]", x.shape, grad_output, x, weight) if needs[0] else None
    grad_weight = output(out[1], "out[1]", weight.shape, grad_output, x, weight, grad_x) if needs[1] else None
    flat = None if grad_x is None else grad_x.reshape(shape)
    _kernel(_kernels.prelu_grad, x)(flat, grad_weight, grad_output.reshape(shape), x.reshape(shape), weight)
    return grad_x, grad_weight


def softmax(x: Array, *, out: Array | None = None) -> Array:
    """Return exp(x_i) / Σ_j exp(x_j) along the classes, stable at any magnitude. x (N, C); `out` may be x.

    >>> softmax(np.array([[1000.0, 1000.0]])).tolist()
    [[0.5, 0.5]]
    """
    x = as_array(x, "x", 2)
    result = output(out, "out", x.shape, unless_same(x, out))
    _kernel(_kernels.softmax_forward, x)(result, x)
    return result


def softmax_backward(grad_output: Array, y: Array, *, out: Array | None = None) -> Array:
    """Return y_j (g_j - Σ_i g_i y_i) for softmax's output y and g = grad_output. Both (N, C); `out` may be either.

    >>> softmax_backward(np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]])).tolist()
    [[0.25, -0.25]]
    """
    y = as_array(y, "y", 2)
    grad_output = as_array(grad_output, "grad_output", 2, y)
    expect_shape(grad_output, "grad_output", y.shape, "the shape of y")
    result = output(out, "out", y.shape, unless_same(y, out), unless_same(grad_output, out))
    _kernel(_kernels.softmax_grad, y)(result, grad_output, y)
    return result


def cross_entropy(x: Array, target: Array, *, out: Array | None = None) -> tuple[float, Array]:
    """Return softmax cross-entropy of logits, mean over the batch, and its gradient (p - target)/N.

    x (N, C); target (N,) integer labels, or (N, C) probabilities of x's dtype; `out` may be x.
    Raises DataError for labels outside 0 … C - 1, DTypeError for labels that are not integers.

    >>> value, grad = cross_entropy(np.array([[0.0, 0.0]]), np.array([1]))
    >>> round(value, 6), grad.tolist()
    (0.693147, [[0.5, -0.5]])
    """
    x = as_array(x, "x", 2)
    labels = soft = None
    target = np.asarray(target)
    if target.ndim == 1:
        labels = as_labels(target, *x.shape)
    else:
        soft = as_array(target, "target", 2, x)
        expect_shape(soft, "target", x.shape, "the shape of x, or one integer label a row")
    result = output(out, "out", x.shape, unless_same(x, out), soft)
    return _kernel(_kernels.cross_entropy, x)(result, x, labels, soft), result


def dropout(x: Array, p: float, seed: int, group: int = 1, *, out: Array | None = None) -> Array:
    """Return x with a proportion p of its elements, drawn by `seed`, put to zero and the others times 1/(1 - p).

    With `group`, so many neighbours in memory, such as the H·W pixels of a feature map, fall or stay together. The
    decisions follow from place and seed alone, so that the gradient is the same function of grad_output. Any shape;
    `out` may be x. Random numbers: Threefry-2x32 (Salmon et al., 2011).

    >>> dropout(np.ones(8), 0.5, seed=0).tolist()
    [0.0, 0.0, 0.0, 2.0, 2.0, 0.0, 2.0, 0.0]
    """
    x = as_array(x, "x")
    if not 0 <= p < 1:
        raise ConfigError(f"p = {p!r}: expected a proportion, 0 <= p < 1")
    if group < 1 or x.size % group:
        raise ShapeError(f"x has shape {x.shape}: its {x.size} elements are no groups of {group}")
    if not 0 <= seed < 1 << 64:
        raise ConfigError(f"seed = {seed!r}: expected an integer from 0 to 2**64 - 1")
    result = output(out, "out", x.shape, unless_same(x, out))
    _kernel(_kernels.dropout, x)(result.reshape(-1, group), x.reshape(-1, group), p, seed)
    return result


def mse_loss(x: Array, target: Array, *, out: Array | None = None) -> tuple[float, Array]:
    """Return J = 1/(2N) Σ (x - target)², summed over the features and averaged over the N samples, and (x - target)/N.

    Shapes: x, target and the gradient, which `out` receives, (N, …).

    >>> value, grad = mse_loss(np.array([[1.0, 2.0]]), np.array([[1.0, 0.0]]))
    >>> value, grad.tolist()
    (2.0, [[0.0, 2.0]])
    """
    return _loss(x, target, _kernels.SQUARED, out)


def l1_loss(x: Array, target: Array, *, out: Array | None = None) -> tuple[float, Array]:
    """Return J = 1/N Σ |x - target|, summed over the features and averaged over the N samples, and sign(x - target)/N.

    Shapes: x, target and the gradient, which `out` receives, (N, …). sign(0) = 0.

    >>> value, grad = l1_loss(np.array([[1.0, 2.0]]), np.array([[1.0, 0.0]]))
    >>> value, grad.tolist()
    (2.0, [[0.0, 1.0]])
    """
    return _loss(x, target, _kernels.ABSOLUTE, out)


def binary_cross_entropy(
    x: Array, target: Array, from_logits: bool = False, *, out: Array | None = None
) -> tuple[float, Array]:
    """Return J = 1/N Σ -t log σ - (1 - t) log(1 - σ), t = target in 0…1, and its gradient for x.

    x is σ itself, where σ and 1 - σ are read as no less than the smallest normal number, or, `from_logits`, the score
    whose sigmoid is σ; then J = max(x, 0) - x t + log(1 + e^-|x|) and ∂J/∂x = (σ - t)/N at any size of x.
    Shapes: x, target and the gradient, which `out` receives, (N, …).

    >>> value, grad = binary_cross_entropy(np.array([[0.0, 1000.0]]), np.array([[1.0, 0.0]]), from_logits=True)
    >>> round(value, 6), grad.tolist()
    (1000.693147, [[-0.5, 1.0]])
    """
    return _loss(x, target, _kernels.BINARY_LOGITS if from_logits else _kernels.BINARY, out)


def batch_moments(x: Array) -> tuple[Array, Array]:
    """Return each channel's mean and (biased) variance over the batch, and over the pixels of images.

    μ_c = 1/M Σ x, σ²_c = 1/M Σ (x - μ_c)², where M = N·H·W. Shapes: x (N, C) or (N, C, …), the results (C,).

    >>> mean, var = batch_moments(np.array([[1.0, 5.0], [3.0, 5.0]]))
    >>> mean.tolist(), var.tolist()
    ([2.0, 5.0], [1.0, 0.0])
    """
    x = _with_channels(x)
    mean, var = np.empty(x.shape[1], x.dtype), np.empty(x.shape[1], x.dtype)
    _kernel(_kernels.batch_moments, x)(mean, var, x.reshape(_channels(x)))
    return mean, var


def batch_norm(
    x: Array,
    mean: Array,
    var: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
    *,
    out: Array | None = None,
) -> Array:
    """Return weight·(x - mean)/√(var + eps) + bias, channel by channel; without them weight is 1 and bias 0.

    Shapes: x and the result (N, C) or (N, C, …), the others (C,). Source: Ioffe and Szegedy, arXiv:1502.03167.

    >>> x = np.array([[1.0], [3.0]])
    >>> batch_norm(x, *batch_moments(x), eps=0.0).tolist()
    [[-1.0], [1.0]]
    """
    x = _with_channels(x)
    mean, var, weight, bias = _channel_arrays(x, mean=mean, var=var, weight=weight, bias=bias)
    result = output(out, "out", x.shape, x, mean, var, weight, bias)
    shape = _channels(x)
    _kernel(_kernels.batch_norm_forward, x)(
        result.reshape(shape), x.reshape(shape), mean, var, weight, bias, eps, False
    )
    return result


def batch_norm_backward(
    grad_output: Array,
    x: Array,
    mean: Array,
    var: Array,
    weight: Array | None = None,
    eps: float = 1e-5,
    *,
    needs: Needs = (True, True, True),
    out: Outs = (None, None, None),
) -> Gradients:
    """Return the gradients for (x, weight, bias), where `mean` and `var` are the moments of x, which depend on x.

    With g = grad_output, h = (x - μ)/√(σ² + eps) and ⟨·⟩ a channel's mean: ∂J/∂bias = Σ g, ∂J/∂weight = Σ g h,
    ∂J/∂x = weight/√(σ² + eps)·(g - ⟨g⟩ - h ⟨g h⟩). None where `needs` says so.

    >>> x = np.array([[1.0], [3.0]])
    >>> dx, dw, db = batch_norm_backward(np.array([[1.0], [2.0]]), x, *batch_moments(x), eps=0.0)
    >>> dx.tolist(), dw.tolist(), db.tolist()
    ([[0.0], [0.0]], [1.0], [3.0])
    """
    x = _with_channels(x)
    grad_output = as_array(grad_output, "grad_output", like=x)
    expect_shape(grad_output, "grad_output", x.shape, "the shape of x")
    mean, var, weight = _channel_arrays(x, mean=mean, var=var, weight=weight)
    inputs, channels, shape = (grad_output, x, mean, var, weight), x.shape[1:2], _channels(x)
    grad_x = output(out[0], "out[0]", x.shape, *inputs) if needs[0] else None
    grad_weight = output(out[1], "out[1]", channels, *inputs, grad_x)
    grad_bias = output(out[2], "out[2]", channels, *inputs, grad_x, grad_weight)
    flat = None if grad_x is None else grad_x.reshape(shape), grad_weight, grad_bias
    arrays = grad_output.reshape(shape), x.reshape(shape), mean, var, weight
    _kernel(_kernels.batch_norm_grad, x)(*flat, *arrays, None, eps, False)
    return grad_x, grad_weight if needs[1] else None, grad_bias if needs[2] else None


def sgd_step(
    param: Array,
    grad: Array,
    velocity: Array | None,
    lr: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> None:
    """Update `param` and `velocity` in place: g' = grad + λ param, v = μ v + g', param -= lr (nesterov ? g' + μ v : v).

    `velocity` is None without momentum. All arrays have the same shape; param and velocity are written.

    >>> param = np.array([1.0])
    >>> sgd_step(param, np.array([0.5]), None, lr=0.1)
    >>> param.tolist()
    [0.95]
    """
    param, grad = in_place(param, "param"), as_array(grad, "grad", like=param)
    expect_shape(grad, "grad", param.shape, "the shape of param")
    if velocity is None and momentum:
        raise ConfigError(f"velocity is None at momentum = {momentum}: pass an array of zeros shaped as param")
    if velocity is not None:
        velocity = in_place(velocity, "velocity", param).reshape(-1)
    flat = param.reshape(-1), velocity, grad.reshape(-1)
    _kernel(_kernels.sgd_step, param)(*flat, lr, momentum, weight_decay, nesterov)


def adam_step(
    param: Array,
    grad: Array,
    m: Array,
    v: Array,
    step: int,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
) -> None:
    """Update `param`, `m` and `v` in place by Adam's rule, AdamW's if `decoupled`; `step` counts from 1.

    m = β₁ m + (1 - β₁) g, v = β₂ v + (1 - β₂) g², param -= lr m̂ / (√v̂ + eps), with m̂ = m / (1 - β₁^step) and
    v̂ = v / (1 - β₂^step). Decay adds λ param to g, or, decoupled, first shrinks param by 1 - lr λ.

    >>> param, m, v = np.array([1.0]), np.zeros(1), np.zeros(1)
    >>> adam_step(param, np.array([0.5]), m, v, step=1, lr=0.1)
    >>> round(float(param[0]), 6)
    0.9
    """
    param, grad = in_place(param, "param"), as_array(grad, "grad", like=param)
    expect_shape(grad, "grad", param.shape, "the shape of param")
    m, v = in_place(m, "m", param), in_place(v, "v", param)
    if step < 1:
        raise DataError(f"step = {step}: Adam's steps count from 1")
    flat = param.reshape(-1), m.reshape(-1), v.reshape(-1), grad.reshape(-1)
    _kernel(_kernels.adam_step, param)(*flat, step, lr, beta1, beta2, eps, weight_decay, decoupled)


def _kernel(function: Any, like: Array) -> Callable[..., Any]:
    """The instance of a kernel for an array's element type."""
    instance: Callable[..., Any] = function[ELEMENTS[like.dtype]]
    return instance


def _each(kernel: Any, x: Array, out: Array | None, *settings: float) -> Array:
    """Return what a kernel gives for x element by element."""
    x = as_array(x, "x")
    result = output(out, "out", x.shape, unless_same(x, out))
    _kernel(kernel, x)(result.reshape(-1), x.reshape(-1), *settings)
    return result


def _each_backward(
    kernel: Any, grad_output: Array, kept: Array, name: str, out: Array | None, *settings: float
) -> Array:
    """Return the gradient of an element-wise function from that of its output and the array that forward kept."""
    kept = as_array(kept, name)
    grad_output = as_array(grad_output, "grad_output", like=kept)
    expect_shape(grad_output, "grad_output", kept.shape, f"the shape of {name}")
    result = output(out, "out", kept.shape, unless_same(kept, out), unless_same(grad_output, out))
    _kernel(kernel, kept)(result.reshape(-1), grad_output.reshape(-1), kept.reshape(-1), *settings)
    return result


def _arithmetic(a: Array, b: Array, operation: int, out: Array | None) -> Array:
    a = as_array(a, "a")
    b = as_array(b, "b", like=a)
    expect_shape(b, "b", a.shape, "the shape of a")
    result = output(out, "out", a.shape, unless_same(a, out), unless_same(b, out))
    _kernel(_kernels.arithmetic, a)(result.reshape(-1), a.reshape(-1), b.reshape(-1), operation)
    return result


def _loss(x: Array, target: Array, kind: int, out: Array | None) -> tuple[float, Array]:
    x = as_array(x, "x")
    target = as_array(target, "target", like=x)
    if x.ndim == 0:
        raise ShapeError("x has shape (): expected (N, …), a batch")
    expect_shape(target, "target", x.shape, "the shape of x")
    result = output(out, "out", x.shape, x, target)
    flat = result.reshape(-1), x.reshape(-1), target.reshape(-1)
    return _kernel(_kernels.loss, x)(*flat, len(x), kind), result


def _with_channels(x: Array) -> Array:
    x = as_array(x, "x")
    if x.ndim < 2:
        raise ShapeError(f"x has shape {x.shape}: expected (N, C) or (N, C, …)")
    return x


def _channels(x: Array, weight: Array | None = None) -> tuple[int, int, int]:
    """The shape in which a kernel sees x: samples, channels, pixels; one channel if all share one weight."""
    if weight is not None and weight.size == 1:
        return x.shape[0], 1, x[0].size
    return x.shape[0], x.shape[1], x[0, 0].size


def _channel_arrays(x: Array, **arrays: Array | None) -> list[Any]:
    """Return arrays of one value a channel, None where there is none."""
    given = {name: None if array is None else as_array(array, name, 1, x) for name, array in arrays.items()}
    for name, array in given.items():
        if array is not None:
            expect_shape(array, name, x.shape[1:2], f"one value for each channel of x {x.shape}")
    return list(given.values())


def _prelu_arrays(x: Array, weight: Array) -> tuple[Array, Array]:
    x = _with_channels(x)
    weight = as_array(weight, "weight", 1, x)
    if weight.size != 1:
        expect_shape(weight, "weight", x.shape[1:2], f"one value, or one for each channel of x {x.shape}")
    return x, weight


def _linear_arrays(x: Array, weight: Array) -> tuple[Array, Array]:
    x = as_array(x, "x", 2)
    weight = as_array(weight, "weight", 2, x)
    if x.shape[1] != weight.shape[1]:
        raise ShapeError(
            f"x of shape {x.shape} has {x.shape[1]} features, weight of shape {weight.shape} takes {weight.shape[1]}"
        )
    return x, weight


def _conv_options(weight: Array, stride: IntPair, padding: Padding, dilation: IntPair, groups: int) -> tuple[int, ...]:
    paddings = resolve_padding(padding, (weight.shape[2], weight.shape[3]), dilation, stride)
    return *pair(stride, "stride", 1), *paddings, *pair(dilation, "dilation", 1), groups


def _winner_options(kernel_size: IntPair, stride: IntPair | None, padding: IntPair) -> tuple[int, ...]:
    options = _pool_options(kernel_size, stride, padding)
    if options[0] * options[1] > MOST_POSITIONS:
        raise ConfigError(
            f"kernel_size = {kernel_size}: winners of more than {MOST_POSITIONS} pixels take more than bytes"
        )
    return options


def _pool_options(
    kernel_size: IntPair, stride: IntPair | None, padding: IntPair, count_include_pad: bool = False
) -> tuple[int, ...]:
    kernels, strides, paddings = pool2d_geometry(kernel_size, stride, padding)
    return *kernels, *strides, *paddings, bool(count_include_pad), NCHW
