"""Optimizer steps."""

from __future__ import annotations

import numpy as np

from cnnlib.reference.shared import Array

__all__ = ["adam_step", "sgd_step"]


def sgd_step(
    param: Array,
    grad: Array,
    velocity: Array | None,
    lr: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> None:
    """Update `param` and `velocity` in place by stochastic gradient descent, as PyTorch's SGD does.

    g = grad + weight_decay·param;  v ← momentum·v + g;  param ← param - lr·(g + momentum·v if nesterov else v).
    The velocity starts at 0 and is None if momentum is 0; then param ← param - lr·g. Any shape, all alike.

    >>> param = np.array([1.0])
    >>> sgd_step(param, np.array([2.0]), None, lr=0.1)
    >>> param.tolist()
    [0.8]
    """
    step = grad + weight_decay * param
    if velocity is not None:
        velocity *= momentum
        velocity += step
        step = step + momentum * velocity if nesterov else velocity
    param -= lr * step


def adam_step(
    param: Array,
    grad: Array,
    m: Array,
    v: Array,
    step: int,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
) -> None:
    """Update `param` and its moments `m`, `v` in place, as PyTorch's Adam (or AdamW, if `decoupled`) does.

    g = grad + weight_decay·param, or, decoupled, g = grad and param ← (1 - lr·weight_decay)·param;
    m ← beta1·m + (1 - beta1)·g;  v ← beta2·v + (1 - beta2)·g²;
    param ← param - lr / (1 - beta1^step)·m / (√(v / (1 - beta2^step)) + eps).
    The moments start at 0 and `step` counts from 1. Any shape, all alike. Source: Kingma and Ba, arXiv:1412.6980.

    >>> param, m, v = np.array([1.0]), np.zeros(1), np.zeros(1)
    >>> adam_step(param, np.array([2.0]), m, v, step=1, lr=0.1)
    >>> param.round(6).tolist()
    [0.9]
    """
    if decoupled:
        param *= 1 - lr * weight_decay
    else:
        grad = grad + weight_decay * param
    m *= beta1
    m += (1 - beta1) * grad
    v *= beta2
    v += (1 - beta2) * grad * grad
    param -= lr / (1 - beta1**step) * m / (np.sqrt(v / (1 - beta2**step)) + eps)
