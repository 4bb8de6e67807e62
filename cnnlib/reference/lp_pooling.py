"""Lp-pooling and its gradient."""

from __future__ import annotations

import numpy as np

from cnnlib.reference.shared import Array, deliver
from cnnlib.reference.windows import pool_taps
from cnnlib.shapes import IntPair, PoolPadding, pool2d_output_shape, pool2d_windows

__all__ = ["lp_pool2d", "lp_pool2d_backward"]


def lp_pool2d(
    x: Array,
    norm_type: float,
    kernel_size: IntPair,
    stride: IntPair | None = None,
    ceil_mode: bool = False,
    *,
    padding: PoolPadding = 0,
    dilation: IntPair = 1,
    out: Array | None = None,
) -> Array:
    """Return the norm (Σ |x|^p)^(1/p) of every window, p = norm_type; padding counts as 0. Shapes: as `max_pool2d`.

    >>> lp_pool2d(np.array([[[[3.0, 0.0], [-4.0, 0.0]]]]), 2, 2).tolist()
    [[[[5.0]]]]
    """
    shape = pool2d_output_shape(x.shape, kernel_size, stride, padding, dilation, ceil_mode)
    axes = pool2d_windows(kernel_size, stride, padding, dilation)
    result = np.zeros(shape, x.dtype)
    for _, outputs, pixels in pool_taps(x.shape, shape, axes):
        result[outputs] += np.abs(x[pixels]) ** norm_type
    return deliver(result ** (1 / norm_type), out)


def lp_pool2d_backward(
    grad_output: Array,
    x: Array,
    y: Array,
    norm_type: float,
    kernel_size: IntPair,
    stride: IntPair | None = None,
    ceil_mode: bool = False,
    *,
    padding: PoolPadding = 0,
    dilation: IntPair = 1,
    out: Array | None = None,
) -> Array:
    """Return the gradient of Lp-pooling: Σ g y^(1-p) over a pixel's windows, times |x|^(p-1) sign(x).

    Windows whose norm is 0 give none. Shapes: grad_output and y, what `lp_pool2d` returned, (N, C, H', W'); x and the
    result (N, C, H, W).

    >>> x, y = np.array([[[[3.0, 0.0], [-4.0, 0.0]]]]), np.array([[[[5.0]]]])
    >>> lp_pool2d_backward(np.array([[[[10.0]]]]), x, y, 2, 2)[0, 0].tolist()
    [[6.0, 0.0], [-8.0, 0.0]]
    """
    shape, axes = grad_output.shape, pool2d_windows(kernel_size, stride, padding, dilation)
    share = grad_output * np.where(y == 0, 0, np.where(y == 0, 1, y) ** (1 - norm_type))
    sums = np.zeros_like(x)
    for _, outputs, pixels in pool_taps(x.shape, shape, axes):
        sums[pixels] += share[outputs]
    return deliver(sums * np.abs(x) ** (norm_type - 1) * np.sign(x), out)
