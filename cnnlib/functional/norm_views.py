"""Normalisation of each sample by itself, by the kernels of batch normalisation.

They see what is normalised together as a channel: (1, N·groups, size). Where a weight and a bias go by other numbers
than that, those are channels of a second view, of mean 0 and variance 1. No sample has any influence on another.
"""

from __future__ import annotations

import numpy as np

from cnnlib import _kernels
from cnnlib.arrays import as_array, expect_shape, number, output, several, wanted
from cnnlib.functional.shared import instance
from cnnlib.reference import Array, Needs, Outs

__all__ = ["View", "gradient_arguments", "gradients", "moments", "normalize", "parameters", "scale"]

View = tuple[int, int, int]  # samples, channels, values of each


def parameters(shape: tuple[int, ...], why: str, x: Array, **given: Array | None) -> list[Array | None]:
    """Return parameters, those that are given, after checking that they have the shape that is `why` they must."""
    arrays = [None if array is None else as_array(array, name, like=x) for name, array in given.items()]
    for array, name in zip(arrays, given, strict=True):
        if array is not None:
            expect_shape(array, name, shape, why)
    return arrays


def gradient_arguments(
    grad_output: Array, x: Array, shape: tuple[int, ...], weight: Array | None, needs: Needs, out: Outs, eps: float
) -> tuple[Array, Needs, Outs, float]:
    """Return the checked arguments, with an array for each gradient that is needed."""
    grad_output = as_array(grad_output, "grad_output", like=x)
    expect_shape(grad_output, "grad_output", x.shape, "the shape of x")
    needs, out = wanted(needs, 3), several(out, "out", 3)
    arrays: list[Array | None] = []
    for i, (need, given) in enumerate(zip(needs, out, strict=True)):
        to = x.shape if i == 0 else shape
        arrays.append(output(given, f"out[{i}]", to, x, grad_output, weight, *arrays) if need else None)
    return grad_output, needs, (arrays[0], arrays[1], arrays[2]), number(eps, "eps", 0)


def moments(x: Array, view: View) -> tuple[Array, Array]:
    """Return the mean and the variance of each channel of the view."""
    mean, var = np.empty(view[1], x.dtype), np.empty(view[1], x.dtype)
    instance(_kernels.batch_moments, x)(mean, var, x.reshape(view))
    return mean, var


def normalize(
    y: Array, x: Array, view: View, mean: Array, var: Array, weight: Array | None, bias: Array | None, eps: float
) -> None:
    """Put weight·(x - mean)/√(var + eps) + bias into y, which may be x, by the channels of the view."""
    arrays = y.reshape(view), x.reshape(view), mean, var, weight, bias
    instance(_kernels.batch_norm_forward, x)(*arrays, eps, False)


def scale(y: Array, x: Array, view: View, weight: Array | None, bias: Array | None) -> None:
    """Put weight·x + bias into y, which may be x, by the channels of a view."""
    zeros, ones = np.zeros(view[1], x.dtype), np.ones(view[1], x.dtype)
    weight, bias = (None if array is None else array.reshape(-1) for array in (weight, bias))
    normalize(y, x, view, zeros, ones, weight, bias, 0.0)


def gradients(
    dx: Array | None, dy: Array, x: Array, view: View, mean: Array, var: Array, eps: float
) -> tuple[Array, Array]:
    """Put the gradient for x into dx, without weights; return Σ dy h and Σ dy of each channel of the view."""
    dw, db = np.empty(view[1], x.dtype), np.empty(view[1], x.dtype)
    flat = None if dx is None else dx.reshape(view)
    arrays = flat, dw, db, dy.reshape(view), x.reshape(view), mean, var, None, None
    instance(_kernels.batch_norm_grad, x)(*arrays, eps, False)
    return dw, db
