"""Sigmoid, tanh and the rectifiers with a slope, of every instruction set, against the definition in float64."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_close, assert_same_bits_for_any_threads, check_gradient, normal, poisoned, ties

from cnnlib import functional, reference

LENGTHS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 1000)
CHANNELS = [(1, 1), (3, 1), (2, 17), (65, 33), (130, 5), (3, 5, 7), (2, 3, 5, 5), (1, 2, 33, 33), (17, 16, 1, 1)]


def units_off(y: np.ndarray, truth: np.ndarray) -> float:
    """Return the largest distance from `truth` in units of the last place."""
    return float((np.abs(y - truth) / np.spacing(np.abs(truth).astype(y.dtype))).max())


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_smooth_activations_to_the_last_place(isa, dtype, name) -> None:
    x = np.concatenate([np.linspace(-90, 90, 20001), np.linspace(-1, 1, 5001), np.geomspace(1e-30, 1, 500)]).astype(
        dtype
    )
    exact = x.astype(np.longdouble)
    truth = np.tanh(exact) if name == "tanh" else 1 / (1 + np.exp(-exact))
    truth = np.where(np.abs(truth) < np.finfo(dtype).tiny, np.finfo(dtype).tiny, truth)
    y = np.maximum(np.abs(getattr(functional, name)(x)), np.finfo(dtype).tiny)
    assert units_off(y, np.abs(truth)) <= 3


def test_smooth_activations_at_extremes(isa, dtype) -> None:
    x = np.array([-np.inf, -1000, -0.0, 0.0, 1000, np.inf, np.nan, np.finfo(dtype).max], dtype)
    np.testing.assert_array_equal(functional.sigmoid(x), np.array([0, 0, 0.5, 0.5, 1, 1, np.nan, 1], dtype))
    y = functional.tanh(x)
    np.testing.assert_array_equal(y, np.array([-1, -1, 0, 0, 1, 1, np.nan, 1], dtype))
    assert np.signbit(y[:4]).tolist() == [True, True, True, False]


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "leaky_relu"])
@pytest.mark.parametrize("length", LENGTHS)
def test_every_length(isa, rng, dtype, name, length) -> None:
    x, grad = ties(rng, length, dtype=dtype), normal(rng, length, dtype=dtype)
    forward, backward = getattr(functional, name), getattr(functional, f"{name}_backward")
    wide = x.astype(np.float64)
    y = forward(x, out=poisoned(x.shape, dtype))
    assert_close(y, getattr(reference, name)(wide))
    read = x if name == "leaky_relu" else y
    grad_x = backward(grad, read, out=poisoned(x.shape, dtype))
    truth = getattr(reference, f"{name}_backward")(grad.astype(np.float64), read.astype(np.float64))
    assert_close(grad_x, truth)
    assert y.dtype == grad_x.dtype == dtype
    over = grad.copy()
    np.testing.assert_array_equal(backward(over, read, out=over), grad_x)
    np.testing.assert_array_equal(forward(x, out=x), y)


@pytest.mark.parametrize("shape", CHANNELS, ids=str)
@pytest.mark.parametrize("shared", [False, True])
def test_prelu(isa, rng, dtype, shape, shared) -> None:
    x, grad = ties(rng, *shape, dtype=dtype), normal(rng, *shape, dtype=dtype)
    weight = normal(rng, 1 if shared else shape[1], dtype=dtype)
    wide = [array.astype(np.float64) for array in (grad, x, weight)]
    assert_close(functional.prelu(x, weight, out=poisoned(shape, dtype)), reference.prelu(*wide[1:]))
    outs = poisoned(shape, dtype), poisoned(weight.shape, dtype)
    for actual, expected in zip(
        functional.prelu_backward(grad, x, weight, out=outs), reference.prelu_backward(*wide), strict=True
    ):
        assert_close(actual, expected, x.size // weight.size, term=2.0)
    assert functional.prelu_backward(grad, x, weight, needs=(False, True))[0] is None
    assert functional.prelu_backward(grad, x, weight, needs=(True, False))[1] is None


def test_definitions_are_differentiated_rightly(rng) -> None:
    x = normal(rng, 4, 3, 2)
    away = np.abs(x) > 1e-3
    weight = np.array([0.3, -0.2, 2.0])
    for name in ("sigmoid", "tanh"):
        forward, backward = getattr(reference, name), getattr(reference, f"{name}_backward")
        check_gradient(lambda f=forward: f(x), lambda g, f=forward, b=backward: b(g, f(x)), x)
    check_gradient(
        lambda: reference.leaky_relu(x, 0.2), lambda g: reference.leaky_relu_backward(g, x, 0.2), x, where=away
    )
    for slopes in (weight, weight[:1].copy()):
        for which, array in enumerate((x, slopes)):
            check_gradient(
                lambda s=slopes: reference.prelu(x, s),
                lambda g, i=which, s=slopes: reference.prelu_backward(g, x, s)[i],
                array,
                where=away if which == 0 else True,
            )


def test_slopes_at_the_kink() -> None:
    x = np.array([[-1.0, 0.0, -0.0, 2.0]])
    assert functional.leaky_relu_backward(np.ones((1, 4)), x, 0.5).tolist() == [[0.5, 0.5, 0.5, 1.0]]
    grad_x, grad_weight = functional.prelu_backward(np.ones((1, 4)), x, np.array([0.5]))
    assert (grad_x.tolist(), grad_weight.tolist()) == ([[0.5, 0.5, 0.5, 1.0]], [-1.0])


def test_same_bits_for_any_threads(isa, rng, dtype) -> None:
    images, grad = normal(rng, 9, 12, 41, 43, dtype=dtype), normal(rng, 9, 12, 41, 43, dtype=dtype)
    slopes = normal(rng, 12, dtype=dtype)

    def everything() -> tuple[np.ndarray, ...]:
        y, z = functional.sigmoid(images), functional.tanh(images)
        smooth = y, z, functional.sigmoid_backward(grad, y), functional.tanh_backward(grad, z)
        one = functional.prelu_backward(grad, images, slopes[:1])
        rows = functional.prelu_backward(grad.reshape(-1, 12), images.reshape(-1, 12), slopes)
        return *smooth, *one, *rows, *functional.prelu_backward(grad, images, slopes), functional.prelu(images, slopes)

    assert_same_bits_for_any_threads(everything)
