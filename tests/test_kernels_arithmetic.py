"""Arithmetic of arrays, and outputs that go past the caches, of every instruction set against the definition."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from helpers import assert_close, assert_same_bits_for_any_threads, check_gradient, normal, poisoned

from cnnlib import functional, reference
from cnnlib.errors import DTypeError, ShapeError

SHAPES = [(), (1,), (2, 3), (2, 3, 4, 5), *((n,) for n in (3, 4, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 1000))]
OPERATIONS = ("add", "subtract", "multiply", "divide")


def away_from_zero(x: np.ndarray) -> np.ndarray:
    return np.where(x < 0, x - 0.5, x + 0.5).astype(x.dtype)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", OPERATIONS)
def test_arithmetic_is_numpys(isa, rng, dtype, shape, name) -> None:
    a, b = normal(rng, *shape, dtype=dtype), normal(rng, *shape, dtype=dtype)
    a.flat[: min(a.size, 3)] = [np.nan, np.inf, 0][: a.size]
    with np.errstate(all="ignore"):
        b.flat[: min(b.size, 3)] = rng.permutation([0, -np.inf, 1])[: b.size]
        expected = getattr(reference, name)(a, b)
        function = getattr(functional, name)
        np.testing.assert_array_equal(function(a, b, out=poisoned(shape, dtype)), expected)
    for over in (0, 1):
        arrays = [a.copy(), b.copy()]
        assert function(*arrays, out=arrays[over]) is arrays[over]
        np.testing.assert_array_equal(arrays[over], expected)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_constants_and_quotients(isa, rng, dtype, shape) -> None:
    x, grad = away_from_zero(normal(rng, *shape, dtype=dtype)), normal(rng, *shape, dtype=dtype)
    wide = x.astype(np.float64)
    y = functional.affine(x, 3.25, -1.5, out=poisoned(shape, dtype))
    assert_close(y, reference.affine(wide, 3.25, -1.5))
    quotient = functional.reciprocal(x, 0.7, out=poisoned(shape, dtype))
    np.testing.assert_array_equal(quotient, reference.reciprocal(x, 0.7))
    outs = poisoned(shape, dtype), poisoned(shape, dtype)
    gradients = functional.divide_backward(grad, x, quotient, out=outs)
    for actual, expected in zip(gradients, reference.divide_backward(grad, x, quotient), strict=True):
        np.testing.assert_array_equal(actual, expected)
    assert functional.divide_backward(grad, x, quotient, needs=(False, True))[0] is None
    assert functional.divide_backward(grad, x, quotient, needs=(True, False))[1] is None
    for function, expected in ((lambda: functional.affine(x, 3.25, -1.5, out=x), y),):
        np.testing.assert_array_equal(function(), expected)


def test_definitions_are_differentiated_rightly(rng) -> None:
    a, b = normal(rng, 3, 4), away_from_zero(normal(rng, 3, 4))
    for which, array in enumerate((a, b)):
        check_gradient(
            lambda: reference.divide(a, b),
            lambda g, i=which: reference.divide_backward(g, b, reference.divide(a, b))[i],
            array,
        )
    check_gradient(
        lambda: reference.reciprocal(b, 3), lambda g: reference.divide_backward(g, b, reference.reciprocal(b, 3))[1], b
    )


def test_what_does_not_fit_is_refused() -> None:
    x = np.ones((2, 3), np.float32)
    with pytest.raises(ShapeError, match=r"b has shape \(2, 1\): expected \(2, 3\), the shape of a"):
        functional.add(x, x[:, :1])
    with pytest.raises(DTypeError, match="b has dtype float64"):
        functional.add(x, x.astype(np.float64))
    with pytest.raises(ShapeError, match="grad_output has shape"):
        functional.divide_backward(x[:1], x, x)
    overlapping = np.ones(5, np.float32)
    with pytest.raises(ShapeError, match="overlaps an input"):
        functional.add(overlapping[:4], overlapping[:4], out=overlapping[1:])


# Outputs of at least 32 MiB are stored past the caches where the instruction set can.
LARGE = (32 << 20) + 4096


def pieces(size: int) -> list[slice]:
    return [slice(start, min(start + 100_003, size)) for start in range(0, size, 100_003)]


ELEMENTWISE: dict[str, Callable[..., np.ndarray]] = {
    **{name: getattr(functional, name) for name in OPERATIONS},
    "quotient": lambda a, b, out=None: functional.divide_backward(a, b, a, needs=(False, True), out=(None, out))[1],
    "affine": lambda a, _, out=None: functional.affine(a, 3, -1, out=out),
    "reciprocal": lambda a, _, out=None: functional.reciprocal(a, 3, out=out),
    "relu": lambda a, _, out=None: functional.relu(a, out=out),
    "tanh": lambda a, _, out=None: functional.tanh(a, out=out),
    "sigmoid": lambda a, _, out=None: functional.sigmoid(a, out=out),
    "leaky_relu": lambda a, _, out=None: functional.leaky_relu(a, out=out),
    **{
        f"{name}_backward": getattr(functional, f"{name}_backward")
        for name in ("relu", "tanh", "sigmoid", "leaky_relu")
    },
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_large_outputs_are_small_ones_side_by_side(isa, rng, dtype, name) -> None:
    """At any alignment, with nothing written beside the output, and the same over an input."""
    size, function = LARGE // np.dtype(dtype).itemsize + 5, ELEMENTWISE[name]
    block = away_from_zero(normal(rng, 10_007, dtype=dtype))
    a, b = np.resize(block, size), np.resize(block[::-1], size)
    room = poisoned((size + 20,), dtype)
    out = room[3 : size + 3]
    function(a, b, out=out)
    expected = np.concatenate([function(a[part], b[part]) for part in pieces(size)])
    assert out.tobytes() == expected.tobytes()
    assert np.isnan(room[:3]).all()
    assert np.isnan(room[size + 3 :]).all()
    if name != "quotient":
        assert function(a, b, out=a).tobytes() == expected.tobytes()


def test_large_planes_are_small_ones_side_by_side(isa, rng, dtype) -> None:
    shape = (3, 5, 751, LARGE // np.dtype(dtype).itemsize // (15 * 751) + 1)
    x = np.resize(normal(rng, 10_007, dtype=dtype), shape)
    grad, slopes = x[::-1].copy(), normal(rng, 5, dtype=dtype)
    mean, var = functional.batch_moments(x)

    def both(x: np.ndarray, grad: np.ndarray) -> list[np.ndarray | None]:
        norm = functional.batch_norm(x, mean, var, slopes, mean)
        return [norm, functional.prelu(x, slopes), functional.prelu_backward(grad, x, slopes)[0]]

    for large, *small in zip(both(x, grad), *(both(x[[i]], grad[[i]]) for i in range(3)), strict=True):
        assert large.tobytes() == np.concatenate(small).tobytes()
    truth = reference.batch_norm_backward(grad, x, mean, var, slopes)
    for actual, expected in zip(functional.batch_norm_backward(grad, x, mean, var, slopes), truth, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_same_bits_for_any_threads(isa, rng, dtype) -> None:
    size = LARGE // np.dtype(dtype).itemsize
    large = np.resize(away_from_zero(normal(rng, 10_007, dtype=dtype)), size)

    def everything() -> tuple[np.ndarray, ...]:
        small = large[:100_000]
        few = [getattr(functional, name)(small, small) for name in OPERATIONS]
        return *few, functional.divide(large, large), functional.affine(large, 2, 1), functional.reciprocal(small)

    assert_same_bits_for_any_threads(everything)
