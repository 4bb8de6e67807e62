"""Images read at other places."""

from __future__ import annotations

from typing import Literal

import numpy as np

from cnnlib import _kernels
from cnnlib.arrays import expect_shape, finite, plain
from cnnlib.errors import ConfigError, DTypeError, ShapeError
from cnnlib.reference import Array

__all__ = ["as_images", "warp"]

_PIXELS: dict[np.dtype[np.generic], Literal["float", "double", "uint8_t"]] = {
    np.dtype(np.uint8): "uint8_t",
    np.dtype(np.float32): "float",
    np.dtype(np.float64): "double",
}


def warp(x: Array, matrix: Array, displacement: Array | None = None, fill: float = 0.0) -> Array:
    """Return images whose pixel (i, j) is x at other coordinates, linear between the four pixels around there.

    They are column = m₀₀ j + m₀₁ i + m₀₂ + d₀[i, j] and row = m₁₀ j + m₁₁ i + m₁₂ + d₁[i, j], counted from the centre
    of the pixel in the upper left; around the image there is `fill`. Bytes are rounded to the nearest.
    Shapes: x and the result (N, C, H, W), uint8, float32 or float64; matrix (N, 2, 3), displacement (N, 2, H, W).

    >>> shift = np.array([[[1, 0, 0.5], [0, 1, 0]]])
    >>> warp(np.array([[[[0.0, 1.0, 3.0]]]]), shift).tolist()
    [[[[0.5, 2.0, 1.5]]]]
    """
    x, fill = as_images(x), finite(fill, "fill")
    if x.dtype == np.uint8 and not 0 <= fill <= 255:
        raise ConfigError(f"fill = {fill:g}: pixels of uint8 are 0 … 255")
    n, _, height, width = x.shape
    matrix = np.ascontiguousarray(matrix, np.float64)
    expect_shape(matrix, "matrix", (n, 2, 3), "two rows of a map for each image")
    if displacement is not None:
        displacement = np.ascontiguousarray(displacement, np.float32)
        expect_shape(displacement, "displacement", (n, 2, height, width), "columns and rows for each pixel")
    y = np.empty(x.shape, x.dtype)
    _kernels.warp[_PIXELS[x.dtype]](y, np.ascontiguousarray(x), matrix, displacement, fill)
    return y


def as_images(x: Array) -> Array:
    """Return `x` as a plain array, if it is a batch of images of one of the types that can be augmented."""
    x = plain(x, "x")
    if x.dtype not in _PIXELS:
        raise DTypeError(f"x has dtype {x.dtype}: expected images of uint8, float32 or float64")
    if x.ndim != 4 or x.size == 0:
        raise ShapeError(f"x has shape {x.shape}: expected images, (N, C, H, W)")
    return x
