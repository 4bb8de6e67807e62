"""Optimizer steps, in place."""

from __future__ import annotations

from cnnlib import _kernels
from cnnlib.arrays import as_array, expect_shape, flag, in_place, number, whole
from cnnlib.errors import ConfigError, DataError
from cnnlib.functional.shared import instance
from cnnlib.reference import Array

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
    if whole(step, "step", -(2**31), 2**31 - 1) < 1:
        raise DataError(f"step = {step}: Adam's steps count from 1")
    betas = number(beta1, "beta1", 0, 1), number(beta2, "beta2", 0, 1)
    rest = number(eps, "eps"), number(weight_decay, "weight_decay"), flag(decoupled, "decoupled")
    flat = param.reshape(-1), m.reshape(-1), v.reshape(-1), grad.reshape(-1)
    instance(_kernels.adam_step, param)(*flat, step, number(lr, "lr"), *betas, *rest)
