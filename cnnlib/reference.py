"""The definition: every array function of cnnlib in plain NumPy.

The kernels behind :mod:`cnnlib.functional` are tested and benchmarked against these functions, which have the same
signatures. They compute in the dtype they are given (float64 in, float64 out) and check shapes only as far as the
arithmetic needs; `functional` is strict. `out` receives the result where given, and the result is returned either way.

Convolution and pooling walk over the taps of the kernel: tap (p, q) of every window, taken together, is a strided view
of the padded image. A convolution is then one matrix product per tap, and its gradients are its mirror images. Nothing
is unfolded, so memory stays a small multiple of the arrays'; libraries that unfold into one large product are faster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import DTypeLike, NDArray

from cnnlib.arrays import plain
from cnnlib.errors import DTypeError
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

Array = NDArray[Any]
Needs = tuple[bool, bool, bool]
Outs = tuple[Array | None, Array | None, Array | None]
Gradients = tuple[Array | None, Array | None, Array | None]


def as_input(x: Any, dtype: DTypeLike = np.float32, *, out: Array | None = None) -> Array:
    """Return `x` as a C-contiguous array of `dtype`: the one conversion rule for what users feed a model.

    uint8 is taken for pixels and multiplied by 1/255; bool, other integers and other floats keep their value.
    Nothing is copied if `x` is as it should be already; otherwise the result goes to `out`, of that shape and dtype,
    where it is given. Raises DTypeError for every other element type.

    >>> as_input(np.array([0, 255], dtype=np.uint8))
    array([0., 1.], dtype=float32)
    """
    array, kind = plain(x, "input"), np.dtype(dtype)
    if array.dtype.kind not in "biuf":
        raise DTypeError(f"input has dtype {array.dtype}: expected pixels (uint8), other integers, bools or floats")
    if array.dtype == kind and array.flags.c_contiguous:
        return array
    if out is None:
        out = np.empty(array.shape, kind)
    np.copyto(out, array, casting="unsafe")
    if array.dtype == np.uint8:
        out *= 1 / 255
    return out


# Convolution


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
    """Convolve (cross-correlate) a batch of images with a set of filters.

    y[n,k,i,j] = bias[k] + Σ_{c,p,q} x[n,c,h,w]·weight[k,c,p,q], where h = i·stride + p·dilation - padding, w likewise
    in j and q, x is 0 outside the image and c runs over the channels of k's group.

    Shapes: x (N, C, H, W), weight (K, C / groups, KH, KW), bias (K,) or None, result (N, K, H', W').
    Raises ShapeError if channels or groups do not fit or the kernel is larger than the padded image.

    >>> conv2d(np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2)), np.array([0.5])).tolist()
    [[[[4.5, 4.5], [4.5, 4.5]]]]
    """
    shape = conv2d_output_shape(x.shape, weight.shape, stride, padding, dilation, groups)
    kernels, strides, paddings, dilations = _conv_geometry(weight.shape, stride, padding, dilation)
    windows = _windows(_padded(x, paddings), kernels, strides, dilations)
    result = np.zeros(shape, x.dtype)
    y = _matrices(result, groups)
    for w, pixels in zip(_filters(weight, groups), _taps(windows), strict=True):
        y += w @ _matrices(pixels, groups)
    if bias is not None:
        result += bias[:, None, None]
    return _deliver(result, out)


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
    """Return the gradients of a convolution: (grad_x, grad_weight, grad_bias), None where `needs` says so.

    With g = grad_output and every output (n,k,i,j) that used x[n,c,h,w] through weight[k,c,p,q]:
    grad_x[n,c,h,w] = Σ_{k,i,j} g[n,k,i,j]·weight[k,c,p,q],  grad_weight[k,c,p,q] = Σ_{n,i,j} g[n,k,i,j]·x[n,c,h,w],
    grad_bias[k] = Σ_{n,i,j} g[n,k,i,j].

    Shapes: grad_output (N, K, H', W') as `conv2d` returns; the gradients are shaped as x, weight and (K,).

    >>> x, weight = np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2))
    >>> dx, dw, db = conv2d_backward(np.ones((1, 1, 2, 2)), x, weight)
    >>> dx[0, 0].tolist(), dw[0, 0].tolist(), db.tolist()
    ([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]], [[4.0, 4.0], [4.0, 4.0]], [4.0])
    """
    kernels, strides, paddings, dilations = _conv_geometry(weight.shape, stride, padding, dilation)
    padded = _padded(x, paddings)
    windows = _windows(padded, kernels, strides, dilations)
    dy = _matrices(grad_output, groups)
    grad_x = grad_weight = grad_bias = None
    if needs[0]:
        grad_padded = np.zeros_like(padded)
        grad_windows = _windows(grad_padded, kernels, strides, dilations, writeable=True)
        for w, pixels in zip(_filters(weight, groups), _taps(grad_windows), strict=True):
            pixels += (w.swapaxes(1, 2) @ dy).reshape(pixels.shape)
        grad_x = _unpadded(grad_padded, paddings)
    if needs[1]:
        grad_weight = np.empty_like(weight)
        for dw, pixels in zip(_filters(grad_weight, groups), _taps(windows), strict=True):
            dw[...] = (dy @ _matrices(pixels, groups).swapaxes(2, 3)).sum(axis=0)
    if needs[2]:
        grad_bias = grad_output.sum(axis=(0, 2, 3))
    return _deliver_all((grad_x, grad_weight, grad_bias), out)


# Pooling


def max_pool2d(
    x: Array, kernel_size: IntPair, stride: IntPair | None = None, padding: IntPair = 0, *, out: Array | None = None
) -> Array:
    """Return the largest pixel of every window; a NaN in the window wins. Padding never wins.

    Shapes: x (N, C, H, W), result (N, C, H', W'); stride None means the kernel's size.
    Raises ConfigError for padding above half the kernel, ShapeError if no window fits.

    >>> x = np.array([[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4.0]])
    >>> max_pool2d(x[None, None], 2)[0, 0].tolist()
    [[6.0, 8.0], [3.0, 4.0]]
    """
    result = np.full(pool2d_output_shape(x.shape, kernel_size, stride, padding), -np.inf, x.dtype)
    kernels, strides, paddings = pool2d_geometry(kernel_size, stride, padding)
    for tap in _taps(_windows(_padded(x, paddings, fill=-np.inf), kernels, strides)):
        np.maximum(result, tap, out=result)
    return _deliver(result, out)


def max_pool2d_backward(
    grad_output: Array,
    x: Array,
    kernel_size: IntPair,
    stride: IntPair | None = None,
    padding: IntPair = 0,
    *,
    out: Array | None = None,
) -> Array:
    """Return the gradient of max-pooling: each window's gradient goes to its largest pixel; windows may share one.

    Of equal pixels the first in row-major order of the window counts, of NaN the last (PyTorch's rule).
    Shapes: grad_output (N, C, H', W') as `max_pool2d` returns, x and the result (N, C, H, W).

    >>> max_pool2d_backward(np.array([[[[5.0]]]]), np.array([[[[1.0, 3.0], [3.0, 2.0]]]]), 2)[0, 0].tolist()
    [[0.0, 5.0], [0.0, 0.0]]
    """
    kernels, strides, paddings = pool2d_geometry(kernel_size, stride, padding)
    windows = _windows(_padded(x, paddings), kernels, strides)
    inside = _windows(_padded(np.ones((1, 1, *x.shape[2:]), bool), paddings), kernels, strides)
    best = np.full(grad_output.shape, -np.inf, x.dtype)
    winner = np.full(grad_output.shape, -1)
    for tap, (value, valid) in enumerate(zip(_taps(windows), _taps(inside), strict=True)):
        better = valid & ((value > best) | np.isnan(value) | (winner < 0))
        best = np.where(better, value, best)
        winner = np.where(better, tap, winner)
    padded = _padded(np.zeros_like(x), paddings)
    for tap, pixels in enumerate(_taps(_windows(padded, kernels, strides, writeable=True))):
        pixels += np.where(winner == tap, grad_output, 0)
    return _deliver(_unpadded(padded, paddings), out)


def avg_pool2d(
    x: Array,
    kernel_size: IntPair,
    stride: IntPair | None = None,
    padding: IntPair = 0,
    count_include_pad: bool = True,
    *,
    out: Array | None = None,
) -> Array:
    """Return the mean of every window: its sum, with padding as 0, over KH·KW pixels or over those inside the image.

    Shapes: x (N, C, H, W), result (N, C, H', W'); stride None means the kernel's size.
    Raises ConfigError for padding above half the kernel, ShapeError if no window fits.

    >>> avg_pool2d(np.ones((1, 1, 2, 2)), 2, padding=1).tolist()
    [[[[0.25, 0.25], [0.25, 0.25]]]]
    """
    result = np.zeros(pool2d_output_shape(x.shape, kernel_size, stride, padding), x.dtype)
    kernels, strides, paddings = pool2d_geometry(kernel_size, stride, padding)
    for tap in _taps(_windows(_padded(x, paddings), kernels, strides)):
        result += tap
    result /= _window_pixels(x.shape, kernels, strides, paddings, count_include_pad, x.dtype)
    return _deliver(result, out)


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
    """Return the gradient of average-pooling: each window's gradient is shared equally by its pixels.

    Shapes: grad_output (N, C, H', W') as `avg_pool2d` returns; x the input or its shape (N, C, H, W), as the result.

    >>> avg_pool2d_backward(np.array([[[[4.0]]]]), (1, 1, 2, 3), 2)[0, 0].tolist()
    [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]
    """
    x_shape = x.shape if isinstance(x, np.ndarray) else tuple(x)
    kernels, strides, paddings = pool2d_geometry(kernel_size, stride, padding)
    share = grad_output / _window_pixels(x_shape, kernels, strides, paddings, count_include_pad, grad_output.dtype)
    padded = _padded(np.zeros(x_shape, grad_output.dtype), paddings)
    for pixels in _taps(_windows(padded, kernels, strides, writeable=True)):
        pixels += share
    return _deliver(_unpadded(padded, paddings), out)


# Dense product and element-wise functions


def linear(x: Array, weight: Array, bias: Array | None = None, *, out: Array | None = None) -> Array:
    """Return x weightᵀ + bias.

    Shapes: x (N, n), weight (C, n), bias (C,) or None, result (N, C).

    >>> linear(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, 6.0]]), np.array([0.5, 0.0])).tolist()
    [[11.5, 17.0]]
    """
    result = x @ weight.T
    if bias is not None:
        result += bias
    return _deliver(result, out)


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
    grad_x = grad_output @ weight if needs[0] else None
    grad_weight = grad_output.T @ x if needs[1] else None
    grad_bias = grad_output.sum(axis=0) if needs[2] else None
    return _deliver_all((grad_x, grad_weight, grad_bias), out)


def add(a: Array, b: Array, *, out: Array | None = None) -> Array:
    """Return a + b element by element, both of one shape; `out` may be either.

    >>> add(np.array([1.0, 2.0]), np.array([10.0, 20.0])).tolist()
    [11.0, 22.0]
    """
    return np.add(a, b, out=out)


def subtract(a: Array, b: Array, *, out: Array | None = None) -> Array:
    """Return a - b element by element, both of one shape; `out` may be either.

    >>> subtract(np.array([1.0, 2.0]), np.array([10.0, 20.0])).tolist()
    [-9.0, -18.0]
    """
    return np.subtract(a, b, out=out)


def multiply(a: Array, b: Array, *, out: Array | None = None) -> Array:
    """Return a·b element by element, both of one shape; `out` may be either.

    >>> multiply(np.array([1.0, 2.0]), np.array([10.0, 20.0])).tolist()
    [10.0, 40.0]
    """
    return np.multiply(a, b, out=out)


def divide(a: Array, b: Array, *, out: Array | None = None) -> Array:
    """Return a/b element by element, both of one shape, infinite or NaN where b is 0; `out` may be either.

    >>> divide(np.array([1.0, 2.0]), np.array([10.0, 4.0])).tolist()
    [0.1, 0.5]
    """
    return np.divide(a, b, out=out)


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
    grad_a = _deliver(grad_output / b, out[0]) if needs[0] else None
    grad_b = _deliver(-(grad_output / b) * y, out[1]) if needs[1] else None
    return grad_a, grad_b


def affine(x: Array, scale: float, offset: float = 0.0, *, out: Array | None = None) -> Array:
    """Return scale·x + offset with two numbers. Any shape; `out` may be x.

    >>> affine(np.array([1.0, 2.0]), 3, -1).tolist()
    [2.0, 5.0]
    """
    return _deliver(x * x.dtype.type(scale) + x.dtype.type(offset), out)


def reciprocal(x: Array, numerator: float = 1.0, *, out: Array | None = None) -> Array:
    """Return numerator/x, infinite or NaN where x is 0; its gradient is `divide_backward`'s for b. `out` may be x.

    >>> reciprocal(np.array([1.0, 2.0]), 6).tolist()
    [6.0, 3.0]
    """
    result: Array = np.divide(x.dtype.type(numerator), x, out=out)
    return result


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
    return _deliver(np.where(x > 0, grad_output, 0), out)


def sigmoid(x: Array, *, out: Array | None = None) -> Array:
    """Return σ(x) = 1/(1 + e^-x), by e^-|x|, which cannot overflow. `out` may be x. Any shape.

    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    e = np.exp(-np.abs(x))
    return _deliver(np.where(x > 0, 1, e) / (1 + e), out)


def sigmoid_backward(grad_output: Array, y: Array, *, out: Array | None = None) -> Array:
    """Return grad_output · y (1 - y) for y = sigmoid(x). `out` may be either argument. Any shape.

    >>> sigmoid_backward(np.array([2.0]), np.array([0.5])).tolist()
    [0.5]
    """
    return _deliver(grad_output * (y * (1 - y)), out)


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
    return _deliver(grad_output * ((1 - y) * (1 + y)), out)


def leaky_relu(x: Array, negative_slope: float = 0.01, *, out: Array | None = None) -> Array:
    """Return x where x > 0, else negative_slope·x. `out` may be x. Any shape.

    >>> leaky_relu(np.array([-2.0, 0.0, 3.0]), 0.5).tolist()
    [-1.0, 0.0, 3.0]
    """
    return _deliver(np.where(x > 0, x, x * x.dtype.type(negative_slope)), out)


def leaky_relu_backward(
    grad_output: Array, x: Array, negative_slope: float = 0.01, *, out: Array | None = None
) -> Array:
    """Return grad_output where x > 0, else negative_slope·grad_output. `out` may be either array. Any shape.

    >>> leaky_relu_backward(np.array([4.0, 4.0, 4.0]), np.array([-2.0, 0.0, 3.0]), 0.5).tolist()
    [2.0, 2.0, 4.0]
    """
    return _deliver(np.where(x > 0, grad_output, grad_output * x.dtype.type(negative_slope)), out)


def prelu(x: Array, weight: Array, *, out: Array | None = None) -> Array:
    """Return x where x > 0, else weight·x: one slope for all channels, or one for each.

    Shapes: x and the result (N, C, …), weight (1,) or (C,).

    >>> prelu(np.array([[-2.0, -2.0]]), np.array([0.5, 0.25])).tolist()
    [[-1.0, -0.5]]
    """
    return _deliver(np.where(x > 0, x, x * _by_channel(weight, x)), out)


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
        grad_x = _deliver(np.where(x > 0, grad_output, grad_output * _by_channel(weight, x)), out[0])
    if needs[1]:
        terms = np.where(x > 0, 0, x * grad_output)
        grad_weight = terms.sum(axis=_but_channels(x)) if weight.size > 1 else terms.sum().reshape(1)
        grad_weight = _deliver(grad_weight, out[1])
    return grad_x, grad_weight


def softmax(x: Array, *, out: Array | None = None) -> Array:
    """Return p = exp(x) / Σ_c exp(x), the largest x of each row subtracted first, so that nothing overflows.

    Shapes: x and the result (N, C), along C.

    >>> softmax(np.array([[0.0, 0.0], [1000.0, -1000.0]])).tolist()
    [[0.5, 0.5], [1.0, 0.0]]
    """
    result = np.exp(x - x.max(axis=1, keepdims=True))
    result /= result.sum(axis=1, keepdims=True)
    return _deliver(result, out)


def softmax_backward(grad_output: Array, y: Array, *, out: Array | None = None) -> Array:
    """Return ∂J/∂x_j = y_j (g_j - Σ_i g_i y_i), where y = softmax(x) and g = grad_output.

    Shapes: grad_output, y and the result (N, C).

    >>> softmax_backward(np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]])).tolist()
    [[0.25, -0.25]]
    """
    return _deliver(y * (grad_output - (grad_output * y).sum(axis=1, keepdims=True)), out)


def cross_entropy(x: Array, target: Array, *, out: Array | None = None) -> tuple[float, Array]:
    """Return J = -(1/N) Σ_n Σ_c target·log softmax(x), and its gradient (softmax(x) Σ_c target - target) / N.

    Shapes: logits x (N, C); target either int labels (N,), for which it is one-hot, or probabilities (N, C), whose rows
    sum to 1 as a rule, so that the gradient is (softmax(x) - target) / N. `out` receives the gradient.

    >>> value, grad = cross_entropy(np.array([[0.0, 0.0]]), np.array([1]))
    >>> round(value, 6), grad.tolist()
    (0.693147, [[0.5, -0.5]])
    """
    if target.ndim == 1:
        target = np.eye(x.shape[1], dtype=x.dtype)[target]
    shifted = x - x.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    value = -(target * log_p).sum() / len(x)
    grad = (np.exp(log_p) * target.sum(axis=1, keepdims=True) - target) / len(x)
    return float(value), _deliver(grad, out)


def dropout(x: Array, p: float, seed: int, group: int = 1, *, out: Array | None = None) -> Array:
    """Return x with a proportion p of its elements, drawn by `seed`, put to zero and the others times 1/(1 - p).

    With `group`, so many neighbours in memory, such as the H·W pixels of a feature map, fall or stay together. The
    decisions follow from place and seed alone, so that the gradient is the same function of grad_output. Any shape;
    `out` may be x. Random numbers: Threefry-2x32 (Salmon et al., 2011).

    >>> dropout(np.ones(8), 0.5, seed=0).tolist()
    [0.0, 0.0, 0.0, 2.0, 2.0, 0.0, 2.0, 0.0]
    """
    dropped = _random_words(x.size // group, seed) < np.uint32(p * 2**32)
    scaled = np.where(dropped[:, np.newaxis], 0, x.reshape(-1, group) * x.dtype.type(1 / (1 - p)))
    return _deliver(scaled.reshape(x.shape), out)


def mse_loss(x: Array, target: Array, *, out: Array | None = None) -> tuple[float, Array]:
    """Return J = 1/(2N) Σ (x - target)², summed over the features and averaged over the N samples, and (x - target)/N.

    Shapes: x, target and the gradient, which `out` receives, (N, …).

    >>> value, grad = mse_loss(np.array([[1.0, 2.0]]), np.array([[1.0, 0.0]]))
    >>> value, grad.tolist()
    (2.0, [[0.0, 2.0]])
    """
    grad = x - target
    return float((grad * grad).sum() / (2 * len(x))), _deliver(grad / len(x), out)


def l1_loss(x: Array, target: Array, *, out: Array | None = None) -> tuple[float, Array]:
    """Return J = 1/N Σ |x - target|, summed over the features and averaged over the N samples, and sign(x - target)/N.

    Shapes: x, target and the gradient, which `out` receives, (N, …). sign(0) = 0.

    >>> value, grad = l1_loss(np.array([[1.0, 2.0]]), np.array([[1.0, 0.0]]))
    >>> value, grad.tolist()
    (2.0, [[0.0, 1.0]])
    """
    grad = x - target
    return float(np.abs(grad).sum() / len(x)), _deliver(np.sign(grad) / len(x), out)


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
    n = len(x)
    if from_logits:
        costs = np.maximum(x, 0) - x * target + np.log1p(np.exp(-np.abs(x)))
        return float(costs.sum() / n), _deliver((sigmoid(x) - target) / n, out)
    floor = np.finfo(x.dtype).tiny
    yes, no = np.maximum(x, floor), np.maximum(1 - x, floor)
    costs = target * np.log(yes) + (1 - target) * np.log(no)
    return float(-costs.sum() / n), _deliver(((1 - target) / no - target / yes) / n, out)


# Batch normalisation


def batch_moments(x: Array) -> tuple[Array, Array]:
    """Return each channel's mean and (biased) variance over the batch, and over the pixels of images.

    μ_c = 1/M Σ x, σ²_c = 1/M Σ (x - μ_c)², where M = N·H·W. Shapes: x (N, C) or (N, C, …), the results (C,).

    >>> mean, var = batch_moments(np.array([[1.0, 5.0], [3.0, 5.0]]))
    >>> mean.tolist(), var.tolist()
    ([2.0, 5.0], [1.0, 0.0])
    """
    return x.mean(axis=_but_channels(x)), x.var(axis=_but_channels(x))


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
    scale = 1 / np.sqrt(var + eps) if weight is None else weight / np.sqrt(var + eps)
    result = (x - _by_channel(mean, x)) * _by_channel(scale, x)
    return _deliver(result if bias is None else result + _by_channel(bias, x), out)


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
    axes = _but_channels(x)
    inverse = 1 / np.sqrt(var + eps)
    h = (x - _by_channel(mean, x)) * _by_channel(inverse, x)
    scale = inverse if weight is None else weight * inverse
    centred = grad_output - grad_output.mean(axis=axes, keepdims=True)
    grad_x = _by_channel(scale, x) * (centred - h * (grad_output * h).mean(axis=axes, keepdims=True))
    gradients = grad_x, (grad_output * h).sum(axis=axes), grad_output.sum(axis=axes)
    first, second, third = (gradient if need else None for gradient, need in zip(gradients, needs, strict=True))
    return _deliver_all((first, second, third), out)


# Optimizer steps


def sgd_step(
    param: Array,
    grad: Array,
    velocity: Array | None,
    lr: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> None:
    """Update `param` and `velocity` in place by stochastic gradient descent, as PyTorch's SGD does.

    g = grad + weight_decay·param;  v ← momentum·v + g;  param ← param - lr·(g + momentum·v if nesterov else v).
    The velocity starts at 0 and is None if momentum is 0; then param ← param - lr·g. Any shape, all alike.

    >>> param = np.array([1.0])
    >>> sgd_step(param, np.array([2.0]), None, lr=0.1)
    >>> param.tolist()
    [0.8]
    """
    step = grad + weight_decay * param
    if velocity is not None:
        velocity *= momentum
        velocity += step
        step = step + momentum * velocity if nesterov else velocity
    param -= lr * step


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
    """Update `param` and its moments `m`, `v` in place, as PyTorch's Adam (or AdamW, if `decoupled`) does.

    g = grad + weight_decay·param, or, decoupled, g = grad and param ← (1 - lr·weight_decay)·param;
    m ← beta1·m + (1 - beta1)·g;  v ← beta2·v + (1 - beta2)·g²;
    param ← param - lr / (1 - beta1^step)·m / (√(v / (1 - beta2^step)) + eps).
    The moments start at 0 and `step` counts from 1. Any shape, all alike. Source: Kingma and Ba, arXiv:1412.6980.

    >>> param, m, v = np.array([1.0]), np.zeros(1), np.zeros(1)
    >>> adam_step(param, np.array([2.0]), m, v, step=1, lr=0.1)
    >>> param.round(6).tolist()
    [0.9]
    """
    if decoupled:
        param *= 1 - lr * weight_decay
    else:
        grad = grad + weight_decay * param
    m *= beta1
    m += (1 - beta1) * grad
    v *= beta2
    v += (1 - beta2) * grad * grad
    param -= lr / (1 - beta1**step) * m / (np.sqrt(v / (1 - beta2**step)) + eps)


# Random numbers


def _random_words(n: int, seed: int) -> Array:
    """Return random words 0 … n - 1 of the seed.

    Words 32 b … 32 b + 15 are the first ones of counters 16 b … 16 b + 15, and words 32 b + 16 … 32 b + 31 the second.
    """
    counters = np.arange(-(-n // 32) * 16, dtype=np.uint64)
    words = _threefry(seed & 0xFFFFFFFF, seed >> 32, counters.astype(np.uint32), (counters >> 32).astype(np.uint32))
    return np.stack([word.reshape(-1, 16) for word in words], axis=1).reshape(-1)[:n]


def _threefry(key0: int, key1: int, x: Array, y: Array) -> tuple[Array, Array]:
    """Return the two words that Threefry-2x32 with 20 rounds makes of counters (x, y) and a key, all of 32 bits."""
    keys = [np.array([key], np.uint32) for key in (key0, key1, key0 ^ key1 ^ 0x1BD11BDA)]
    x, y = x + keys[0], y + keys[1]
    for i in range(20):
        turn = np.uint32((13, 15, 26, 6, 17, 29, 16, 24)[i % 8])
        x = x + y
        y = (y << turn | y >> (np.uint32(32) - turn)) ^ x
        if i % 4 == 3:
            part = i // 4 + 1
            x, y = x + keys[part % 3], y + keys[(part + 1) % 3] + np.uint32(part)
    return x, y


# Windows: unfolding images, and folding gradients back


def _conv_geometry(
    weight_shape: tuple[int, ...], stride: IntPair, padding: Padding, dilation: IntPair
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]:
    kernels = (weight_shape[2], weight_shape[3])
    paddings = resolve_padding(padding, kernels, dilation, stride)
    return kernels, pair(stride, "stride", 1), paddings, pair(dilation, "dilation", 1)


def _padded(x: Array, paddings: tuple[int, int], fill: float = 0) -> Array:
    return np.pad(x, ((0, 0), (0, 0), *((p, p) for p in paddings)), constant_values=fill)


def _windows(
    padded: Array,
    kernels: tuple[int, int],
    strides: tuple[int, int],
    dilations: tuple[int, int] = (1, 1),
    writeable: bool = False,
) -> Array:
    """Return the windows of an image that holds its padding already, as a view (N, C, KH, KW, H', W')."""
    reach = [(k - 1) * d + 1 for k, d in zip(kernels, dilations, strict=True)]
    windows = sliding_window_view(padded, reach, axis=(2, 3), writeable=writeable)
    windows = windows[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]
    return windows.transpose(0, 1, 4, 5, 2, 3)


def _taps(windows: Array) -> Iterator[Array]:
    """Yield the kernel's taps in row-major order, each the pixels (N, C, H', W') that it meets."""
    for row in range(windows.shape[2]):
        for column in range(windows.shape[3]):
            yield windows[:, :, row, column]


def _unpadded(padded: Array, paddings: tuple[int, int]) -> Array:
    """Return the image without its padding."""
    top, left = paddings
    return padded[:, :, top : padded.shape[2] - top, left : padded.shape[3] - left]


def _filters(weight: Array, groups: int) -> Iterator[Array]:
    """Yield the kernel's taps in row-major order, each a view (groups, K / groups, C / groups) of the weight."""
    by_group = weight.reshape(groups, -1, *weight.shape[1:])
    for row in range(weight.shape[2]):
        for column in range(weight.shape[3]):
            yield by_group[..., row, column]


def _matrices(images: Array, groups: int) -> Array:
    """Return images (N, C, H, W) as matrices (N, groups, C / groups, H·W)."""
    n, channels, height, width = images.shape
    return images.reshape(n, groups, channels // groups, height * width)


def _window_pixels(
    x_shape: tuple[int, ...],
    kernels: tuple[int, int],
    strides: tuple[int, int],
    paddings: tuple[int, int],
    count_include_pad: bool,
    dtype: DTypeLike,
) -> Array:
    """Return what a window's sum is divided by, broadcast against (N, C, H', W')."""
    if count_include_pad:
        return np.array(kernels[0] * kernels[1], dtype)
    inside: Array = np.ones((1, 1, *x_shape[2:]), dtype)
    counts: Array = _windows(_padded(inside, paddings), kernels, strides).sum(axis=(2, 3))
    return counts


def _by_channel(values: Array, x: Array) -> Array:
    """Return a value a channel, or one for all, as it broadcasts against x (N, C, …)."""
    return values.reshape(-1, *(1 for _ in x.shape[2:]))


def _but_channels(x: Array) -> tuple[int, ...]:
    return 0, *range(2, x.ndim)


def _deliver(result: Array, out: Array | None) -> Array:
    if out is None:
        return result
    out[...] = result
    return out


def _deliver_all(results: Gradients, outs: Outs) -> Gradients:
    first, second, third = (
        None if result is None else _deliver(result, out) for result, out in zip(results, outs, strict=True)
    )
    return first, second, third
