"""Group normalisation and its gradients; instance normalisation is that of as many groups as channels."""

from __future__ import annotations

import numpy as np

from cnnlib.arrays import number, output, whole
from cnnlib.errors import ShapeError
from cnnlib.functional.norm_views import View, gradient_arguments, gradients, moments, normalize, parameters, scale
from cnnlib.functional.shared import with_channels
from cnnlib.reference import Array, Gradients, Needs, Outs

__all__ = ["group_norm", "group_norm_backward"]


def group_norm(
    x: Array,
    num_groups: int,
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
    *,
    out: Array | None = None,
) -> Array:
    """Return weight·(x - μ)/√(σ² + eps) + bias, μ and σ² being those of a sample's group of C/num_groups channels.

    Shapes: x and the result (N, C, …), weight and bias (C,), None for 1 and 0. As many groups as channels normalise
    each channel of each sample by itself: instance normalisation. Source: Wu and He, arXiv:1803.08494.

    >>> group_norm(np.array([[1.0, 3.0, 10.0, 10.0]]), 2, eps=0.5).round(3).tolist()
    [[-0.816, 0.816, 0.0, 0.0]]
    """
    x, weight, bias, groups, channels = _grouped(x, num_groups, weight, bias)
    result, eps = output(out, "out", x.shape, x, weight, bias), number(eps, "eps", 0)
    mean, var = (np.repeat(values, channels[1] // groups[1]) for values in moments(x, groups))
    weight, bias = (None if array is None else np.tile(array, len(x)) for array in (weight, bias))
    normalize(result, x, channels, mean, var, weight, bias, eps)
    return result


def group_norm_backward(
    grad_output: Array,
    x: Array,
    num_groups: int,
    weight: Array | None = None,
    eps: float = 1e-5,
    *,
    needs: Needs = (True, True, True),
    out: Outs = (None, None, None),
) -> Gradients:
    """Return the gradients of `group_norm` for (x, weight, bias), None where `needs` says so.

    With g = grad_output, h = (x - μ)/√(σ² + eps) and ⟨·⟩ the mean over a group: ∂J/∂bias = Σ g and ∂J/∂weight = Σ g h
    over samples and places, ∂J/∂x = (g w - ⟨g w⟩ - h ⟨g w h⟩)/√(σ² + eps) with w = weight.

    >>> dx, dw, db = group_norm_backward(np.array([[1.0, 2.0]]), np.array([[1.0, 3.0]]), 1, eps=0.0)
    >>> dx.tolist(), dw.tolist(), db.tolist()
    ([[0.0, 0.0]], [-1.0, 2.0], [1.0, 2.0])
    """
    x, weight, _, groups, channels = _grouped(x, num_groups, weight, None)
    grad_output, needs, outs, eps = gradient_arguments(grad_output, x, x.shape[1:2], weight, needs, out, eps)
    mean, var = moments(x, groups)
    if needs[0]:
        scaled = grad_output if weight is None else np.empty_like(x)
        if weight is not None:
            scale(scaled, grad_output, (len(x), x.shape[1], channels[2]), weight, None)
        gradients(outs[0], scaled, x, groups, mean, var, eps)
    if needs[1] or needs[2]:
        mean, var = (np.repeat(values, channels[1] // groups[1]) for values in (mean, var))
        sums = gradients(None, grad_output, x, channels, mean, var, eps)
        for total, each in zip(outs[1:], sums, strict=True):
            if total is not None:
                each.reshape(len(x), -1).sum(axis=0, out=total)
    return outs


def _grouped(
    x: Array, num_groups: int, weight: Array | None, bias: Array | None
) -> tuple[Array, Array | None, Array | None, View, View]:
    """Return the checked arrays, and x as the kernels see it: by groups, and by channels."""
    x, num_groups = with_channels(x), whole(num_groups, "num_groups", 1)
    samples, channels = x.shape[:2]
    if channels % num_groups:
        raise ShapeError(f"x has shape {x.shape}: num_groups = {num_groups} does not divide {channels} channels")
    why = f"one value for each channel of x {x.shape}"
    weight, bias = parameters((channels,), why, x, weight=weight, bias=bias)
    by_groups, by_channels = samples * num_groups, samples * channels
    return x, weight, bias, (1, by_groups, x.size // by_groups), (1, by_channels, x.size // by_channels)
