"""Pooling and its gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from cnnlib.reference.shared import Array, deliver
from cnnlib.reference.windows import pad, taps, unpad, windows_of
from cnnlib.shapes import IntPair, pool2d_geometry, pool2d_output_shape

__all__ = ["avg_pool2d", "avg_pool2d_backward", "max_pool2d", "max_pool2d_backward"]


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
    for tap in taps(windows_of(pad(x, paddings, fill=-np.inf), kernels, strides)):
        np.maximum(result, tap, out=result)
    return deliver(result, out)


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
    windows = windows_of(pad(x, paddings), kernels, strides)
    inside = windows_of(pad(np.ones((1, 1, *x.shape[2:]), bool), paddings), kernels, strides)
    best = np.full(grad_output.shape, -np.inf, x.dtype)
    winner = np.full(grad_output.shape, -1)
    for tap, (value, valid) in enumerate(zip(taps(windows), taps(inside), strict=True)):
        better = valid & ((value > best) | np.isnan(value) | (winner < 0))
        best = np.where(better, value, best)
        winner = np.where(better, tap, winner)
    padded = pad(np.zeros_like(x), paddings)
    for tap, pixels in enumerate(taps(windows_of(padded, kernels, strides, writeable=True))):
        pixels += np.where(winner == tap, grad_output, 0)
    return deliver(unpad(padded, paddings), out)


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
    for tap in taps(windows_of(pad(x, paddings), kernels, strides)):
        result += tap
    result /= _window_pixels(x.shape, kernels, strides, paddings, count_include_pad, x.dtype)
    return deliver(result, out)


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
    padded = pad(np.zeros(x_shape, grad_output.dtype), paddings)
    for pixels in taps(windows_of(padded, kernels, strides, writeable=True)):
        pixels += share
    return deliver(unpad(padded, paddings), out)


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
    counts: Array = windows_of(pad(inside, paddings), kernels, strides).sum(axis=(2, 3))
    return counts
