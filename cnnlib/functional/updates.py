"""Optimizer steps, in place."""

from __future__ import annotations

from cnnlib import _kernels
from cnnlib.arrays import as_array, expect_shape, flag, in_place, number, whole
from cnnlib.errors import ConfigError, DataError
from cnnlib.functional.shared import instance
from cnnlib.reference import Array

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
    """Update `param` and `velocity` in place: g' = grad + λ param, v = μ v + g', param -= lr (nesterov ? g' + μ v : v).

    `velocity` is None without momentum. All arrays have the same shape; param and velocity are written.

    >>> import numpy as np
    >>> param = np.array([1.0])
    >>> sgd_step(param, np.array([0.5]), None, lr=0.1)
    >>> param.tolist()
    [0.95]
    """
    param, grad = in_place(param, "param"), as_array(grad, "grad", like=param)
    expect_shape(grad, "grad", param.shape, "the shape of param")
    numbers = number(lr, "lr"), number(momentum, "momentum"), number(weight_decay, "weight_decay")
    nesterov = flag(nesterov, "nesterov")
    if velocity is None and momentum:
        raise ConfigError(f"velocity is None at momentum = {momentum}: pass an array of zeros shaped as param")
    if velocity is not None:
        velocity = in_place(velocity, "velocity", param).reshape(-1)
    flat = param.reshape(-1), velocity, grad.reshape(-1)
    instance(_kernels.sgd_step, param)(*flat, *numbers, nesterov)


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
    """Update `param`, `m` and `v` in place by Adam's rule, AdamW's if `decoupled`; `step` counts from 1.

    m = β₁ m + (1 - β₁) g, v = β₂ v + (1 - β₂) g², param -= lr m̂ / (√v̂ + eps), with m̂ = m / (1 - β₁^step) and
    v̂ = v / (1 - β₂^step). Decay adds λ param to g, or, decoupled, first shrinks param by 1 - lr λ.

    >>> import numpy as np
    >>> param, m, v = np.array([1.0]), np.zeros(1), np.zeros(1)
    >>> adam_step(param, np.array([0.5]), m, v, step=1, lr=0.1)
    >>> round(float(param[0]), 6)
    0.9
    """
    param, grad = in_place(param, "param"), as_array(grad, "grad", like=param)
    expect_shape(grad, "grad", param.shape, "the shape of param")
    m, v = in_place(m, "m", param), in_place(v, "v", param)
    step = _counted(step)
    betas = number(beta1, "beta1", 0, 1), number(beta2, "beta2", 0, 1)
    rest = number(eps, "eps"), number(weight_decay, "weight_decay"), flag(decoupled, "decoupled")
    flat = param.reshape(-1), m.reshape(-1), v.reshape(-1), grad.reshape(-1)
    instance(_kernels.adam_step, param)(*flat, step, number(lr, "lr"), *betas, *rest)


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
    """Update `param`, `v` and, where given, `m` and `velocity` in place by RMSprop's rule.

    g' = grad + λ param, v = α v + (1 - α) g'², m = α m + (1 - α) g', u = g' / (√(v - m²) + eps), then
    velocity = μ velocity + u, param -= lr velocity. `m` is None, and 0, where nothing is centred, `velocity` is None,
    and u, without momentum.

    >>> import numpy as np
    >>> param, v = np.array([1.0]), np.zeros(1)
    >>> rmsprop_step(param, np.array([0.5]), v, None, None, lr=0.1, alpha=0.75)
    >>> round(float(param[0]), 6)
    0.8
    """
    param, grad = in_place(param, "param"), as_array(grad, "grad", like=param)
    expect_shape(grad, "grad", param.shape, "the shape of param")
    numbers = number(lr, "lr"), number(alpha, "alpha", 0, 1), number(eps, "eps"), number(weight_decay, "weight_decay")
    momentum = number(momentum, "momentum")
    if velocity is None and momentum:
        raise ConfigError(f"velocity is None at momentum = {momentum}: pass an array of zeros shaped as param")
    v = in_place(v, "v", param).reshape(-1)
    m = None if m is None else in_place(m, "m", param).reshape(-1)
    velocity = None if velocity is None else in_place(velocity, "velocity", param).reshape(-1)
    flat = param.reshape(-1), v, m, velocity, grad.reshape(-1)
    instance(_kernels.rmsprop_step, param)(*flat, *numbers, momentum)


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
    """Update `param` and `total`, the sum of squares, in place by Adagrad's rule; `step` counts from 1.

    g' = grad + λ param, total += g'², param -= lr / (1 + (step - 1) lr_decay) · g' / (√total + eps).

    >>> import numpy as np
    >>> param, total = np.array([1.0]), np.zeros(1)
    >>> adagrad_step(param, np.array([0.5]), total, step=1, lr=0.1)
    >>> round(float(param[0]), 6)
    0.9
    """
    param, grad = in_place(param, "param"), as_array(grad, "grad", like=param)
    expect_shape(grad, "grad", param.shape, "the shape of param")
    total = in_place(total, "total", param)
    numbers = (
        number(lr, "lr"),
        number(lr_decay, "lr_decay", 0),
        number(eps, "eps"),
        number(weight_decay, "weight_decay"),
    )
    flat = param.reshape(-1), total.reshape(-1), grad.reshape(-1)
    instance(_kernels.adagrad_step, param)(*flat, _counted(step), *numbers)


def lion_step(
    param: Array,
    grad: Array,
    m: Array,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.99,
    weight_decay: float = 0.0,
) -> None:
    """Update `param` and `m` in place by Lion's rule.

    param = (1 - lr λ) param - lr sign(β₁ m + (1 - β₁) grad) with sign(0) = 0, then m = β₂ m + (1 - β₂) grad.

    >>> import numpy as np
    >>> param, m = np.array([1.0]), np.zeros(1)
    >>> lion_step(param, np.array([0.5]), m, lr=0.1)
    >>> round(float(param[0]), 6)
    0.9
    """
    param, grad = in_place(param, "param"), as_array(grad, "grad", like=param)
    expect_shape(grad, "grad", param.shape, "the shape of param")
    m = in_place(m, "m", param)
    numbers = number(lr, "lr"), number(beta1, "beta1", 0, 1), number(beta2, "beta2", 0, 1)
    flat = param.reshape(-1), m.reshape(-1), grad.reshape(-1)
    instance(_kernels.lion_step, param)(*flat, *numbers, number(weight_decay, "weight_decay"))


def _counted(step: int) -> int:
    if whole(step, "step", -(2**31), 2**31 - 1) < 1:
        raise DataError(f"step = {step}: steps count from 1")
    return step
