"""Local response normalisation and its gradient."""

from __future__ import annotations

import numpy as np

from cnnlib.reference.shared import Array, deliver

__all__ = ["local_response_norm", "local_response_norm_backward"]


def local_response_norm(
    x: Array, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, *, out: Array | None = None
) -> Array:
    """Return x / (k + alpha/size Σ x²)^beta, the sum being over `size` neighbouring channels at the same place.

    These are channels c - ⌊size/2⌋ … c + ⌊(size - 1)/2⌋, as far as there are such. Shapes: x and the result (N, C, …).
    Source: Krizhevsky et al., 2012.

    >>> local_response_norm(np.array([[1.0, 2.0, 2.0]]), 3, alpha=3.0, beta=0.5, k=4.0).round(4).tolist()
    [[0.3333, 0.5547, 0.5774]]
    """
    d = k + alpha / size * _across(x * x, size // 2, (size - 1) // 2)
    return deliver((x / d**beta).astype(x.dtype), out)


def local_response_norm_backward(
    grad_output: Array,
    x: Array,
    size: int,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    *,
    out: Array | None = None,
) -> Array:
    """Return g / d^beta - 2 alpha beta/size x Σ g x / d^(beta + 1), where g = grad_output and y = x / d^beta.

    The sum is over the channels in whose windows this one lies.

    >>> local_response_norm_backward(np.array([[1.0]]), np.array([[1.0]]), 1, alpha=1.0, beta=1.0).tolist()
    [[0.0]]
    """
    d = k + alpha / size * _across(x * x, size // 2, (size - 1) // 2)
    reach = _across(grad_output * x / d ** (beta + 1), (size - 1) // 2, size // 2)
    return deliver((grad_output / d**beta - 2 * alpha * beta / size * x * reach).astype(x.dtype), out)


def _across(values: Array, before: int, after: int) -> Array:
    """Return the sums of channels c - before … c + after."""
    channels = range(values.shape[1])
    return np.stack([values[:, max(0, c - before) : c + after + 1].sum(axis=1) for c in channels], axis=1)
