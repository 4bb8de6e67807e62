"""Layer normalisation and its gradients."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from cnnlib.arrays import as_array, number, output, whole
from cnnlib.errors import ConfigError, ShapeError
from cnnlib.functional.norm_views import View, gradient_arguments, gradients, moments, normalize, parameters, scale
from cnnlib.reference import Array, Gradients, Needs, Outs

__all__ = ["layer_norm", "layer_norm_backward"]


def layer_norm(
    x: Array,
    normalized_shape: int | Sequence[int],
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
    *,
    out: Array | None = None,
) -> Array:
    """Return weight·(x - μ)/√(σ² + eps) + bias, μ and σ² being those of the last dimensions, normalized_shape.

    Shapes: x and the result (…, *normalized_shape), weight and bias normalized_shape, None for 1 and 0. Source: Ba et
    al., arXiv:1607.06450.

    >>> layer_norm(np.array([[1.0, 3.0]]), 2, weight=np.array([1.0, 5.0]), eps=0.0).tolist()
    [[-1.0, 5.0]]
    """
    x, weight, bias, rows = _rows(x, normalized_shape, weight, bias)
    result, eps = output(out, "out", x.shape, x, weight, bias), number(eps, "eps", 0)
    normalize(result, x, rows, *moments(x, rows), None, None, eps)
    if weight is not None or bias is not None:
        scale(result, result, (rows[1], rows[2], 1), weight, bias)
    return result


def layer_norm_backward(
    grad_output: Array,
    x: Array,
    normalized_shape: int | Sequence[int],
    weight: Array | None = None,
    eps: float = 1e-5,
    *,
    needs: Needs = (True, True, True),
    out: Outs = (None, None, None),
) -> Gradients:
    """Return the gradients of `layer_norm` for (x, weight, bias), None where `needs` says so.

    As `group_norm_backward`'s, with ⟨·⟩ the mean over the last dimensions and Σ the sum over all others.

    >>> dx, dw, db = layer_norm_backward(np.array([[1.0, 2.0]]), np.array([[1.0, 3.0]]), 2, eps=0.0)
    >>> dx.tolist(), dw.tolist(), db.tolist()
    ([[0.0, 0.0]], [-1.0, 2.0], [1.0, 2.0])
    """
    x, weight, _, rows = _rows(x, normalized_shape, weight, None)
    shape, columns = x.shape[x.ndim - len(_sizes(normalized_shape)) :], (rows[1], rows[2], 1)
    grad_output, needs, outs, eps = gradient_arguments(grad_output, x, shape, weight, needs, out, eps)
    mean, var = moments(x, rows)
    buffer = np.empty_like(x)
    if needs[0]:
        if weight is not None:
            scale(buffer, grad_output, columns, weight, None)
        gradients(outs[0], grad_output if weight is None else buffer, x, rows, mean, var, eps)
    if needs[1] or needs[2]:
        normalize(buffer, x, rows, mean, var, None, None, eps)
        zeros, ones = np.zeros(rows[2], x.dtype), np.ones(rows[2], x.dtype)
        sums = gradients(None, grad_output, buffer, columns, zeros, ones, 0.0)
        for total, values in zip(outs[1:], sums, strict=True):
            if total is not None:
                total[...] = values.reshape(shape)
    return outs


def _sizes(normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    sizes = normalized_shape if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
    if not sizes:
        raise ConfigError("normalized_shape is empty: expected the sizes of the last dimensions")
    return tuple(whole(size, "normalized_shape", 1) for size in sizes)


def _rows(
    x: Array, normalized_shape: int | Sequence[int], weight: Array | None, bias: Array | None
) -> tuple[Array, Array | None, Array | None, View]:
    """Return the checked arrays, and x as the kernels see it: each row is normalised."""
    x, sizes = as_array(x, "x"), _sizes(normalized_shape)
    if x.shape[-len(sizes) :] != sizes:
        raise ShapeError(f"x has shape {x.shape}: its last dimensions are not normalized_shape = {sizes}")
    weight, bias = parameters(sizes, "normalized_shape", x, weight=weight, bias=bias)
    return x, weight, bias, (1, x.size // prod(sizes), prod(sizes))
