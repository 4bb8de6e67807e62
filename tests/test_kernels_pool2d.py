"""The pooling kernels of every instruction set against the definition."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from helpers import assert_close, assert_same_bits_for_any_threads, normal, poisoned, ties
from hypothesis import given
from hypothesis import strategies as st

from cnnlib import functional, reference


class Pool(NamedTuple):
    n: int = 2
    c: int = 3
    h: int = 6
    w: int = 7
    kernel: Any = 2
    stride: Any = None
    padding: Any = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return self.n, self.c, self.h, self.w

    @property
    def settings(self) -> tuple[Any, ...]:
        return self.kernel, self.stride, self.padding


def check_max(pool: Pool, rng: np.random.Generator, dtype: type) -> None:
    """Compare on inputs with ties, infinities and NaN; a maximum is exact, its gradient a sum over few windows."""
    for specials in ([], [-np.inf, np.inf], [np.nan, -np.inf]):
        x = ties(rng, *pool.shape, dtype=dtype)
        for special in specials:
            x[rng.random(x.shape) < 0.2] = special
        expected = reference.max_pool2d(x, *pool.settings)
        y = functional.max_pool2d(x, *pool.settings, out=poisoned(expected.shape, dtype))
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, expected)
        grad = normal(rng, *y.shape, dtype=dtype)
        truth = reference.max_pool2d_backward(grad.astype(np.float64), x.astype(np.float64), *pool.settings)
        grad_x = functional.max_pool2d_backward(grad, x, *pool.settings, out=poisoned(x.shape, dtype))
        assert_close(grad_x, truth, 9)
        np.testing.assert_array_equal(grad_x == 0, truth == 0)  # the same pixels won


def check_avg(pool: Pool, rng: np.random.Generator, dtype: type) -> None:
    x = normal(rng, *pool.shape, dtype=dtype)
    area = int(np.prod(pool.kernel)) if isinstance(pool.kernel, tuple) else pool.kernel**2
    for count_include_pad in (True, False):
        settings = (*pool.settings, count_include_pad)
        expected = reference.avg_pool2d(x.astype(np.float64), *settings)
        y = functional.avg_pool2d(x, *settings, out=poisoned(expected.shape, dtype))
        assert_close(y, expected, area, term=1 / area)
        grad = normal(rng, *y.shape, dtype=dtype)
        truth = reference.avg_pool2d_backward(grad.astype(np.float64), x.shape, *settings)
        grad_x = functional.avg_pool2d_backward(grad, x, *settings, out=poisoned(x.shape, dtype))
        assert_close(grad_x, truth, area, term=1 / area)
        np.testing.assert_array_equal(functional.avg_pool2d_backward(grad, x.shape, *settings), grad_x)


POOLS = [
    *(Pool(n=n) for n in (1, 3, 5, 7, 8, 15, 16, 17, 33)),
    *(Pool(c=c, n=1, h=4, w=4) for c in (1, 2, 4, 5, 6, 7, 16, 17, 20)),
    *(Pool(w=w, h=3) for w in (*range(2, 10), *range(13, 18), 28, 33)),
    *(Pool(w=w, kernel=3, stride=2) for w in (3, 4, 5, 8, 9, 15, 16, 17, 35)),
    *(Pool(w=w, kernel=3, stride=1, padding=1) for w in (1, 2, 3, 7, 8, 9, 17)),
    Pool(h=28, w=28, c=20, n=17),
    Pool(kernel=1),
    Pool(kernel=1, stride=3),
    Pool(kernel=(6, 7)),
    Pool(kernel=(2, 3), stride=(3, 1), padding=(1, 0)),
    Pool(kernel=(3, 2), stride=(1, 3), padding=(0, 1)),
    Pool(h=9, w=11, kernel=(5, 4), stride=(2, 1), padding=(2, 1)),
    Pool(h=1, w=1, kernel=2, stride=2, padding=1),
    Pool(h=5, w=5, kernel=2, stride=4),
    Pool(h=10, w=9, kernel=3, stride=5, padding=1),
]


@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_max_pool2d(isa, pool, rng, dtype) -> None:
    check_max(pool, rng, dtype)


@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_avg_pool2d(isa, pool, rng, dtype) -> None:
    check_avg(pool, rng, dtype)


@st.composite
def pools(draw: st.DrawFn) -> Pool:
    """Draw sizes so that at least one window fits and padding is at most half the kernel."""

    def axis() -> tuple[int, ...]:
        kernel, stride = draw(st.integers(1, 5)), draw(st.integers(1, 6))
        padding = draw(st.integers(0, kernel // 2))
        return draw(st.integers(max(1, kernel - 2 * padding), 20)), kernel, stride, padding

    (h, *down), (w, *across) = axis(), axis()
    settings = zip(down, across, strict=True)
    return Pool(draw(st.integers(1, 9)), draw(st.integers(1, 9)), h, w, *settings)


@given(pool=pools(), seed=st.integers(0, 2**32 - 1))
def test_drawn_pools(isa, dtype, pool, seed) -> None:
    check_max(pool, np.random.default_rng(seed), dtype)
    check_avg(pool, np.random.default_rng(seed), dtype)


@pytest.mark.parametrize("settings", [(2, None, 0), (3, 2, 1), (3, 1, 1)])
def test_same_bits_for_any_threads(isa, rng, dtype, settings) -> None:
    x = ties(rng, 33, 20, 28, 27, dtype=dtype)
    grad = normal(rng, *functional.max_pool2d(x, *settings).shape, dtype=dtype)
    assert_same_bits_for_any_threads(
        lambda: (
            functional.max_pool2d(x, *settings),
            functional.max_pool2d_backward(grad, x, *settings),
            functional.avg_pool2d(x, *settings),
            functional.avg_pool2d_backward(grad, x, *settings),
        )
    )
