"""Pooling and its gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cnnlib import _kernels
from cnnlib.arrays import as_array, expect_shape, flag, output
from cnnlib.errors import ConfigError, DTypeError, ShapeError
from cnnlib.functional.shared import instance
from cnnlib.reference import Array
from cnnlib.shapes import IntPair, pool2d_geometry, pool2d_output_shape

__all__ = [
    "MOST_POSITIONS",
    "avg_pool2d",
    "avg_pool2d_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "max_pool2d_winners",
    "max_pool2d_winners_backward",
]

#: The largest window whose positions a byte tells apart, 255 itself being kept for "none".
MOST_POSITIONS = 255

_NCHW = 0  # the layout of arrays, as kernels are told: not lanes


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
    instance(_kernels.max_pool2d_forward, x)(result, None, x, _pool_options(kernel_size, stride, padding))
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
    instance(_kernels.max_pool2d_grad, x)(result, grad_output, x, None, _pool_options(kernel_size, stride, padding))
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
    winners = np.empty(_winners(x.shape, result.shape, x.dtype), np.uint8)
    instance(_kernels.max_pool2d_forward, x)(result, winners, x, options)
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
    expect_shape(grad_output, "grad_output", shape, f"max_pool2d's output for x {x_shape}")
    result = output(out, "out", x_shape, grad_output)
    options = _winner_options(kernel_size, stride, padding)
    if not isinstance(winners, np.ndarray) or winners.dtype != np.uint8 or not winners.flags.c_contiguous:
        raise DTypeError("winners are not the array of bytes that max_pool2d_winners returned")
    if winners.shape != (_winners(x_shape, shape, grad_output.dtype),):
        raise ShapeError(f"winners have shape {winners.shape}: not those of x {x_shape} on this instruction set")
    instance(_kernels.max_pool2d_grad, grad_output)(result, grad_output, None, winners, options)
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
    instance(_kernels.avg_pool2d_forward, x)(result, x, options)
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
    x_shape = x.shape if isinstance(x, np.ndarray) else x
    shape = pool2d_output_shape(x_shape, kernel_size, stride, padding)
    expect_shape(grad_output, "grad_output", shape, f"avg_pool2d's output for x {x_shape}")
    result = output(out, "out", x_shape, grad_output)
    options = _pool_options(kernel_size, stride, padding, count_include_pad)
    instance(_kernels.avg_pool2d_grad, grad_output)(result, grad_output, options)
    return result


def _winners(x_shape: Sequence[int], shape: Sequence[int], dtype: np.dtype[Any]) -> int:
    """How many winners there are: planes fill up vectors."""
    lanes = _kernels.lanes() * 4 // dtype.itemsize
    return -(-x_shape[0] * x_shape[1] // lanes) * lanes * shape[2] * shape[3]


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
    return *kernels, *strides, *paddings, flag(count_include_pad, "count_include_pad"), _NCHW
