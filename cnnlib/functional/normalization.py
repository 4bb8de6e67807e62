"""Batch normalisation and its gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from cnnlib import _kernels
from cnnlib.arrays import as_array, expect_shape, number, output, several, wanted
from cnnlib.functional.shared import as_channels, instance, with_channels
from cnnlib.reference import Array, Gradients, Needs, Outs

__all__ = ["batch_moments", "batch_norm", "batch_norm_backward"]


def batch_moments(x: Array) -> tuple[Array, Array]:
    """Return each channel's mean and (biased) variance over the batch, and over the pixels of images.

    μ_c = 1/M Σ x, σ²_c = 1/M Σ (x - μ_c)², where M = N·H·W. Shapes: x (N, C) or (N, C, …), the results (C,).

    >>> mean, var = batch_moments(np.array([[1.0, 5.0], [3.0, 5.0]]))
    >>> mean.tolist(), var.tolist()
    ([2.0, 5.0], [1.0, 0.0])
    """
    x = with_channels(x)
    mean, var = np.empty(x.shape[1], x.dtype), np.empty(x.shape[1], x.dtype)
    instance(_kernels.batch_moments, x)(mean, var, x.reshape(as_channels(x)))
    return mean, var


def batch_norm(
    x: Array,
    mean: Array,
    var: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
    *,
    out: Array | None = None,
) -> Array:
    """Return weight·(x - mean)/√(var + eps) + bias, channel by channel; without them weight is 1 and bias 0.

    Shapes: x and the result (N, C) or (N, C, …), the others (C,). Source: Ioffe and Szegedy, arXiv:1502.03167.

    >>> x = np.array([[1.0], [3.0]])
    >>> batch_norm(x, *batch_moments(x), eps=0.0).tolist()
    [[-1.0], [1.0]]
    """
    x = with_channels(x)
    mean, var, weight, bias = _channel_arrays(x, mean=mean, var=var, weight=weight, bias=bias)
    eps = number(eps, "eps")
    result = output(out, "out", x.shape, x, mean, var, weight, bias)
    shape = as_channels(x)
    instance(_kernels.batch_norm_forward, x)(
        result.reshape(shape), x.reshape(shape), mean, var, weight, bias, eps, False
    )
    return result


def batch_norm_backward(
    grad_output: Array,
    x: Array,
    mean: Array,
    var: Array,
    weight: Array | None = None,
    eps: float = 1e-5,
    *,
    needs: Needs = (True, True, True),
    out: Outs = (None, None, None),
) -> Gradients:
    """Return the gradients for (x, weight, bias), where `mean` and `var` are the moments of x, which depend on x.

    With g = grad_output, h = (x - μ)/√(σ² + eps) and ⟨·⟩ a channel's mean: ∂J/∂bias = Σ g, ∂J/∂weight = Σ g h,
    ∂J/∂x = weight/√(σ² + eps)·(g - ⟨g⟩ - h ⟨g h⟩). None where `needs` says so.

    >>> x = np.array([[1.0], [3.0]])
    >>> dx, dw, db = batch_norm_backward(np.array([[1.0], [2.0]]), x, *batch_moments(x), eps=0.0)
    >>> dx.tolist(), dw.tolist(), db.tolist()
    ([[0.0], [0.0]], [1.0], [3.0])
    """
    x = with_channels(x)
    grad_output = as_array(grad_output, "grad_output", like=x)
    expect_shape(grad_output, "grad_output", x.shape, "the shape of x")
    mean, var, weight = _channel_arrays(x, mean=mean, var=var, weight=weight)
    inputs, channels, shape = (grad_output, x, mean, var, weight), x.shape[1:2], as_channels(x)
    needs, out, eps = wanted(needs, 3), several(out, "out", 3), number(eps, "eps")
    grad_x = output(out[0], "out[0]", x.shape, *inputs) if needs[0] else None
    grad_weight = output(out[1], "out[1]", channels, *inputs, grad_x)
    grad_bias = output(out[2], "out[2]", channels, *inputs, grad_x, grad_weight)
    flat = None if grad_x is None else grad_x.reshape(shape), grad_weight, grad_bias
    arrays = grad_output.reshape(shape), x.reshape(shape), mean, var, weight
    instance(_kernels.batch_norm_grad, x)(*flat, *arrays, None, eps, False)
    return grad_x, grad_weight if needs[1] else None, grad_bias if needs[2] else None


def _channel_arrays(x: Array, **arrays: Array | None) -> list[Any]:
    """Return arrays of one value a channel, None where there is no weight or bias."""
    given = {
        name: None if array is None and name in ("weight", "bias") else as_array(array, name, 1, x)
        for name, array in arrays.items()
    }
    for name, array in given.items():
        if array is not None:
            expect_shape(array, name, x.shape[1:2], f"one value for each channel of x {x.shape}")
    return list(given.values())
