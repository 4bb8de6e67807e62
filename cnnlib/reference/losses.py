"""Losses, each with its gradient."""

from __future__ import annotations

import numpy as np

from cnnlib.reference.activation import sigmoid
from cnnlib.reference.shared import Array, deliver

__all__ = ["binary_cross_entropy", "cross_entropy", "l1_loss", "mse_loss"]


def cross_entropy(x: Array, target: Array, *, out: Array | None = None) -> tuple[float, Array]:
    """Return J = -(1/N) Σ_n Σ_c target·log softmax(x), and its gradient (softmax(x) Σ_c target - target) / N.

    Shapes: logits x (N, C); target either int labels (N,), for which it is one-hot, or probabilities (N, C), whose rows
    sum to 1 as a rule, so that the gradient is (softmax(x) - target) / N. `out` receives the gradient.

    >>> value, grad = cross_entropy(np.array([[0.0, 0.0]]), np.array([1]))
    >>> round(value, 6), grad.tolist()
    (0.693147, [[0.5, -0.5]])
    """
    if target.ndim == 1:
        target = np.eye(x.shape[1], dtype=x.dtype)[target]
    shifted = x - x.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    value = -(target * log_p).sum() / len(x)
    grad = (np.exp(log_p) * target.sum(axis=1, keepdims=True) - target) / len(x)
    return float(value), deliver(grad, out)


def mse_loss(x: Array, target: Array, *, out: Array | None = None) -> tuple[float, Array]:
    """Return J = 1/(2N) Σ (x - target)², summed over the features and averaged over the N samples, and (x - target)/N.

    Shapes: x, target and the gradient, which `out` receives, (N, …).

    >>> value, grad = mse_loss(np.array([[1.0, 2.0]]), np.array([[1.0, 0.0]]))
    >>> value, grad.tolist()
    (2.0, [[0.0, 2.0]])
    """
    grad = x - target
    return float((grad * grad).sum() / (2 * len(x))), deliver(grad / len(x), out)


def l1_loss(x: Array, target: Array, *, out: Array | None = None) -> tuple[float, Array]:
    """Return J = 1/N Σ |x - target|, summed over the features and averaged over the N samples, and sign(x - target)/N.

    Shapes: x, target and the gradient, which `out` receives, (N, …). sign(0) = 0.

    >>> value, grad = l1_loss(np.array([[1.0, 2.0]]), np.array([[1.0, 0.0]]))
    >>> value, grad.tolist()
    (2.0, [[0.0, 1.0]])
    """
    grad = x - target
    return float(np.abs(grad).sum() / len(x)), deliver(np.sign(grad) / len(x), out)


def binary_cross_entropy(
    x: Array, target: Array, from_logits: bool = False, *, out: Array | None = None
) -> tuple[float, Array]:
    """Return J = 1/N Σ -t log σ - (1 - t) log(1 - σ), t = target in 0…1, and its gradient for x.

    x is σ itself, where σ and 1 - σ are read as no less than the smallest normal number, or, `from_logits`, the score
    whose sigmoid is σ; then J = max(x, 0) - x t + log(1 + e^-|x|) and ∂J/∂x = (σ - t)/N at any size of x.
    Shapes: x, target and the gradient, which `out` receives, (N, …).

    >>> value, grad = binary_cross_entropy(np.array([[0.0, 1000.0]]), np.array([[1.0, 0.0]]), from_logits=True)
    >>> round(value, 6), grad.tolist()
    (1000.693147, [[-0.5, 1.0]])
    """
    n = len(x)
    if from_logits:
        costs = np.maximum(x, 0) - x * target + np.log1p(np.exp(-np.abs(x)))
        return float(costs.sum() / n), deliver((sigmoid(x) - target) / n, out)
    floor = np.finfo(x.dtype).tiny
    yes, no = np.maximum(x, floor), np.maximum(1 - x, floor)
    costs = target * np.log(yes) + (1 - target) * np.log(no)
    return float(-costs.sum() / n), deliver(((1 - target) / no - target / yes) / n, out)
