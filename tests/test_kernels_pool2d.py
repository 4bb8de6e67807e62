"""The pooling kernels of every instruction set against the definition."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from helpers import (
    Array,
    assert_close,
    assert_same_bits_for_any_threads,
    in_lanes,
    normal,
    out_of_lanes,
    poisoned,
    ties,
)
from hypothesis import given
from hypothesis import strategies as st

from cnnlib import _kernels, functional, reference
from cnnlib.errors import ConfigError
from cnnlib.functional.pooling import pool_options
from cnnlib.shapes import pair, pool2d_windows


class Pool(NamedTuple):
    n: int = 2
    c: int = 3
    h: int = 6
    w: int = 7
    kernel: Any = 2
    stride: Any = None
    padding: Any = 0
    ceil_mode: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return self.n, self.c, self.h, self.w

    @property
    def settings(self) -> tuple[Any, ...]:
        return self.kernel, self.stride, self.padding, 1, self.ceil_mode

    def averaging(self, count_include_pad: bool) -> tuple[Any, ...]:
        return self.kernel, self.stride, self.padding, count_include_pad, self.ceil_mode

    @property
    def area(self) -> int:
        return int(np.prod(pair(self.kernel, "kernel")))

    def options(self, count_include_pad: bool, lanes: bool) -> tuple[int, ...]:
        return pool_options(pool2d_windows(self.kernel, self.stride, self.padding), count_include_pad, lanes)


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
        check_winners(pool, x, y, grad, grad_x)


def check_winners(pool: Pool, x: Array, y: Array, grad: Array, grad_x: Array) -> None:
    """The gradient from winners, and both passes in lane layout, give the same bits."""
    if pool.area > functional.MOST_POSITIONS:
        with pytest.raises(ConfigError, match="bytes"):
            functional.max_pool2d_winners(x, *pool.settings)
        return
    again, winners = functional.max_pool2d_winners(x, *pool.settings, out=poisoned(y.shape, y.dtype))
    np.testing.assert_array_equal(again, y)
    out = poisoned(x.shape, x.dtype)
    by_winners = functional.max_pool2d_winners_backward(grad, winners, x.shape, *pool.settings, out=out)
    assert by_winners is out
    np.testing.assert_array_equal(by_winners, grad_x)

    element, options = ("float" if x.dtype == np.float32 else "double"), pool.options(False, True)
    x_lanes, grad_lanes = in_lanes(x), in_lanes(grad)
    y_lanes, dx_lanes, again_lanes = (poisoned(a.shape, x.dtype) for a in (grad_lanes, x_lanes, x_lanes))
    at = np.full(y_lanes.size, 77, np.uint8)
    _kernels.max_pool2d_forward[element](y_lanes, at, x_lanes, options)
    _kernels.max_pool2d_grad[element](dx_lanes, grad_lanes, None, at, options)
    _kernels.max_pool2d_grad[element](again_lanes, grad_lanes, x_lanes, None, options)
    np.testing.assert_array_equal(out_of_lanes(y_lanes, len(x)), y)
    for lanes in (dx_lanes, again_lanes):
        np.testing.assert_array_equal(out_of_lanes(lanes, len(x)), grad_x)
    at[:] = 255
    _kernels.max_pool2d_grad[element](dx_lanes, grad_lanes, None, at, options)
    assert not dx_lanes.any()


def check_avg(pool: Pool, rng: np.random.Generator, dtype: type) -> None:
    x = normal(rng, *pool.shape, dtype=dtype)
    area = pool.area
    for count_include_pad in (True, False):
        settings = pool.averaging(count_include_pad)
        expected = reference.avg_pool2d(x.astype(np.float64), *settings)
        y = functional.avg_pool2d(x, *settings, out=poisoned(expected.shape, dtype))
        assert_close(y, expected, area, term=1 / area)
        grad = normal(rng, *y.shape, dtype=dtype)
        truth = reference.avg_pool2d_backward(grad.astype(np.float64), x.shape, *settings)
        grad_x = functional.avg_pool2d_backward(grad, x, *settings, out=poisoned(x.shape, dtype))
        assert_close(grad_x, truth, area, term=1 / area)
        np.testing.assert_array_equal(functional.avg_pool2d_backward(grad, x.shape, *settings), grad_x)

        element, options = ("float" if dtype == np.float32 else "double"), pool.options(count_include_pad, True)
        x_lanes, grad_lanes = in_lanes(x), in_lanes(grad)
        y_lanes, dx_lanes = poisoned(grad_lanes.shape, dtype), poisoned(x_lanes.shape, dtype)
        _kernels.avg_pool2d_forward[element](y_lanes, x_lanes, options)
        _kernels.avg_pool2d_grad[element](dx_lanes, grad_lanes, options)
        assert_close(out_of_lanes(y_lanes, len(x)), expected, area, term=1 / area)
        assert_close(out_of_lanes(dx_lanes, len(x)), truth, area, term=1 / area)


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
    *(Pool(h=h, w=h, kernel=h, n=n, c=5) for h in (1, 2, 3, 4, 7, 9) for n in (1, 2, 7)),  # whole planes
    Pool(h=21, w=19, kernel=(15, 17), stride=(3, 2), padding=(1, 0)),
    Pool(h=21, w=19, kernel=(16, 16), stride=2, padding=1),
    Pool(n=1, c=9, h=70, w=63, kernel=3, stride=2, padding=1),  # several strips
    Pool(n=1, c=2, h=90, w=40, kernel=(7, 2), stride=(3, 2)),
    *(Pool(w=w, kernel=3, stride=2, ceil_mode=True) for w in (2, 3, 4, 5, 8, 16, 17, 34)),
    *(Pool(w=w, h=5, kernel=2, ceil_mode=True) for w in (1, 2, 3, 16, 17)),  # side by side, the last one cut
    *(Pool(h=7, w=9, kernel=3, stride=2, padding=p) for p in ((0, 0, 1, 1), (0, 1, 1, 0), (2, 2, 2, 2), (1, 0, 0, 2))),
    Pool(h=8, w=6, kernel=(4, 5), stride=(3, 2), padding=(0, 3, 3, 4), ceil_mode=True),
    Pool(h=2, w=3, kernel=5, stride=4, padding=(0, 2, 4, 0), ceil_mode=True),
    Pool(n=1, c=9, h=70, w=62, kernel=3, stride=2, padding=(0, 0, 1, 1)),  # several strips
    Pool(n=1, c=9, h=71, w=63, kernel=2, ceil_mode=True),
]


@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_max_pool2d(isa, pool, rng, dtype) -> None:
    check_max(pool, rng, dtype)


@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_avg_pool2d(isa, pool, rng, dtype) -> None:
    check_avg(pool, rng, dtype)


@st.composite
def pools(draw: st.DrawFn) -> Pool:
    """Draw sizes so that at least one window fits, and padding that is smaller than the kernel on every side."""

    def axis() -> tuple[int, ...]:
        kernel, stride = draw(st.integers(1, 5)), draw(st.integers(1, 6))
        before, after = (draw(st.integers(0, kernel - 1)) for _ in range(2))
        return draw(st.integers(max(1, kernel - before - after), 20)), kernel, stride, before, after

    (h, *down), (w, *across) = axis(), axis()
    kernel, stride, before, after = zip(down, across, strict=True)
    padding = (*before, *after)
    return Pool(draw(st.integers(1, 9)), draw(st.integers(1, 9)), h, w, kernel, stride, padding, draw(st.booleans()))


@given(pool=pools(), seed=st.integers(0, 2**32 - 1))
def test_drawn_pools(isa, dtype, pool, seed) -> None:
    check_max(pool, np.random.default_rng(seed), dtype)
    check_avg(pool, np.random.default_rng(seed), dtype)


@pytest.mark.parametrize("settings", [(2, None, 0), (3, 2, 1), (3, 1, 1), (3, 2, (0, 0, 1, 1))])
def test_same_bits_for_any_threads(isa, rng, dtype, settings) -> None:
    x = ties(rng, 33, 20, 28, 27, dtype=dtype)
    grad = normal(rng, *functional.max_pool2d(x, *settings).shape, dtype=dtype)
    assert_same_bits_for_any_threads(
        lambda: (
            *functional.max_pool2d_winners(x, *settings),
            functional.max_pool2d_backward(grad, x, *settings),
            functional.avg_pool2d(x, *settings),
            functional.avg_pool2d_backward(grad, x, *settings),
        )
    )
