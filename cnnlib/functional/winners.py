"""Max-pooling that remembers where each maximum was, for its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cnnlib import _kernels
from cnnlib.arrays import as_array, expect_shape, flag, output
from cnnlib.errors import ConfigError, DTypeError, ShapeError
from cnnlib.functional.pooling import pool_call, undilated
from cnnlib.functional.shared import instance
from cnnlib.reference import Array
from cnnlib.shapes import IntPair, PoolAxis, PoolPadding, pool2d_windows
from cnnlib.shapes.sizes import image_shape

__all__ = ["MOST_POSITIONS", "max_pool2d_winners", "max_pool2d_winners_backward"]

#: The largest window whose positions a byte tells apart, 255 itself being kept for "none".
MOST_POSITIONS = 255


def max_pool2d_winners(
    x: Array,
    kernel_size: IntPair,
    stride: IntPair | None = None,
    padding: PoolPadding = 0,
    dilation: IntPair = 1,
    ceil_mode: bool = False,
    *,
    out: Array | None = None,
) -> tuple[Array, Array]:
    """Return `max_pool2d` of x, and its winners for `max_pool2d_winners_backward`, which need much less room than x.

    The winners are the largest pixels' positions in their windows, a byte each, in the order in which kernels of the
    instruction set in use like them. Raises ConfigError for windows of more than 255 pixels, which a byte cannot count,
    and for dilated ones.

    >>> max_pool2d_winners(np.array([[[[1.0, 3.0], [2.0, 0.0]]]]), 2)[0].tolist()
    [[[[3.0]]]]
    """
    x = as_array(x, "x", 4)
    axes = _windows(kernel_size, stride, padding, dilation)
    shape, options = pool_call(x.shape, axes, flag(ceil_mode, "ceil_mode"))
    result = output(out, "out", shape, x)
    winners = np.empty(_winners(x.shape, shape, x.dtype), np.uint8)
    instance(_kernels.max_pool2d_forward, x)(result, winners, x, options)
    return result, winners


def max_pool2d_winners_backward(
    grad_output: Array,
    winners: Array,
    x_shape: Sequence[int],
    kernel_size: IntPair,
    stride: IntPair | None = None,
    padding: PoolPadding = 0,
    dilation: IntPair = 1,
    ceil_mode: bool = False,
    *,
    out: Array | None = None,
) -> Array:
    """Return the gradient of `max_pool2d` by the winners that `max_pool2d_winners` returned: `max_pool2d_backward`'s.

    >>> _, winners = max_pool2d_winners(np.array([[[[1.0, 3.0], [3.0, 2.0]]]]), 2)
    >>> max_pool2d_winners_backward(np.array([[[[5.0]]]]), winners, (1, 1, 2, 2), 2)[0, 0].tolist()
    [[0.0, 5.0], [0.0, 0.0]]
    """
    grad_output = as_array(grad_output, "grad_output", 4)
    x_shape, axes = image_shape(x_shape, "x"), _windows(kernel_size, stride, padding, dilation)
    shape, options = pool_call(x_shape, axes, flag(ceil_mode, "ceil_mode"))
    expect_shape(grad_output, "grad_output", shape, f"max_pool2d's output for x {x_shape}")
    result = output(out, "out", x_shape, grad_output)
    if not isinstance(winners, np.ndarray) or winners.dtype != np.uint8 or not winners.flags.c_contiguous:
        raise DTypeError("winners are not the array of bytes that max_pool2d_winners returned")
    if winners.shape != (_winners(x_shape, shape, grad_output.dtype),):
        raise ShapeError(f"winners have shape {winners.shape}: not those of x {x_shape} on this instruction set")
    instance(_kernels.max_pool2d_grad, grad_output)(result, grad_output, None, winners, options)
    return result


def _winners(x_shape: Sequence[int], shape: Sequence[int], dtype: np.dtype[Any]) -> int:
    """How many winners there are: planes fill up vectors."""
    lanes = _kernels.lanes() * 4 // dtype.itemsize
    return -(-x_shape[0] * x_shape[1] // lanes) * lanes * shape[2] * shape[3]


def _windows(
    kernel_size: IntPair, stride: IntPair | None, padding: PoolPadding, dilation: IntPair
) -> tuple[PoolAxis, PoolAxis]:
    axes = pool2d_windows(kernel_size, stride, padding, dilation)
    if axes[0].kernel * axes[1].kernel > MOST_POSITIONS or not undilated(axes):
        raise ConfigError(
            f"kernel_size = {kernel_size}, dilation = {dilation}: winners of more than {MOST_POSITIONS} pixels take "
            "more than bytes, and those of dilated windows are not kept"
        )
    return axes
