"""Lp-pooling, the norm of every window, and its gradient, by the kernels of average-pooling."""

from __future__ import annotations

from typing import Any

import numpy as np

from cnnlib import _kernels, reference
from cnnlib.arrays import as_array, expect_shape, flag, number, output
from cnnlib.functional.pooling import pool_options, undilated
from cnnlib.functional.shared import instance
from cnnlib.reference import Array
from cnnlib.shapes import IntPair, PoolAxis, PoolPadding, pool2d_output_shape, pool2d_windows

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
    """Return the norm (Σ |x|^p)^(1/p) of every window, with p = norm_type of at least 1; padding counts as 0.

    Shapes, padding, ceil_mode and dilation: as `max_pool2d`. PyTorch leaves out the bars, which is the same for even p
    and for x >= 0.

    >>> lp_pool2d(np.array([[[[3.0, 0.0], [-4.0, 0.0]]]]), 2, 2).tolist()
    [[[[5.0]]]]
    """
    x, p = as_array(x, "x", 4), number(norm_type, "norm_type", 1)
    ceil_mode = flag(ceil_mode, "ceil_mode")
    result = output(out, "out", pool2d_output_shape(x.shape, kernel_size, stride, padding, dilation, ceil_mode), x)
    axes = pool2d_windows(kernel_size, stride, padding, dilation)
    with np.errstate(all="ignore"):
        if not undilated(axes):
            settings = p, kernel_size, stride, ceil_mode
            return reference.lp_pool2d(x, *settings, padding=padding, dilation=dilation, out=result)
        instance(_kernels.avg_pool2d_forward, x)(result, np.abs(x) ** p, _sum_options(axes))
        result *= axes[0].kernel * axes[1].kernel
        return np.power(result, 1 / p, out=result)


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
    """Return the gradient of `lp_pool2d`: Σ g y^(1-p) over a pixel's windows, times |x|^(p-1) sign(x).

    Windows whose norm is 0 give none. Shapes: grad_output and y, what `lp_pool2d` returned, (N, C, H', W'); x and the
    result (N, C, H, W).

    >>> x, y = np.array([[[[3.0, 0.0], [-4.0, 0.0]]]]), np.array([[[[5.0]]]])
    >>> lp_pool2d_backward(np.array([[[[10.0]]]]), x, y, 2, 2)[0, 0].tolist()
    [[6.0, 0.0], [-8.0, 0.0]]
    """
    x, p = as_array(x, "x", 4), number(norm_type, "norm_type", 1)
    grad_output, y = as_array(grad_output, "grad_output", 4, x), as_array(y, "y", 4, x)
    ceil_mode = flag(ceil_mode, "ceil_mode")
    shape = pool2d_output_shape(x.shape, kernel_size, stride, padding, dilation, ceil_mode)
    expect_shape(grad_output, "grad_output", shape, f"lp_pool2d's output for x {x.shape}")
    expect_shape(y, "y", shape, f"lp_pool2d's output for x {x.shape}")
    result = output(out, "out", x.shape, grad_output, x, y)
    axes = pool2d_windows(kernel_size, stride, padding, dilation)
    with np.errstate(all="ignore"):
        if not undilated(axes):
            settings = p, kernel_size, stride, ceil_mode
            more: dict[str, Any] = {"padding": padding, "dilation": dilation, "out": result}
            return reference.lp_pool2d_backward(grad_output, x, y, *settings, **more)
        share = grad_output * np.power(y, 1 - p, out=np.zeros_like(y), where=y != 0)
        instance(_kernels.avg_pool2d_grad, x)(result, share, _sum_options(axes))
        result *= axes[0].kernel * axes[1].kernel * np.abs(x) ** (p - 1) * np.sign(x)
    return result


def _sum_options(axes: tuple[PoolAxis, PoolAxis]) -> tuple[int, ...]:
    """Return the options with which averages are sums over the kernel's area: no window ends beyond the padding."""
    height, width = (axis._replace(after=axis.kernel) for axis in axes)
    return pool_options((height, width), count_include_pad=True)
