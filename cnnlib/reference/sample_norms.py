"""Normalisation of each sample by itself, over groups of channels or over its last dimensions, and the gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cnnlib.reference.shared import Array, Gradients, Needs, Outs, but_channels, by_channel, deliver, deliver_all

__all__ = ["group_norm", "group_norm_backward", "layer_norm", "layer_norm_backward"]


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

    Shapes: x and the result (N, C, …), weight and bias (C,), None for 1 and 0. Source: Wu and He, arXiv:1803.08494.

    >>> group_norm(np.array([[1.0, 3.0, 10.0, 10.0]]), 2, eps=0.5).round(3).tolist()
    [[-0.816, 0.816, 0.0, 0.0]]
    """
    h, _ = _standardized(x.reshape(len(x), num_groups, -1), eps)
    result = h.reshape(x.shape)
    result = result if weight is None else result * by_channel(weight, x)
    return deliver(result if bias is None else result + by_channel(bias, x), out)


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
    h, deviation = _standardized(x.reshape(len(x), num_groups, -1), eps)
    scaled = grad_output if weight is None else grad_output * by_channel(weight, x)
    grad_x = _through(scaled.reshape(h.shape), h, deviation).reshape(x.shape)
    terms = grad_output * h.reshape(x.shape)
    sums = terms.sum(axis=but_channels(x)), grad_output.sum(axis=but_channels(x))
    return _chosen((grad_x, *sums), needs, out)


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
    h, _ = _standardized(_rows(x, normalized_shape), eps)
    result = h.reshape(x.shape)
    result = result if weight is None else result * weight
    return deliver(result if bias is None else result + bias, out)


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
    rows = _rows(x, normalized_shape)
    h, deviation = _standardized(rows, eps)
    scaled = grad_output if weight is None else grad_output * weight
    grad_x = _through(scaled.reshape(rows.shape), h, deviation).reshape(x.shape)
    others = tuple(range(x.ndim - np.size(normalized_shape)))
    terms = grad_output * h.reshape(x.shape)
    return _chosen((grad_x, terms.sum(axis=others), grad_output.sum(axis=others)), needs, out)


def _rows(x: Array, normalized_shape: int | Sequence[int]) -> Array:
    return x.reshape(-1, int(np.prod(normalized_shape)))


def _standardized(x: Array, eps: float) -> tuple[Array, Array]:
    """Return (x - μ)/s and s = √(σ² + eps), along the last axis."""
    deviation = np.sqrt(x.var(axis=-1, keepdims=True) + x.dtype.type(eps))
    return (x - x.mean(axis=-1, keepdims=True)) / deviation, deviation


def _through(grad: Array, h: Array, deviation: Array) -> Array:
    """Return the gradient for x from that for h."""
    centred = grad - grad.mean(axis=-1, keepdims=True)
    result: Array = (centred - h * (grad * h).mean(axis=-1, keepdims=True)) / deviation
    return result


def _chosen(gradients: tuple[Array, Array, Array], needs: Needs, out: Outs) -> Gradients:
    first, second, third = (gradient if need else None for gradient, need in zip(gradients, needs, strict=True))
    return deliver_all((first, second, third), out)
