"""The dense product's kernels of every instruction set against the definition in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import assert_close, assert_same_bits_for_any_threads, normal, poisoned
from hypothesis import given
from hypothesis import strategies as st

from cnnlib import functional, reference


def check(n: int, inputs: int, outputs: int, rng: np.random.Generator, dtype: type) -> None:
    """Compare output and all gradients, each written over NaN, with the float64 definition."""
    x, weight = normal(rng, n, inputs, dtype=dtype), normal(rng, outputs, inputs, dtype=dtype)
    bias, grad = normal(rng, outputs, dtype=dtype), normal(rng, n, outputs, dtype=dtype)
    x64, weight64, bias64, grad64 = (a.astype(np.float64) for a in (x, weight, bias, grad))

    y = functional.linear(x, weight, bias, out=poisoned((n, outputs), dtype))
    assert_close(y, reference.linear(x64, weight64, bias64), inputs + 1, term=1.0)
    assert_close(functional.linear(x, weight), reference.linear(x64, weight64), inputs, term=1.0)

    outs: Any = tuple(poisoned(a.shape, dtype) for a in (x, weight, bias))
    grads = functional.linear_backward(grad, x, weight, out=outs)
    truth = reference.linear_backward(grad64, x64, weight64)
    for actual, out, wanted, terms in zip(grads, outs, truth, (outputs, n, n), strict=True):
        assert actual is out
        assert_close(actual, wanted, terms, term=1.0)


EDGES = (1, 2, 3, 5, 7, 8, 15, 16, 17, 33)


@pytest.mark.parametrize(
    ("n", "inputs", "outputs"),
    [
        *((n, 19, 11) for n in EDGES),
        *((5, inputs, 6) for inputs in (*EDGES, 4, 6, 9, 20, 31, 64, 65, 250)),
        *((4, 13, outputs) for outputs in (*EDGES, 4, 6, 9, 10, 20, 31, 64, 65)),
        *((size, size, size) for size in EDGES),
        (64, 245, 50),
        (65, 500, 10),
    ],
)
def test_linear(isa, rng, dtype, n, inputs, outputs) -> None:
    check(n, inputs, outputs, rng, dtype)


@given(n=st.integers(1, 70), inputs=st.integers(1, 70), outputs=st.integers(1, 70), seed=st.integers(0, 2**32 - 1))
def test_drawn_linear(isa, dtype, n, inputs, outputs, seed) -> None:
    check(n, inputs, outputs, np.random.default_rng(seed), dtype)


@pytest.mark.parametrize("needs", [(True, False, False), (False, True, False), (False, False, True)])
def test_only_needed_gradients_are_computed(isa, rng, needs) -> None:
    grad, x, weight = (normal(rng, *shape, dtype=np.float32) for shape in ((4, 6), (4, 5), (6, 5)))
    everything = functional.linear_backward(grad, x, weight)
    for needed, some, full in zip(
        needs, functional.linear_backward(grad, x, weight, needs=needs), everything, strict=True
    ):
        if needed:
            np.testing.assert_array_equal(some, full)
        else:
            assert some is None


@pytest.mark.parametrize(("n", "inputs", "outputs"), [(64, 490, 100), (1, 3000, 200), (300, 30, 10)])
def test_same_bits_for_any_threads(isa, rng, dtype, n, inputs, outputs) -> None:
    x, weight = normal(rng, n, inputs, dtype=dtype), normal(rng, outputs, inputs, dtype=dtype)
    grad, bias = normal(rng, n, outputs, dtype=dtype), normal(rng, outputs, dtype=dtype)
    assert_same_bits_for_any_threads(
        lambda: (functional.linear(x, weight, bias), *functional.linear_backward(grad, x, weight))
    )


def test_a_row_does_not_depend_on_its_neighbours(isa, rng, dtype) -> None:
    x, weight = normal(rng, 19, 21, dtype=dtype), normal(rng, 7, 21, dtype=dtype)
    clean = functional.linear(x, weight)
    x[7, 20] = np.nan
    dirty = functional.linear(x, weight)
    others = np.arange(19) != 7
    np.testing.assert_array_equal(dirty[others], clean[others])
    assert np.isnan(dirty[7]).all()
