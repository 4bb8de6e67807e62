"""Windows of padded images, for convolution and pooling.

Tap (p, q) of every window, taken together, is a strided view of the padded image.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cnnlib.reference.shared import Array
from cnnlib.shapes import PoolAxis

__all__ = ["Axes", "pad", "pool_padded", "pool_unpadded", "pool_windows", "taps", "unpad", "windows_of"]

Axes = tuple[PoolAxis, PoolAxis]


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


def pool_padded(x: Array, shape: tuple[int, ...], axes: Axes, fill: float = 0) -> Array:
    """Return images with as much `fill` around them as outputs of that shape read."""
    rims = [
        (axis.before, max(0, (outputs - 1) * axis.stride + axis.reach - axis.before - size))
        for size, outputs, axis in zip(x.shape[2:], shape[2:], axes, strict=True)
    ]
    return np.pad(x, ((0, 0), (0, 0), *rims), constant_values=fill)


def pool_windows(padded: Array, shape: tuple[int, ...], axes: Axes, writeable: bool = False) -> Array:
    """Return the windows (N, C, KH, KW, H', W') of outputs of that shape, a view."""
    kernels, strides, dilations = ((axes[0][i], axes[1][i]) for i in (0, 1, 4))
    return windows_of(padded, kernels, strides, dilations, writeable)[..., : shape[2], : shape[3]]


def pool_unpadded(padded: Array, x_shape: tuple[int, ...], axes: Axes) -> Array:
    """Return the image without what is around it."""
    top, left = axes[0].before, axes[1].before
    return padded[:, :, top : top + x_shape[2], left : left + x_shape[3]]
