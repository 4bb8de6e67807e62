"""Softmax and its logarithm along one dimension, and their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from cnnlib import _kernels
from cnnlib.arrays import as_array, expect_shape, output, unless_same, whole
from cnnlib.errors import ShapeError
from cnnlib.functional.shared import instance
from cnnlib.reference import Array

__all__ = ["log_softmax", "log_softmax_backward", "softmax", "softmax_backward"]


def softmax(x: Array, dim: int = 1, *, out: Array | None = None) -> Array:
    """Return exp(x_i) / Σ_j exp(x_j) along `dim`, stable at any magnitude. `out` may be x.

    >>> softmax(np.array([[1000.0, 1000.0]])).tolist()
    [[0.5, 0.5]]
    """
    x = as_array(x, "x")
    return _by_rows(_kernels.softmax_forward, False, dim, output(out, "out", x.shape, unless_same(x, out)), x)


def softmax_backward(grad_output: Array, y: Array, dim: int = 1, *, out: Array | None = None) -> Array:
    """Return y_j (g_j - Σ_i g_i y_i) along `dim` for softmax's output y and g = grad_output. `out` may be either.

    >>> softmax_backward(np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]])).tolist()
    [[0.25, -0.25]]
    """
    y, grad_output = _alike(y, grad_output)
    result = output(out, "out", y.shape, unless_same(y, out), unless_same(grad_output, out))
    return _by_rows(_kernels.softmax_grad, False, dim, result, grad_output, y)


def log_softmax(x: Array, dim: int = 1, *, out: Array | None = None) -> Array:
    """Return x_i - log Σ_j exp(x_j) along `dim`, stable at any magnitude. `out` may be x.

    >>> log_softmax(np.array([[1000.0, 0.0]])).tolist()
    [[0.0, -1000.0]]
    """
    x = as_array(x, "x")
    return _by_rows(_kernels.softmax_forward, True, dim, output(out, "out", x.shape, unless_same(x, out)), x)


def log_softmax_backward(grad_output: Array, y: Array, dim: int = 1, *, out: Array | None = None) -> Array:
    """Return g_j - exp(y_j) Σ_i g_i along `dim` for log_softmax's output y and g = grad_output. `out` may be y.

    >>> log_softmax_backward(np.array([[1.0, 0.0]]), np.log(np.array([[0.5, 0.5]]))).tolist()
    [[0.5, -0.5]]
    """
    y, grad_output = _alike(y, grad_output)
    result = output(out, "out", y.shape, unless_same(y, out), grad_output)
    return _by_rows(_kernels.softmax_grad, True, dim, result, grad_output, y)


def _alike(y: Array, grad_output: Array) -> tuple[Array, Array]:
    y = as_array(y, "y")
    grad_output = as_array(grad_output, "grad_output", like=y)
    expect_shape(grad_output, "grad_output", y.shape, "the shape of y")
    return y, grad_output


def _by_rows(kernel: Any, log: bool, dim: int, result: Array, *arrays: Array) -> Array:
    """Fill `result` by a kernel of rows N × C; along another dimension than the last, on copies that are turned."""
    dim, rank = whole(dim, "dim", -arrays[0].ndim), arrays[0].ndim
    if dim >= rank:
        raise ShapeError(f"dim = {dim}: an array of shape {arrays[0].shape} has no such dimension")
    run = instance(kernel, result)
    if dim in (-1, rank - 1):
        # Scores N × C are rows already: small ones are done before an array could be reshaped.
        seen = (result, *arrays) if rank == 2 else [array.reshape(-1, array.shape[-1]) for array in (result, *arrays)]
        run(*seen, log)
        return result
    turned = [np.ascontiguousarray(np.moveaxis(array, dim, -1)) for array in arrays]
    target = np.empty_like(turned[0])
    run(*(array.reshape(-1, array.shape[-1]) for array in (target, *turned)), log)
    np.copyto(result, np.moveaxis(target, -1, dim))
    return result
