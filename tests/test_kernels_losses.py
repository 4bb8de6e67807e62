"""Losses of elements, of every instruction set, against the definition in float64."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_close, assert_same_bits_for_any_threads, check_gradient, normal, poisoned, ties

from cnnlib import functional, reference
from cnnlib.errors import ShapeError

SHAPES = [(1,), (3,), (7, 1), (8, 2), (5, 3, 3), (2, 3, 4, 5), (3, 341), (2, 513), (7, 4999)]
LOSSES = {
    "mse_loss": {},
    "l1_loss": {},
    "binary_cross_entropy": {"from_logits": True},
    "probabilities": {"from_logits": False},
}


def batch(rng: np.random.Generator, name: str, shape: tuple[int, ...], dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs and targets; hard and soft ones, and ties, where they matter."""
    if name in ("mse_loss", "l1_loss"):
        return ties(rng, *shape, dtype=dtype), ties(rng, *shape, dtype=dtype)
    target = np.where(rng.random(shape) < 0.7, rng.integers(0, 2, shape), rng.random(shape)).astype(dtype)
    if name == "probabilities":
        return rng.random(shape).astype(dtype), target
    return (10 * normal(rng, *shape)).astype(dtype), target


def function(module: object, name: str):
    return getattr(module, "binary_cross_entropy" if name == "probabilities" else name)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient(isa, rng, dtype, shape, name) -> None:
    x, target = batch(rng, name, shape, dtype)
    value, grad = function(functional, name)(x, target, **LOSSES[name], out=poisoned(shape, dtype))
    truth = function(reference, name)(x.astype(np.float64), target.astype(np.float64), **LOSSES[name])
    assert isinstance(value, float)
    assert grad.dtype == dtype
    np.testing.assert_allclose(value, truth[0], rtol=20 * np.finfo(dtype).eps)
    # 1 - x cancels in the float32 that it is computed in, in the definition, too.
    slack = 1 + float(np.abs(truth[1]).max()) if name == "probabilities" else 0.0
    assert_close(grad, truth[1], term=slack)


@pytest.mark.parametrize("name", LOSSES)
def test_definitions_are_differentiated_rightly(rng, name) -> None:
    x, target = batch(rng, name, (4, 3), np.float64)
    if name == "probabilities":
        x = 0.1 + 0.8 * x
    check_gradient(
        lambda: np.array(function(reference, name)(x, target, **LOSSES[name])[0]),
        lambda g: g * function(reference, name)(x, target, **LOSSES[name])[1],
        x,
        where=x != target if name == "l1_loss" else True,
    )


def test_small_costs_are_exact(isa, dtype) -> None:
    """Where a prediction is sure, its cost is the little that it misses; 1 - σ would round to 0."""
    x = np.array([-80, -30, -1, 0, 1, 30, 80], dtype)
    truth = np.log1p(np.exp(-np.abs(x.astype(np.longdouble))))
    for score, cost in zip(x, truth, strict=True):
        value, _ = functional.binary_cross_entropy(score[None], np.array([score > 0], dtype), from_logits=True)
        np.testing.assert_allclose(value, float(cost), rtol=4 * np.finfo(dtype).eps)
    p = np.array([0.9999, 0.75, 0.5, 0.2, 1e-30, np.finfo(dtype).tiny], dtype)
    for sigma in p:
        value, _ = functional.binary_cross_entropy(sigma[None], np.ones(1, dtype))
        np.testing.assert_allclose(value, -np.log(np.float64(sigma)), rtol=4 * np.finfo(dtype).eps)


def test_costs_at_the_ends(isa, dtype) -> None:
    tiny = np.finfo(dtype).tiny
    for x, target, cost in ((0, 1, -np.log(tiny)), (1, 0, -np.log(tiny)), (0, 0, 0), (1, 1, 0)):
        value, grad = functional.binary_cross_entropy(np.array([x], dtype), np.array([target], dtype))
        np.testing.assert_allclose(value, cost, rtol=4 * np.finfo(dtype).eps)
        assert np.isfinite(grad).all()
    value, grad = functional.binary_cross_entropy(np.array([1000, -1000.0], dtype), np.array([1, 1], dtype), True)
    assert (value, grad.tolist()) == (500.0, [0, -0.5])


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("place", [0, 5, 18])
def test_a_nan_is_not_lost(isa, rng, dtype, name, place) -> None:
    for which in (0, 1):
        arrays = batch(rng, name, (19,), dtype)
        arrays[which][place] = np.nan
        value, grad = function(functional, name)(*arrays, **LOSSES[name])
        assert np.isnan(value)
        assert np.flatnonzero(np.isnan(grad)).tolist() == [place]


def test_a_loss_needs_a_batch() -> None:
    with pytest.raises(ShapeError, match=r"expected \(N, …\)"):
        functional.mse_loss(np.array(1.0), np.array(1.0))


def test_same_bits_for_any_threads_and_place(isa, rng, dtype) -> None:
    pairs = [(name, *batch(rng, name, (50, 4001), dtype)) for name in LOSSES]

    def everything() -> list[np.ndarray]:
        results = []
        for name, x, target in pairs:
            value, grad = function(functional, name)(x, target, **LOSSES[name])
            elsewhere = np.empty(x.size + 3, dtype)[3:].reshape(x.shape)
            again, _ = function(functional, name)(x, target, **LOSSES[name], out=elsewhere)
            assert value == again
            results += [np.array(value), grad]
        return results

    assert_same_bits_for_any_threads(everything)
