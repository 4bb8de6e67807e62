"""What the families share: the instance of a kernel, and the shapes that kernels see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cnnlib.arrays import ELEMENTS, as_array, number, output, unless_same
from cnnlib.errors import ShapeError
from cnnlib.reference import Array

__all__ = ["as_channels", "each", "instance", "with_channels"]


def instance(function: Any, like: Array) -> Callable[..., Any]:
    """Return the instance of a kernel for an array's element type."""
    typed: Callable[..., Any] = function[ELEMENTS[like.dtype]]
    return typed


def each(kernel: Any, x: Array, out: Array | None, **settings: float) -> Array:
    """Return what a kernel gives for x element by element."""
    x, numbers = as_array(x, "x"), [number(value, name) for name, value in settings.items()]
    result = output(out, "out", x.shape, unless_same(x, out))
    instance(kernel, x)(result.reshape(-1), x.reshape(-1), *numbers)
    return result


def with_channels(x: Array) -> Array:
    """Return `x` as `as_array` does, after checking that it has a dimension of channels."""
    x = as_array(x, "x")
    if x.ndim < 2:
        raise ShapeError(f"x has shape {x.shape}: expected (N, C) or (N, C, …)")
    return x


def as_channels(x: Array, weight: Array | None = None) -> tuple[int, int, int]:
    """Return the shape in which a kernel sees x: samples, channels, pixels; one channel if all share one weight."""
    if weight is not None and weight.size == 1:
        return x.shape[0], 1, x[0].size
    return x.shape[0], x.shape[1], x[0, 0].size
