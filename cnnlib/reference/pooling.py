"""Pooling and its gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cnnlib.reference.shared import Array, deliver
from cnnlib.reference.windows import pool_taps
from cnnlib.shapes import IntPair, PoolAxis, PoolPadding, pool2d_output_shape, pool2d_windows

__all__ = ["avg_pool2d", "avg_pool2d_backward", "max_pool2d", "max_pool2d_backward"]


def max_pool2d(
    x: Array,
    kernel_size: IntPair,
    stride: IntPair | None = None,
    padding: PoolPadding = 0,
    dilation: IntPair = 1,
    ceil_mode: bool = False,
    *,
    out: Array | None = None,
) -> Array:
    """Return the largest pixel of every window; a NaN in the window wins. Padding never wins.

    Shapes: x (N, C, H, W), result (N, C, H', W'); stride None means the kernel's size. With ceil_mode H' is rounded up:
    the last window may reach beyond the padding, but begins before it. Pixels of a window are `dilation` apart.
    Raises ConfigError for padding above half the kernel, ShapeError if no window fits.

    >>> x = np.array([[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4.0]])
    >>> max_pool2d(x[None, None], 2)[0, 0].tolist()
    [[6.0, 8.0], [3.0, 4.0]]
    """
    shape = pool2d_output_shape(x.shape, kernel_size, stride, padding, dilation, ceil_mode)
    axes = pool2d_windows(kernel_size, stride, padding, dilation)
    result = np.full(shape, -np.inf, x.dtype)
    for _, outputs, pixels in pool_taps(x.shape, shape, axes):
        result[outputs] = np.maximum(result[outputs], x[pixels])
    return deliver(result, out)


def max_pool2d_backward(
    grad_output: Array,
    x: Array,
    kernel_size: IntPair,
    stride: IntPair | None = None,
    padding: PoolPadding = 0,
    dilation: IntPair = 1,
    ceil_mode: bool = False,
    *,
    out: Array | None = None,
) -> Array:
    """Return the gradient of max-pooling: each window's gradient goes to its largest pixel; windows may share one.

    Of equal pixels the first in row-major order of the window counts, of NaN the last (PyTorch's rule).
    Shapes: grad_output (N, C, H', W') as `max_pool2d` returns, x and the result (N, C, H, W).

    >>> max_pool2d_backward(np.array([[[[5.0]]]]), np.array([[[[1.0, 3.0], [3.0, 2.0]]]]), 2)[0, 0].tolist()
    [[0.0, 5.0], [0.0, 0.0]]
    """
    shape, axes = grad_output.shape, pool2d_windows(kernel_size, stride, padding, dilation)
    best = np.full(shape, -np.inf, x.dtype)
    winner = np.full(shape, -1)
    for tap, outputs, pixels in pool_taps(x.shape, shape, axes):
        value = x[pixels]
        better = (value > best[outputs]) | np.isnan(value) | (winner[outputs] < 0)
        best[outputs] = np.where(better, value, best[outputs])
        winner[outputs] = np.where(better, tap, winner[outputs])
    grad_x = np.zeros_like(x)
    for tap, outputs, pixels in pool_taps(x.shape, shape, axes):
        grad_x[pixels] += np.where(winner[outputs] == tap, grad_output[outputs], 0)
    return deliver(grad_x, out)


def avg_pool2d(
    x: Array,
    kernel_size: IntPair,
    stride: IntPair | None = None,
    padding: PoolPadding = 0,
    count_include_pad: bool = True,
    ceil_mode: bool = False,
    dilation: IntPair = 1,
    *,
    out: Array | None = None,
) -> Array:
    """Return the mean of every window: its sum over how many of its pixels are in image and padding, or in the image.

    Shapes: x (N, C, H, W), result (N, C, H', W'); stride None means the kernel's size; ceil_mode and dilation as in
    `max_pool2d`. Raises ConfigError for padding above half the kernel, ShapeError if no window fits.

    >>> avg_pool2d(np.ones((1, 1, 2, 2)), 2, padding=1).tolist()
    [[[[0.25, 0.25], [0.25, 0.25]]]]
    """
    shape = pool2d_output_shape(x.shape, kernel_size, stride, padding, dilation, ceil_mode)
    axes = pool2d_windows(kernel_size, stride, padding, dilation)
    result = np.zeros(shape, x.dtype)
    for _, outputs, pixels in pool_taps(x.shape, shape, axes):
        result[outputs] += x[pixels]
    result /= _counts(x.shape, shape, axes, count_include_pad, x.dtype)
    return deliver(result, out)


def avg_pool2d_backward(
    grad_output: Array,
    x: Array | Sequence[int],
    kernel_size: IntPair,
    stride: IntPair | None = None,
    padding: PoolPadding = 0,
    count_include_pad: bool = True,
    ceil_mode: bool = False,
    dilation: IntPair = 1,
    *,
    out: Array | None = None,
) -> Array:
    """Return the gradient of average-pooling: each window's gradient is shared equally by its pixels.

    Shapes: grad_output (N, C, H', W') as `avg_pool2d` returns; x the input or its shape (N, C, H, W), as the result.

    >>> avg_pool2d_backward(np.array([[[[4.0]]]]), (1, 1, 2, 3), 2)[0, 0].tolist()
    [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]
    """
    x_shape = x.shape if isinstance(x, np.ndarray) else tuple(x)
    shape, axes = grad_output.shape, pool2d_windows(kernel_size, stride, padding, dilation)
    share = grad_output / _counts(x_shape, shape, axes, count_include_pad, grad_output.dtype)
    grad_x = np.zeros(x_shape, grad_output.dtype)
    for _, outputs, pixels in pool_taps(x_shape, shape, axes):
        grad_x[pixels] += share[outputs]
    return deliver(grad_x, out)


def _counts(
    x_shape: tuple[int, ...],
    shape: tuple[int, ...],
    axes: tuple[PoolAxis, PoolAxis],
    padded: bool,
    dtype: np.dtype[Any],
) -> Array:
    """Return what a window's sum is divided by, H' × W'; 1 where dilated windows have no pixel at all."""
    rows, columns = (
        axis.counts(size, outputs, padded) for size, outputs, axis in zip(x_shape[2:], shape[2:], axes, strict=True)
    )
    return np.maximum(1, np.outer(rows, columns)).astype(dtype)
