"""Resizing of any axes, nearest or linear, and its gradient.

One axis after the other, each output a weighted sum of few elements: `cnnlib.interpolation` says of which.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cnnlib.arrays import as_array, expect_shape, flag, number, output
from cnnlib.interpolation import Rule, Taps, rule, taps
from cnnlib.reference import Array
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
    """Return x with its last axes resized, as ONNX's Resize does: nearest or linear interpolation.

    size: the new sizes of the last axes, or one for all but the first two. scale_factor: likewise, how much larger they
    become, ⌊scale·size⌋; where both are given, size is the output's, and coordinates go by scale_factor. roi: for
    "tf_crop_and_resize", the part (start, end) of each of these axes, of 0 … 1. For the others, see
    `cnnlib.interpolation`. Raises ConfigError for settings that are not known.

    >>> x = np.array([[[1.0, 2.0]]])
    >>> resize(x, 4).tolist(), resize(x, scale_factor=2, mode="linear").tolist()
    ([[[1.0, 1.0, 2.0, 2.0]]], [[[1.0, 1.25, 1.75, 2.0]]])
    """
    how = _rule(mode, coordinate_transformation_mode, nearest_mode, antialias, exclude_outside)
    filling = number(extrapolation_value, "extrapolation_value")
    x = as_array(x, "x")
    axes = resize_axes(x.shape, size, scale_factor, roi)
    kept = x.ndim - len(axes)
    result = output(out, "out", (*x.shape[:kept], *(axis.output for axis in axes)), x)
    y, outside = x, []
    for number_of, axis in enumerate(axes, kept):
        rows, _, beyond = taps(axis, how)
        y = _weighted(y, number_of, rows)
        if beyond.any():
            outside.append((number_of, beyond))
    np.copyto(result, y)
    for number_of, beyond in outside:
        np.moveaxis(result, number_of, 0)[beyond] = filling
    return result


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
    """Return the gradient of `resize`: each element gets the outputs' gradients by its weight in them.

    Shapes: grad_output as `resize` returns; x the input or its shape, as the result.

    >>> resize_backward(np.array([[[1.0, 2.0, 3.0, 4.0]]]), (1, 1, 2), 4).tolist()
    [[[3.0, 7.0]]]
    """
    how = _rule(mode, coordinate_transformation_mode, nearest_mode, antialias, exclude_outside)
    grad_output = as_array(grad_output, "grad_output")
    x_shape = x.shape if isinstance(x, np.ndarray) else x
    axes = resize_axes(x_shape, size, scale_factor, roi)
    kept = len(x_shape) - len(axes)
    shape = (*x_shape[:kept], *(axis.output for axis in axes))
    expect_shape(grad_output, "grad_output", shape, f"resize's output for x {x_shape}")
    result = output(out, "out", x_shape, grad_output)
    for number_of, axis in enumerate(axes, kept):
        grad_output = _weighted(grad_output, number_of, taps(axis, how)[1])
    np.copyto(result, grad_output)
    return result


def _rule(mode: Any, coordinates: Any, nearest_mode: Any, antialias: Any, exclude_outside: Any) -> Rule:
    antialias, exclude_outside = flag(antialias, "antialias"), flag(exclude_outside, "exclude_outside")
    return rule(mode, coordinates, nearest_mode, antialias, exclude_outside)


def _weighted(x: Array, axis: int, rows: Taps) -> Array:
    """Return the product of a nearly empty matrix with an axis of x."""
    across = (-1, *(1 for _ in x.shape[axis + 1 :]))
    result: Array | None = None
    for places, weights in zip(rows.places, rows.weights.astype(x.dtype), strict=True):
        part: Array = np.take(x, places, axis)
        if not (weights == 1).all():
            part *= weights.reshape(across)
        result = part if result is None else np.add(result, part, out=result)
    assert result is not None
    return result
