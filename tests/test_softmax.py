"""Softmax and its logarithm along any dimension, as PyTorch has them, and at extremes."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_close, assert_same_bits_for_any_threads, check_gradient, normal, poisoned

from cnnlib import functional, layers, reference
from cnnlib.errors import ShapeError
from cnnlib.model import Sequential

SHAPES = [
    ((1, 1), 1),
    ((3, 17), 1),
    ((65, 33), -1),
    ((4, 5, 3, 2), 1),
    ((4, 5, 3, 2), 2),
    ((2, 3, 65), -1),
    ((5, 2), 0),
]


@pytest.mark.parametrize(("shape", "dim"), SHAPES, ids=str)
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_any_dimension(isa, rng, dtype, name, shape, dim) -> None:
    x, grad = 3 * normal(rng, *shape, dtype=dtype), normal(rng, *shape, dtype=dtype)
    forward, backward = getattr(functional, name), getattr(functional, f"{name}_backward")
    y = forward(x, dim, out=poisoned(shape, dtype))
    assert_close(y, getattr(reference, name)(x.astype(np.float64), dim), shape[dim])
    grad_x = backward(grad, y, dim, out=poisoned(shape, dtype))
    truth = getattr(reference, f"{name}_backward")(grad.astype(np.float64), y.astype(np.float64), dim)
    assert_close(grad_x, truth, shape[dim], term=1.0)
    np.testing.assert_array_equal(forward(x, dim, out=x), y)
    np.testing.assert_array_equal(backward(grad, y, dim, out=y), grad_x)


@pytest.mark.parametrize(("shape", "dim"), SHAPES, ids=str)
def test_log_softmax_as_pytorch_has_it(rng, shape, dim) -> None:
    torch = pytest.importorskip("torch")
    x, grad = 5 * normal(rng, *shape), normal(rng, *shape)
    theirs = torch.from_numpy(x.copy()).requires_grad_()
    y = torch.nn.functional.log_softmax(theirs, dim)
    y.backward(torch.from_numpy(grad))
    ours = functional.log_softmax(x, dim)
    np.testing.assert_allclose(ours, y.detach().numpy(), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(
        functional.log_softmax_backward(grad, ours, dim), theirs.grad.numpy(), rtol=1e-11, atol=1e-12
    )


def test_definition_is_differentiated_rightly(rng) -> None:
    x = normal(rng, 3, 4, 2)
    for dim in (0, 1, -1):
        check_gradient(
            lambda d=dim: reference.log_softmax(x, d),
            lambda g, d=dim: reference.log_softmax_backward(g, reference.log_softmax(x, d), d),
            x,
        )


def test_log_softmax_at_extremes(isa, dtype) -> None:
    x = np.array([[1e4, -1e4, 0], [-np.inf, 0, 0], [0, np.nan, 0]], dtype)
    y = functional.log_softmax(x)
    half = dtype(np.log(0.5))
    np.testing.assert_allclose(y, np.array([[0, -2e4, -1e4], [-np.inf, half, half], [np.nan] * 3], dtype), rtol=1e-6)
    grad = functional.log_softmax_backward(np.array([[1, 1, 0]], dtype), y[1:2])
    np.testing.assert_allclose(grad, [[1, 0, -1]], atol=1e-6)


def test_same_bits_for_any_threads(isa, rng, dtype) -> None:
    x, grad = normal(rng, 9, 12, 41, 43, dtype=dtype), normal(rng, 9, 12, 41, 43, dtype=dtype)

    def everything() -> tuple[np.ndarray, ...]:
        y = functional.log_softmax(x)
        return y, functional.log_softmax_backward(grad, y), functional.softmax(x, -1)

    assert_same_bits_for_any_threads(everything)


def test_in_a_plan_between_convolutions(isa, rng) -> None:
    """Over the channels it works in lane layout, along a row it does not."""
    for dim in (1, -1):
        model = Sequential(
            layers.Conv2d(2, 4, 3, rng=0), layers.Softmax(dim), layers.Conv2d(4, 3, 3, rng=1), input_shape=(2, 8, 7)
        )
        x = normal(rng, 32, 2, 8, 7, dtype=np.float32)
        alone = x
        for node in model.graph.nodes:
            alone = alone if node.layer is None else node.layer.forward(alone)
        np.testing.assert_allclose(model.predict(x), alone, rtol=1e-5, atol=1e-6)


def test_a_dimension_that_is_not_there() -> None:
    with pytest.raises(ShapeError, match=r"Softmax\(dim=3\).*N × 4 × 5.*no dimension 3"):
        layers.Softmax(3).output_shape((4, 5))
    with pytest.raises(ShapeError, match="no dimension -2 beside the batch"):
        layers.LogSoftmax(-2).output_shape((4,))
