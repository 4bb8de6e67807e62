"""Windows of padded images, for convolution and pooling.

Tap (p, q) of every window, taken together, is a strided view of the padded image.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import EllipsisType

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cnnlib.reference.shared import Array
from cnnlib.shapes import PoolAxis

__all__ = ["pad", "pool_taps", "taps", "unpad", "windows_of"]

Place = tuple[EllipsisType, slice, slice]


def pad(x: Array, paddings: tuple[int, int], fill: float = 0) -> Array:
    """Return images (N, C, H, W) with so many rows and columns of `fill` on either side."""
    return np.pad(x, ((0, 0), (0, 0), *((p, p) for p in paddings)), constant_values=fill)


def windows_of(
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


def taps(windows: Array) -> Iterator[Array]:
    """Yield the kernel's taps in row-major order, each the pixels (N, C, H', W') that it meets."""
    for row in range(windows.shape[2]):
        for column in range(windows.shape[3]):
            yield windows[:, :, row, column]


def unpad(padded: Array, paddings: tuple[int, int]) -> Array:
    """Return the image without its rows and columns of padding."""
    top, left = paddings
    return padded[:, :, top : padded.shape[2] - top, left : padded.shape[3] - left]


def pool_taps(
    x_shape: tuple[int, ...], shape: tuple[int, ...], axes: tuple[PoolAxis, PoolAxis]
) -> Iterator[tuple[int, Place, Place]]:
    """Yield each tap's number in row-major order, and which outputs read through it which pixels of the image.

    Images (N, C, H, W) are read at [outputs] and [pixels] of equal sizes; what lies outside of the image is no pixel.
    """
    rows, columns = (
        [
            (tap, *meeting)
            for tap in range(min(axis.kernel, (size - 1 + axis.before) // axis.dilation + 1))
            if (meeting := _meeting(axis, tap, size, outputs))
        ]
        for axis, size, outputs in zip(axes, x_shape[2:], shape[2:], strict=True)
    )
    for row, down, above in rows:
        for column, across, left in columns:
            yield row * axes[1].kernel + column, (..., down, across), (..., above, left)


def _meeting(axis: PoolAxis, tap: int, size: int, outputs: int) -> tuple[slice, slice] | None:
    """Return which outputs along an axis read which pixels through a tap of their windows; None if there are none."""
    from_edge = tap * axis.dilation - axis.before  # of output 0
    first = max(0, -(from_edge // axis.stride))
    last = min(outputs, (size - 1 - from_edge) // axis.stride + 1)
    if first >= last:
        return None
    begin = first * axis.stride + from_edge
    return slice(first, last), slice(begin, begin + (last - first - 1) * axis.stride + 1, axis.stride)
