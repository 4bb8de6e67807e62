"""Resizing, and its gradient, by whole matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cnnlib.interpolation import Axis, rule, taps
from cnnlib.reference.shared import Array, deliver
from cnnlib.shapes import resize_axes

__all__ = ["resize", "resize_backward"]


def resize(
    x: Array,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    coordinate_transformation_mode: str = "half_pixel",
    nearest_mode: str = "round_prefer_floor",
    antialias: bool = False,
    exclude_outside: bool = False,
    roi: Sequence[tuple[float, float]] | None = None,
    extrapolation_value: float = 0.0,
    *,
    out: Array | None = None,
) -> Array:
    """Return x with its last axes resized: y = M x along each, with `cnnlib.interpolation`'s matrix M.

    size: the new sizes of the last axes, or one for all but the first two; scale_factor: likewise, how much larger they
    become. The others are ONNX's.

    >>> resize(np.array([[[1.0, 2.0]]]), 4, mode="linear").tolist()
    [[[1.0, 1.25, 1.75, 2.0]]]
    """
    settings = mode, coordinate_transformation_mode, nearest_mode, antialias, exclude_outside
    axes = resize_axes(x.shape, size, scale_factor, roi)
    result = x
    for number, axis in enumerate(axes, x.ndim - len(axes)):
        matrix, outside = _matrix(axis, settings)
        moved = np.tensordot(matrix.astype(x.dtype), result, (1, number))
        moved[outside] = extrapolation_value
        result = np.moveaxis(moved, 0, number)
    return deliver(np.ascontiguousarray(result), out)


def resize_backward(
    grad_output: Array,
    x: Array | Sequence[int],
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    coordinate_transformation_mode: str = "half_pixel",
    nearest_mode: str = "round_prefer_floor",
    antialias: bool = False,
    exclude_outside: bool = False,
    roi: Sequence[tuple[float, float]] | None = None,
    *,
    out: Array | None = None,
) -> Array:
    """Return the gradient of resizing: Mᵀ g along each axis. x: the input or its shape, as the result.

    >>> resize_backward(np.array([[[1.0, 2.0, 3.0, 4.0]]]), (1, 1, 2), 4).tolist()
    [[[3.0, 7.0]]]
    """
    settings = mode, coordinate_transformation_mode, nearest_mode, antialias, exclude_outside
    shape = x.shape if isinstance(x, np.ndarray) else tuple(x)
    axes = resize_axes(shape, size, scale_factor, roi)
    result = grad_output
    for number, axis in enumerate(axes, len(shape) - len(axes)):
        matrix = _matrix(axis, settings)[0].T
        result = np.moveaxis(np.tensordot(matrix.astype(grad_output.dtype), result, (1, number)), 0, number)
    return deliver(np.ascontiguousarray(result), out)


def _matrix(axis: Axis, settings: tuple[str, str, str, bool, bool]) -> tuple[Array, Array]:
    """Return M, outputs × inputs, and which outputs lie outside."""
    rows, _, outside = taps(axis, rule(*settings))
    matrix = np.zeros((axis.output, axis.size))
    np.add.at(matrix, (np.arange(axis.output), rows.places), rows.weights)
    return matrix, outside
