"""Optimizer steps."""

from __future__ import annotations

import numpy as np

from cnnlib.reference.shared import Array

__all__ = ["adagrad_step", "adam_step", "lion_step", "rmsprop_step", "sgd_step"]


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


def rmsprop_step(
    param: Array,
    grad: Array,
    v: Array,
    m: Array | None,
    velocity: Array | None,
    lr: float,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
) -> None:
    """Update `param`, `v`, `m` and `velocity` in place, as PyTorch's RMSprop does.

    g = grad + weight_decay·param;  v ← alpha·v + (1 - alpha)·g²;  m ← alpha·m + (1 - alpha)·g;
    u = g / (√max(v - m², 0) + eps);  velocity ← momentum·velocity + u;  param ← param - lr·velocity.
    All start at 0. `m` is None, and 0, if the mean square is not centred; `velocity` is None, and u, without momentum.
    (PyTorch's root is NaN where rounding makes v - m² negative.) Source: Tieleman and Hinton, Coursera lecture 6.5.

    >>> param, v = np.array([1.0]), np.zeros(1)
    >>> rmsprop_step(param, np.array([2.0]), v, None, None, lr=0.1, alpha=0.75)
    >>> param.round(6).tolist(), v.tolist()
    ([0.8], [1.0])
    """
    g = grad + weight_decay * param
    v *= alpha
    v += (1 - alpha) * g * g
    square = v
    if m is not None:
        m *= alpha
        m += (1 - alpha) * g
        square = np.maximum(v - m * m, 0)
    step = g / (np.sqrt(square) + eps)
    if velocity is not None:
        velocity *= momentum
        velocity += step
        step = velocity
    param -= lr * step


def adagrad_step(
    param: Array,
    grad: Array,
    total: Array,
    step: int,
    lr: float,
    lr_decay: float = 0.0,
    eps: float = 1e-10,
    weight_decay: float = 0.0,
) -> None:
    """Update `param` and the sum of squares `total` in place, as PyTorch's Adagrad does.

    g = grad + weight_decay·param;  total ← total + g²;
    param ← param - lr / (1 + (step - 1)·lr_decay)·g / (√total + eps).
    `step` counts from 1. Source: Duchi, Hazan and Singer, JMLR 12, 2011.

    >>> param, total = np.array([1.0]), np.zeros(1)
    >>> adagrad_step(param, np.array([2.0]), total, step=1, lr=0.1)
    >>> param.round(6).tolist(), total.tolist()
    ([0.9], [4.0])
    """
    g = grad + weight_decay * param
    total += g * g
    param -= lr / (1 + (step - 1) * lr_decay) * g / (np.sqrt(total) + eps)


def lion_step(
    param: Array,
    grad: Array,
    m: Array,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.99,
    weight_decay: float = 0.0,
) -> None:
    """Update `param` and the mean gradient `m` in place by the sign of a mean, as Lion does.

    param ← (1 - lr·weight_decay)·param - lr·sign(beta1·m + (1 - beta1)·grad);  m ← beta2·m + (1 - beta2)·grad.
    `m` starts at 0; sign(0) = 0. Source: Chen et al., "Symbolic Discovery of Optimization Algorithms",
    arXiv:2302.06675, algorithm 2.

    >>> param, m = np.array([1.0, 1.0]), np.zeros(2)
    >>> lion_step(param, np.array([2.0, -0.1]), m, lr=0.1)
    >>> param.round(6).tolist()
    [0.9, 1.1]
    """
    param *= 1 - lr * weight_decay
    param -= lr * np.sign(beta1 * m + (1 - beta1) * grad)
    m *= beta2
    m += (1 - beta2) * grad
