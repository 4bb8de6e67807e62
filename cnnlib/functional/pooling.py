"""Pooling and its gradients."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from cnnlib import _kernels, reference
from cnnlib.arrays import as_array, expect_shape, flag, output
from cnnlib.functional.shared import instance
from cnnlib.reference import Array
from cnnlib.shapes import IntPair, PoolAxis, PoolPadding, pool2d_windows
from cnnlib.shapes.pooling import pooled_shape
from cnnlib.shapes.sizes import image_shape

__all__ = [
    "avg_pool2d",
    "avg_pool2d_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "pool_call",
    "pool_options",
    "undilated",
]


def undilated(axes: tuple[PoolAxis, PoolAxis]) -> bool:
    """Whether the pixels of a window are neighbours: the kernels' case; the definition serves for the rare others."""
    return axes[0].dilation == axes[1].dilation == 1


def pool_options(
    axes: tuple[PoolAxis, PoolAxis], count_include_pad: bool = False, lanes: bool = False
) -> tuple[int, ...]:
    """Return what a kernel is told of a pool: its windows, what its average counts, and how its arrays lie."""
    kernels, strides, befores, afters, _ = zip(*axes, strict=True)
    return *kernels, *strides, *befores, *afters, int(count_include_pad), int(lanes)


@lru_cache(maxsize=256)  # what calls that are alike have in common
def pool_call(
    x_shape: tuple[int, ...], axes: tuple[PoolAxis, PoolAxis], ceil_mode: bool, count_include_pad: bool = False
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return a pool's output shape and the options of its kernel; raises ShapeError if no window fits."""
    return pooled_shape(x_shape, axes, ceil_mode), pool_options(axes, count_include_pad)


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
    """Return the largest pixel of every window; a NaN in the window wins, padding never does.

    Shapes: x (N, C, H, W), result (N, C, H', W') with H' = ⌊(H + 2·padding - dilation·(KH - 1) - 1)/stride⌋ + 1, or
    rounded up with ceil_mode, but for windows that would begin beyond the image and the padding before it; stride None
    means the kernel's size. padding: an int or a pair, at most half the kernel, or (top, left, bottom, right), each
    smaller than the kernel; ConfigError otherwise.

    >>> max_pool2d(np.array([[[[1.0, 3.0], [2.0, 0.0]]]]), 2).tolist()
    [[[[3.0]]]]
    """
    x = as_array(x, "x", 4)
    settings = kernel_size, stride, padding, dilation, flag(ceil_mode, "ceil_mode")
    axes = pool2d_windows(kernel_size, stride, padding, dilation)
    shape, options = pool_call(x.shape, axes, settings[-1])
    result = output(out, "out", shape, x)
    if not undilated(axes):
        return reference.max_pool2d(x, *settings, out=result)
    instance(_kernels.max_pool2d_forward, x)(result, None, x, options)
    return result


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
    """Return the gradient of `max_pool2d`: to each window's largest pixel, the first of equal ones, the last NaN.

    Shapes: grad_output (N, C, H', W') as `max_pool2d` returns; x and the result (N, C, H, W).

    >>> max_pool2d_backward(np.array([[[[5.0]]]]), np.array([[[[1.0, 3.0], [3.0, 2.0]]]]), 2)[0, 0].tolist()
    [[0.0, 5.0], [0.0, 0.0]]
    """
    x = as_array(x, "x", 4)
    grad_output = as_array(grad_output, "grad_output", 4, x)
    settings = kernel_size, stride, padding, dilation, flag(ceil_mode, "ceil_mode")
    axes = pool2d_windows(kernel_size, stride, padding, dilation)
    shape, options = pool_call(x.shape, axes, settings[-1])
    expect_shape(grad_output, "grad_output", shape, f"max_pool2d's output for x {x.shape}")
    result = output(out, "out", x.shape, grad_output, x)
    if not undilated(axes):
        return reference.max_pool2d_backward(grad_output, x, *settings, out=result)
    instance(_kernels.max_pool2d_grad, x)(result, grad_output, x, None, options)
    return result


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
    """Return the mean of every window: its sum over its pixels in image and padding, or over those inside the image.

    Shapes, padding, ceil_mode and dilation: as `max_pool2d`.

    >>> avg_pool2d(np.array([[[[1.0, 3.0], [2.0, 0.0]]]]), 2).tolist()
    [[[[1.5]]]]
    """
    x = as_array(x, "x", 4)
    count_include_pad, ceil_mode = flag(count_include_pad, "count_include_pad"), flag(ceil_mode, "ceil_mode")
    axes = pool2d_windows(kernel_size, stride, padding, dilation)
    shape, options = pool_call(x.shape, axes, ceil_mode, count_include_pad)
    result = output(out, "out", shape, x)
    if not undilated(axes):
        settings = kernel_size, stride, padding, count_include_pad, ceil_mode, dilation
        return reference.avg_pool2d(x, *settings, out=result)
    instance(_kernels.avg_pool2d_forward, x)(result, x, options)
    return result


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
    """Return the gradient of `avg_pool2d`: each window's gradient shared equally by its pixels.

    Shapes: grad_output (N, C, H', W') as `avg_pool2d` returns; x the input or its shape (N, C, H, W), as the result.

    >>> avg_pool2d_backward(np.array([[[[4.0]]]]), (1, 1, 2, 3), 2)[0, 0].tolist()
    [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]
    """
    grad_output = as_array(grad_output, "grad_output", 4)
    x_shape = x.shape if isinstance(x, np.ndarray) else image_shape(x, "x")
    count_include_pad, ceil_mode = flag(count_include_pad, "count_include_pad"), flag(ceil_mode, "ceil_mode")
    axes = pool2d_windows(kernel_size, stride, padding, dilation)
    shape, options = pool_call(x_shape, axes, ceil_mode, count_include_pad)
    expect_shape(grad_output, "grad_output", shape, f"avg_pool2d's output for x {x_shape}")
    result = output(out, "out", x_shape, grad_output)
    if not undilated(axes):
        settings = kernel_size, stride, padding, count_include_pad, ceil_mode, dilation
        return reference.avg_pool2d_backward(grad_output, x_shape, *settings, out=result)
    instance(_kernels.avg_pool2d_grad, grad_output)(result, grad_output, options)
    return result
