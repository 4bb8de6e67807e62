"""What the families share: the instance of a kernel, and the shapes that kernels see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cnnlib import _kernels
from cnnlib.arrays import ELEMENTS, as_array, expect_shape, output, unless_same
from cnnlib.errors import ShapeError
from cnnlib.reference import Array

__all__ = ["as_channels", "curve", "curve_backward", "each", "each_backward", "instance", "with_channels"]


def instance(function: Any, like: Array) -> Callable[..., Any]:
    """Return the instance of a kernel for an array's element type."""
    typed: Callable[..., Any] = function[ELEMENTS[like.dtype]]
    return typed


def each(kernel: Any, x: Array, out: Array | None, *settings: float) -> Array:
    """Return what a kernel gives for x element by element."""
    x = as_array(x, "x")
    result = output(out, "out", x.shape, unless_same(x, out))
    instance(kernel, x)(result.reshape(-1), x.reshape(-1), *settings)
    return result


def each_backward(kernel: Any, grad_output: Array, kept: Array, name: str, out: Array | None) -> Array:
    """Return the gradient of an element-wise function from that of its output and the array that forward kept."""
    kept, grad_output, result = _gradient_arrays(grad_output, kept, name, out)
    instance(kernel, kept)(result.reshape(-1), grad_output.reshape(-1), kept.reshape(-1))
    return result


def curve(kind: int, x: Array, out: Array | None, a: float = 0.0, b: float = 0.0) -> Array:
    """Return the activation `kind` of x, which has the parameters a and b."""
    x = as_array(x, "x")
    result = output(out, "out", x.shape, unless_same(x, out))
    instance(_kernels.activation, x)(result.reshape(-1), None, x.reshape(-1), kind, a, b)
    return result


def curve_backward(
    kind: int, grad_output: Array, kept: Array, out: Array | None, a: float = 0.0, b: float = 0.0, name: str = "x"
) -> Array:
    """Return the gradient of `curve`'s x; sigmoid and tanh keep their output "y", all others their input."""
    kept, grad_output, result = _gradient_arrays(grad_output, kept, name, out)
    instance(_kernels.activation, kept)(result.reshape(-1), grad_output.reshape(-1), kept.reshape(-1), kind, a, b)
    return result


def _gradient_arrays(grad_output: Array, kept: Array, name: str, out: Array | None) -> tuple[Array, Array, Array]:
    kept = as_array(kept, name)
    grad_output = as_array(grad_output, "grad_output", like=kept)
    expect_shape(grad_output, "grad_output", kept.shape, f"the shape of {name}")
    return kept, grad_output, output(out, "out", kept.shape, unless_same(kept, out), unless_same(grad_output, out))


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
