"""The convolution kernels of every instruction set against the definition in float64."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pytest
from helpers import assert_close, assert_same_bits_for_any_threads, normal, poisoned
from hypothesis import given
from hypothesis import strategies as st

from cnnlib import functional, reference

Array = np.ndarray[Any, Any]


class Conv(NamedTuple):
    """A convolution's sizes; `c` and `k` count all channels, of all groups."""

    n: int = 2
    c: int = 3
    h: int = 6
    w: int = 7
    k: int = 4
    r: int = 3
    s: int = 3
    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    groups: int = 1

    @property
    def settings(self) -> tuple[Any, ...]:
        return self.stride, self.padding, self.dilation, self.groups

    def arrays(self, rng: np.random.Generator, dtype: type) -> tuple[Array, Array, Array]:
        x = normal(rng, self.n, self.c, self.h, self.w, dtype=dtype)
        weight = normal(rng, self.k, self.c // self.groups, self.r, self.s, dtype=dtype)
        return x, weight, normal(rng, self.k, dtype=dtype)


def check(conv: Conv, rng: np.random.Generator, dtype: type) -> None:
    """Compare output and all gradients, each written over NaN, with the float64 definition."""
    x, weight, bias = conv.arrays(rng, dtype)
    x64, weight64, bias64 = (a.astype(np.float64) for a in (x, weight, bias))
    expected = reference.conv2d(x64, weight64, bias64, *conv.settings)
    out = poisoned(expected.shape, dtype)
    y = functional.conv2d(x, weight, bias, *conv.settings, out=out)
    assert y is out
    assert_close(y, expected, weight[0].size + 1, term=1.0)

    grad = normal(rng, *y.shape, dtype=dtype)
    outs = tuple(poisoned(a.shape, dtype) for a in (x, weight, bias))
    grads = functional.conv2d_backward(grad, x, weight, *conv.settings, out=outs)
    truth = reference.conv2d_backward(grad.astype(np.float64), x64, weight64, *conv.settings)
    per_output = grad.size // conv.k
    for actual, out, wanted, terms in zip(
        grads, outs, truth, (weight[:, 0].size // conv.groups, per_output, per_output), strict=True
    ):
        assert actual is out
        assert_close(actual, wanted, terms, term=1.0)


SIZES = {
    "batch": [Conv(n=n, padding=1) for n in (1, 2, 3, 5, 7, 8, 15, 16, 17, 33)],
    "in-channels": [Conv(c=c, h=5, w=4) for c in (1, 2, 3, 4, 5, 6, 7, 20)],
    "out-channels": [Conv(k=k, h=5, w=4, n=3) for k in (1, 2, 3, 5, 6, 7, 8, 9, 15, 16, 17, 20)],
    "width": [Conv(w=w, h=5, padding=(0, 1)) for w in (*range(1, 10), *range(13, 18), 28)],
    "width-5x5": [Conv(w=w, h=3, r=5, s=5, padding=2, k=6) for w in (*range(1, 10), *range(13, 18), 28)],
    "height": [Conv(h=h, w=5, padding=(1, 0)) for h in (1, 2, 3, 4, 8, 15, 16, 17)],
    "kernel": [Conv(r=r, s=s, h=7, w=8) for r, s in ((1, 1), (1, 3), (3, 1), (2, 2), (4, 5), (7, 7), (7, 8))],
    "1x1": [
        Conv(r=1, s=1, n=n, c=c, k=k, stride=t) for n, c, k, t in ((1, 7, 5, 1), (16, 20, 9, 2), (17, 4, 33, (1, 2)))
    ],
    "stride": [
        Conv(h=9, w=10, stride=t, padding=p) for t, p in ((2, 0), ((1, 2), 1), ((3, 1), 0), (4, (2, 1)), (11, 2))
    ],
    "padding": [Conv(h=4, w=3, padding=p) for p in ((0, 2), (2, 0), "same", (3, 5), 7)],
    "dilation": [
        Conv(h=9, w=8, dilation=d, padding=p) for d, p in ((2, 0), ((1, 3), (0, 2)), ((4, 1), 1), (2, "same"))
    ],
    "groups": [
        Conv(c=c, k=k, groups=g, padding=1) for c, k, g in ((4, 6, 2), (6, 3, 3), (6, 12, 3), (34, 4, 2), (4, 34, 2))
    ],
    "depthwise": [
        Conv(c=c, k=k, groups=c, padding=1, stride=t)
        for c, k, t in ((5, 5, 1), (16, 16, (2, 1)), (3, 9, 1), (17, 17, 2))
    ],
    "everything": [
        Conv(5, 6, 11, 9, 4, 2, 3, (2, 1), (1, 3), (3, 2), 2),
        Conv(17, 4, 8, 10, 6, 3, 2, (3, 2), (4, 0), (2, 1), 2),
        Conv(3, 9, 7, 13, 9, 3, 5, (1, 3), (5, 1), (1, 2), 9),
    ],
    "rim": [
        Conv(h=8, w=9, r=2, s=3, stride=3),
        Conv(h=11, w=12, stride=(5, 4)),
        Conv(n=16, h=6, w=6, r=2, s=2, stride=4),
    ],
    "lenet5": [Conv(17, 1, 28, 28, 20, 5, 5, 1, 2), Conv(17, 20, 14, 14, 50, 5, 5, 1, 2)],
}


@pytest.mark.parametrize("conv", [pytest.param(c, id=f"{name}-{c}") for name, cs in SIZES.items() for c in cs])
def test_conv2d(isa, conv, rng, dtype) -> None:
    check(conv, rng, dtype)


@st.composite
def convolutions(draw: st.DrawFn) -> Conv:
    """Draw sizes so that at least one window fits, by growing the image where it does not."""

    def axis() -> tuple[int, ...]:
        size, kernel, stride = draw(st.integers(1, 19)), draw(st.integers(1, 5)), draw(st.integers(1, 4))
        padding, dilation = draw(st.integers(0, 5)), draw(st.integers(1, 3))
        return max(size, (kernel - 1) * dilation + 1 - 2 * padding), kernel, stride, padding, dilation

    (h, r, *down), (w, s, *across) = axis(), axis()
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 5]))
    c, k = groups * draw(st.integers(1, 9)), groups * draw(st.integers(1, 9))
    settings = zip(down, across, strict=True)
    return Conv(draw(st.integers(1, 20)), c, h, w, k, r, s, *settings, groups)


@given(conv=convolutions(), seed=st.integers(0, 2**32 - 1))
def test_drawn_conv2d(isa, dtype, conv, seed) -> None:
    check(conv, np.random.default_rng(seed), dtype)


def test_without_bias(isa, rng, dtype) -> None:
    x, weight, _ = Conv(n=3, padding=1).arrays(rng, dtype)
    y = functional.conv2d(x, weight, padding=1)
    np.testing.assert_array_equal(y, functional.conv2d(x, weight, np.zeros(4, dtype), padding=1))


@pytest.mark.parametrize(
    "needs", [(True, False, False), (False, True, False), (False, False, True), (False, False, False)]
)
def test_only_needed_gradients_are_computed(isa, rng, needs) -> None:
    x, weight, _ = Conv().arrays(rng, np.float32)
    grad = normal(rng, *functional.conv2d(x, weight).shape, dtype=np.float32)
    everything = functional.conv2d_backward(grad, x, weight)
    for needed, some, full in zip(
        needs, functional.conv2d_backward(grad, x, weight, needs=needs), everything, strict=True
    ):
        if needed:
            np.testing.assert_array_equal(some, full)
        else:
            assert some is None


@pytest.mark.parametrize(
    "conv",
    [
        Conv(33, 3, 16, 15, 20, 5, 5, 1, 2),
        Conv(64, 20, 14, 14, 50, 5, 5, 1, 2),
        Conv(1, 8, 40, 40, 16, padding=1),
        Conv(5, 32, 14, 14, 32, padding=1, stride=(1, 2), groups=32),
        Conv(3, 64, 20, 20, 64, 1, 1),
    ],
)
def test_same_bits_for_any_threads(isa, rng, dtype, conv) -> None:
    x, weight, bias = conv.arrays(rng, dtype)
    grad = normal(rng, *functional.conv2d(x, weight, bias, *conv.settings).shape, dtype=dtype)
    assert_same_bits_for_any_threads(
        lambda: (
            functional.conv2d(x, weight, bias, *conv.settings),
            *functional.conv2d_backward(grad, x, weight, *conv.settings),
        )
    )


def test_an_image_does_not_depend_on_its_neighbours(isa, rng, dtype) -> None:
    """Images that share vectors and tiles stay apart: a NaN in one reaches no other, not even through padded lanes."""
    x, weight, bias = Conv(n=19, padding=1).arrays(rng, dtype)
    clean = functional.conv2d(x, weight, bias, padding=1)
    grad = normal(rng, *clean.shape, dtype=dtype)
    clean_grad = functional.conv2d_backward(grad, x, weight, padding=1, needs=(True, False, False))[0]
    x[7, 1, 2, 3] = grad[7, 1, 2, 3] = np.nan
    dirty = functional.conv2d(x, weight, bias, padding=1)
    dirty_grad = functional.conv2d_backward(grad, x, weight, padding=1, needs=(True, False, False))[0]
    others = np.arange(19) != 7
    for before, after in ((clean, dirty), (clean_grad, dirty_grad)):
        np.testing.assert_array_equal(after[others], before[others])
        assert np.isnan(after[7]).sum() == 9 * after.shape[1]  # a 3x3 footprint in every channel


def test_python_threads_may_call_at_once(isa, rng) -> None:
    convs = [Conv(n=9, c=8, h=12, w=12 + i, k=16, padding=1) for i in range(8)]
    arrays = [conv.arrays(rng, np.float32) for conv in convs]
    alone = [functional.conv2d(*some, padding=1) for some in arrays]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda some: functional.conv2d(*some, padding=1), arrays * 4))
    for i, y in enumerate(together):
        np.testing.assert_array_equal(y, alone[i % len(alone)])
