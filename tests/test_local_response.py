"""Local response normalisation: against the definition, PyTorch and ONNX Runtime; at extremes, in plans."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_close, assert_same_bits_for_any_threads, check_gradient, normal, poisoned

from cnnlib import functional, layers, reference
from cnnlib.errors import ConfigError, ShapeError
from cnnlib.model import Sequential

SETTINGS = (0.7, 0.6, 1.5)  # alpha, beta, k
SHAPES = [(1, 1), (3, 17), (2, 5, 7), (3, 6, 5, 7), (2, 33, 17, 16), (1, 96, 3, 1)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 200])
def test_against_the_definition(isa, rng, dtype, shape, size) -> None:
    x, grad = 2 * normal(rng, *shape, dtype=dtype), normal(rng, *shape, dtype=dtype)
    y = functional.local_response_norm(x, size, *SETTINGS, out=poisoned(shape, dtype))
    assert_close(y, reference.local_response_norm(x.astype(np.float64), size, *SETTINGS), size)
    dx = functional.local_response_norm_backward(grad, x, size, *SETTINGS, out=poisoned(shape, dtype))
    truth = reference.local_response_norm_backward(grad.astype(np.float64), x.astype(np.float64), size, *SETTINGS)
    assert_close(dx, truth, size, term=1.0)


@pytest.mark.parametrize("size", [1, 2, 5, 20])
def test_definition_is_differentiated_rightly(rng, size) -> None:
    x = normal(rng, 2, 6, 3)
    check_gradient(
        lambda: reference.local_response_norm(x, size, *SETTINGS),
        lambda g: reference.local_response_norm_backward(g, x, size, *SETTINGS),
        x,
    )


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("settings", [(), SETTINGS, (1e-4, 0.75, 2.0), (2.0, 1.7, 0.01)], ids=str)
def test_as_pytorch_has_it(rng, size, settings) -> None:
    torch = pytest.importorskip("torch")
    x, grad = 3 * normal(rng, 2, 7, 4, 5), normal(rng, 2, 7, 4, 5)
    theirs = torch.from_numpy(x.copy()).requires_grad_()
    y = torch.nn.LocalResponseNorm(size, *settings)(theirs)
    y.backward(torch.from_numpy(grad))
    layer = layers.LocalResponseNorm(size, *settings)
    np.testing.assert_allclose(layer.forward(x, training=True), y.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(layer.backward(grad), theirs.grad.numpy(), rtol=1e-10, atol=1e-12)


def test_extremes(isa, dtype) -> None:
    """A NaN reaches its window and no further; small and large sums keep their exponents."""
    x = np.ones((1, 7, 1), dtype)
    x[0, 3] = np.nan
    assert np.flatnonzero(np.isnan(functional.local_response_norm(x, 3))).tolist() == [2, 3, 4]
    ones = np.ones((1, 1, 40), dtype)
    for k, alpha in ((1e-30, 0.0), (1e30, 0.0), (1.0, 1e30), (1e-3, 0.0)):
        expected = reference.local_response_norm(ones.astype(np.float64), 1, alpha, 0.75, k)
        np.testing.assert_allclose(functional.local_response_norm(ones, 1, alpha, 0.75, k), expected, rtol=2e-5)


def test_same_bits_for_any_threads_and_any_batch(isa, rng, dtype) -> None:
    x, grad = normal(rng, 5, 12, 41, 43, dtype=dtype), normal(rng, 5, 12, 41, 43, dtype=dtype)

    def everything() -> tuple[np.ndarray, ...]:
        return functional.local_response_norm(x, 5), functional.local_response_norm_backward(grad, x, 5)

    assert_same_bits_for_any_threads(everything)
    y, dx = everything()
    np.testing.assert_array_equal(y[3:4], functional.local_response_norm(x[3:4], 5))
    np.testing.assert_array_equal(dx[3:4], functional.local_response_norm_backward(grad[3:4], x[3:4], 5))


def test_plans_keep_it_in_lanes(isa, rng) -> None:
    model = Sequential(
        layers.Conv2d(2, 6, 3, rng=0),
        layers.LocalResponseNorm(3, 0.5),
        layers.Conv2d(6, 3, 3, rng=1),
        input_shape=(2, 8, 7),
    )
    x, dy = normal(rng, 32, 2, 8, 7, dtype=np.float32), normal(rng, 32, 3, 4, 3, dtype=np.float32)
    y = model.forward(x, training=True)
    dx = model.backward(dy)
    alone = [node.layer for node in model.graph.nodes if node.layer is not None]
    expected, back = x, dy
    for layer in alone:
        expected = layer.forward(expected, training=True)
    for layer in reversed(alone):
        back = layer.backward(back)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(dx, back, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: layers.LocalResponseNorm(0), ConfigError, "size = 0"),
        (lambda: layers.LocalResponseNorm(2**40), ConfigError, "size = 1099511627776"),
        (lambda: layers.LocalResponseNorm(5, k=0), ConfigError, "k = 0"),
        (lambda: layers.LocalResponseNorm(5, alpha=-1), ConfigError, "alpha = -1"),
        (lambda: layers.LocalResponseNorm(5, beta=np.nan), ConfigError, "beta = nan"),
        (lambda: layers.LocalResponseNorm(5).output_shape(()), ShapeError, "needs N × C"),
        (lambda: functional.local_response_norm(np.ones(3), 5), ShapeError, r"\(3,\)"),
    ],
)
def test_refused(make, error, message) -> None:
    with pytest.raises(error, match=message):
        make()
