"""Activations and the fused loss of every instruction set against the definition in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import assert_close, assert_same_bits_for_any_threads, normal, poisoned, ties

from cnnlib import functional, reference

LENGTHS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 1000)
SHAPES = [(), (1,), (2, 3), (2, 3, 4, 5), *((n,) for n in LENGTHS)]
SPECIAL = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1e-40)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_relu(isa, rng, dtype, shape) -> None:
    x, grad = ties(rng, *shape, dtype=dtype), normal(rng, *shape, dtype=dtype)
    x.flat[: len(SPECIAL)] = rng.permutation(SPECIAL)[: x.size]
    y = functional.relu(x, out=poisoned(shape, dtype))
    grad_x = functional.relu_backward(grad, x, out=poisoned(shape, dtype))
    np.testing.assert_array_equal(y, reference.relu(x))
    np.testing.assert_array_equal(grad_x, reference.relu_backward(grad, x))
    np.testing.assert_array_equal(functional.relu_backward(grad, y), grad_x)  # relu's output tells as much
    assert y.dtype == grad_x.dtype == dtype


def test_relu_in_place(isa, rng, dtype) -> None:
    x, grad = normal(rng, 35, dtype=dtype), normal(rng, 35, dtype=dtype)
    y, grad_x = functional.relu(x), functional.relu_backward(grad, x)
    over_x, over_grad = x.copy(), grad.copy()
    assert functional.relu_backward(over_grad, x, out=over_grad) is over_grad
    np.testing.assert_array_equal(over_grad, grad_x)
    np.testing.assert_array_equal(functional.relu_backward(grad, over_x, out=over_x), grad_x)
    over_x = x.copy()
    assert functional.relu(over_x, out=over_x) is over_x
    np.testing.assert_array_equal(over_x, y)


ROWS = [(1, 1), (1, 2), (2, 10), (3, 17), *((n, 10) for n in (5, 7, 8, 15, 16, 17, 33)), *((4, c) for c in LENGTHS)]


@pytest.mark.parametrize("shape", ROWS, ids=str)
@pytest.mark.parametrize("magnitude", [1, 1000])
def test_softmax(isa, rng, dtype, shape, magnitude) -> None:
    x, grad = (magnitude * normal(rng, *shape)).astype(dtype), normal(rng, *shape, dtype=dtype)
    y = functional.softmax(x, out=poisoned(shape, dtype))
    assert_close(y, reference.softmax(x.astype(np.float64)), shape[1])
    grad_x = functional.softmax_backward(grad, y, out=poisoned(shape, dtype))
    truth = reference.softmax_backward(grad.astype(np.float64), y.astype(np.float64))
    assert_close(grad_x, truth, shape[1], term=float(y.max()))


def test_softmax_at_extremes(isa, dtype) -> None:
    largest = np.finfo(dtype).max
    x = np.array([[1000, -1000, 1000], [-1000, -1000, -1000], [largest, -largest, 0], [0, -np.inf, 0]], dtype)
    expected = np.array([[0.5, 0, 0.5], [1 / 3, 1 / 3, 1 / 3], [1, 0, 0], [0.5, 0, 0.5]])
    assert_close(functional.softmax(x), expected)
    with_nan = functional.softmax(np.array([[0, np.nan, 1], [0, 0, 0]], dtype))
    assert np.isnan(with_nan[0]).all()
    assert_close(with_nan[1], expected[1])


def targets(rng: np.random.Generator, n: int, c: int, dtype: type) -> dict[str, Any]:
    labels = rng.integers(0, c, n)
    soft = reference.softmax(2 * normal(rng, n, c)).astype(dtype)
    return {
        "int64": labels,
        "int32": labels.astype(np.int32),
        "uint8": labels.astype(np.uint8) if c <= 256 else labels,
        "one-hot": np.eye(c, dtype=dtype)[labels],
        "soft": soft,
        "unnormalised": 3 * soft,
    }


@pytest.mark.parametrize("shape", ROWS, ids=str)
@pytest.mark.parametrize("magnitude", [1, 1000])
def test_cross_entropy(isa, rng, dtype, shape, magnitude) -> None:
    x = (magnitude * normal(rng, *shape)).astype(dtype)
    for kind, target in targets(rng, *shape, dtype).items():
        wide = target.astype(np.float64) if target.ndim == 2 else target
        value, grad = functional.cross_entropy(x, target, out=poisoned(shape, dtype))
        true_value, true_grad = reference.cross_entropy(x.astype(np.float64), wide)
        assert isinstance(value, float), kind
        assert_close(np.array(value, dtype), np.array(true_value), term=float(np.abs(x).max()))
        assert_close(grad, true_grad, shape[1], term=1 / shape[0])


def test_cross_entropy_at_extremes(isa, dtype) -> None:
    x = np.array([[1000, -1000], [1000, -1000]], dtype)
    value, grad = functional.cross_entropy(x, np.array([0, 1]))
    assert value == 1000.0
    np.testing.assert_array_equal(grad, [[0, 0], [0.5, -0.5]])
    value, grad = functional.cross_entropy(np.array([[0, np.nan], [0, 0]], dtype), np.array([0, 1]))
    assert np.isnan(value)
    assert np.isnan(grad[0]).all()
    np.testing.assert_array_equal(grad[1], [0.25, -0.25])


def test_same_bits_for_any_threads(isa, rng, dtype) -> None:
    x, grad = normal(rng, 333, 301, dtype=dtype), normal(rng, 333, 301, dtype=dtype)
    labels = rng.integers(0, 301, 333)

    def everything() -> tuple[np.ndarray, ...]:
        y = functional.softmax(x)
        value, loss_grad = functional.cross_entropy(x, labels)
        outputs = (functional.relu(x), functional.relu_backward(grad, x), y, functional.softmax_backward(grad, y))
        return *outputs, np.array(value), loss_grad

    assert_same_bits_for_any_threads(everything)
