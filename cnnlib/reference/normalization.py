"""Batch normalisation and its gradients."""

from __future__ import annotations

import numpy as np

from cnnlib.reference.shared import Array, Gradients, Needs, Outs, but_channels, by_channel, deliver, deliver_all

__all__ = ["batch_moments", "batch_norm", "batch_norm_backward"]


def batch_moments(x: Array) -> tuple[Array, Array]:
    """Return each channel's mean and (biased) variance over the batch, and over the pixels of images.

    μ_c = 1/M Σ x, σ²_c = 1/M Σ (x - μ_c)², where M = N·H·W. Shapes: x (N, C) or (N, C, …), the results (C,).

    >>> mean, var = batch_moments(np.array([[1.0, 5.0], [3.0, 5.0]]))
    >>> mean.tolist(), var.tolist()
    ([2.0, 5.0], [1.0, 0.0])
    """
    return x.mean(axis=but_channels(x)), x.var(axis=but_channels(x))


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
    scale = 1 / np.sqrt(var + eps) if weight is None else weight / np.sqrt(var + eps)
    result = (x - by_channel(mean, x)) * by_channel(scale, x)
    return deliver(result if bias is None else result + by_channel(bias, x), out)


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
    axes = but_channels(x)
    inverse = 1 / np.sqrt(var + eps)
    h = (x - by_channel(mean, x)) * by_channel(inverse, x)
    scale = inverse if weight is None else weight * inverse
    centred = grad_output - grad_output.mean(axis=axes, keepdims=True)
    grad_x = by_channel(scale, x) * (centred - h * (grad_output * h).mean(axis=axes, keepdims=True))
    gradients = grad_x, (grad_output * h).sum(axis=axes), grad_output.sum(axis=axes)
    first, second, third = (gradient if need else None for gradient, need in zip(gradients, needs, strict=True))
    return deliver_all((first, second, third), out)
