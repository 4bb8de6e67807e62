"""Kernels of the optimizers' steps against their definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnnlib import functional, reference
from tests.helpers import assert_close, assert_same_bits_for_any_threads, normal

LENGTHS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 1000)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd_step(isa, rng, dtype, length, weight_decay, momentum, nesterov) -> None:
    param = normal(rng, length, dtype=dtype)
    velocity = np.zeros(length, dtype) if momentum else None
    true_param = param.astype(np.float64)
    true_velocity = np.zeros(length) if momentum else None
    for _ in range(3):
        grad = normal(rng, length, dtype=dtype)
        settings = (0.05, momentum, weight_decay, nesterov)
        functional.sgd_step(param, grad, velocity, *settings)
        reference.sgd_step(true_param, grad.astype(np.float64), true_velocity, *settings)
    assert_close(param, true_param, 10, term=0.1)
    if velocity is not None:
        assert_close(velocity, true_velocity, 10, term=0.1)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("decoupled", [False, True])
def test_adam_step(isa, rng, dtype, length, weight_decay, decoupled) -> None:
    param = normal(rng, length, dtype=dtype)
    arrays = [param, np.zeros(length, dtype), np.zeros(length, dtype)]
    truth = [a.astype(np.float64) for a in arrays]
    for step in (1, 2, 3):
        grad = normal(rng, length, dtype=dtype)
        settings = {"lr": 0.05, "beta1": 0.9, "beta2": 0.999, "weight_decay": weight_decay, "decoupled": decoupled}
        functional.adam_step(arrays[0], grad, *arrays[1:], step, **settings)
        reference.adam_step(truth[0], grad.astype(np.float64), *truth[1:], step, **settings)
    for actual, expected in zip(arrays, truth, strict=True):
        assert_close(actual, expected, 10, term=0.1)


# Function: the arrays of its state (None where one is left out), its settings.
RULES: list[tuple[str, str, dict[str, Any]]] = [
    ("rmsprop_step", "v--", {"alpha": 0.9}),
    ("rmsprop_step", "v--", {"eps": 0.1, "weight_decay": 0.1}),
    ("rmsprop_step", "v-b", {"momentum": 0.9, "weight_decay": 0.1}),
    ("rmsprop_step", "vmb", {"alpha": 0.8, "momentum": 0.9}),
    ("rmsprop_step", "vm-", {"alpha": 0.8, "eps": 0.01, "weight_decay": 0.1}),
    ("adagrad_step", "s", {}),
    ("adagrad_step", "s", {"lr_decay": 0.1, "weight_decay": 0.1, "eps": 0.1}),
    ("lion_step", "m", {}),
    ("lion_step", "m", {"beta1": 0.5, "beta2": 0.8, "weight_decay": 0.1}),
]


def step(functions: Any, name: str, arrays: list[Any], grad: np.ndarray, count: int, settings: dict[str, Any]) -> None:
    counted = (count,) if name == "adagrad_step" else ()
    getattr(functions, name)(arrays[0], grad, *arrays[1:], *counted, lr=0.05, **settings)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(("name", "state", "settings"), RULES)
def test_rules(isa, rng, dtype, length, name, state, settings) -> None:
    arrays = [normal(rng, length, dtype=dtype), *(None if slot == "-" else np.zeros(length, dtype) for slot in state)]
    truth = [None if a is None else a.astype(np.float64) for a in arrays]
    for count in (1, 2, 3):
        grad = normal(rng, length, dtype=dtype)
        step(functional, name, arrays, grad, count, settings)
        step(reference, name, truth, grad.astype(np.float64), count, settings)
    for actual, expected in zip(arrays, truth, strict=True):
        if actual is not None:
            assert_close(actual, expected, 10, term=0.1)


def test_conventions(isa, dtype) -> None:
    """Lion's sign of 0 is 0; a NaN stays one; where rounding makes a variance negative, its root is 0."""
    param, m = np.ones(4, dtype), np.zeros(4, dtype)
    functional.lion_step(param, np.array([0, -0.0, np.nan, 1e-30], dtype), m, 0.5)
    np.testing.assert_array_equal(param, np.array([1, 1, np.nan, 0.5], dtype))
    param, v, m = np.ones(3, dtype), np.ones(3, dtype), np.full(3, 1.5, dtype)
    functional.rmsprop_step(param, np.array([1, -1, np.nan], dtype), v, m, None, 0.25, alpha=0.999, eps=1.0)
    np.testing.assert_allclose(param, np.array([0.75, 1.25, np.nan], dtype), rtol=1e-6)


def test_optimizers_take_any_shape(isa, rng, dtype) -> None:
    shape = (3, 2, 5, 5)
    param, grad, state = normal(rng, *shape, dtype=dtype), normal(rng, *shape, dtype=dtype), np.zeros(shape, dtype)
    flat, flat_state = param.ravel().copy(), np.zeros(param.size, dtype)
    functional.sgd_step(param, grad, state, 0.1, 0.9)
    functional.sgd_step(flat, grad.ravel(), flat_state, 0.1, 0.9)
    np.testing.assert_array_equal(param.ravel(), flat)
    np.testing.assert_array_equal(state.ravel(), flat_state)


def test_same_bits_for_any_threads(isa, rng, dtype) -> None:
    x, grad = normal(rng, 333, 301, dtype=dtype), normal(rng, 333, 301, dtype=dtype)

    def everything() -> tuple[np.ndarray, ...]:
        param, m, v, velocity = x.copy(), np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
        functional.sgd_step(param, grad, m, 0.1, 0.9)
        functional.adam_step(param, grad, m, v, 1, 0.1)
        functional.rmsprop_step(param, grad, v, m, velocity, 0.1, momentum=0.9)
        functional.adagrad_step(param, grad, v, 2, 0.1, 0.1)
        functional.lion_step(param, grad, m, 0.1, weight_decay=0.1)
        return param, m, v, velocity

    assert_same_bits_for_any_threads(everything)
