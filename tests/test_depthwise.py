"""Convolutions whose output channels each read one input channel, against the definition in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import Array, assert_close, assert_same_bits_for_any_threads, guarded, normal, poisoned
from hypothesis import given
from hypothesis import strategies as st

from cnnlib import _kernels, functional, reference

# N, C, H, W, outputs of a channel, kernel, stride, padding, dilation
CASES = {
    "mobilenet": (2, 8, 14, 14, 1, 3, 1, 1, 1),
    "mobilenet-stride": (3, 4, 15, 14, 1, 3, 2, 1, 1),
    "5x5": (2, 3, 11, 19, 1, 5, 1, 2, 1),
    "7x7": (1, 4, 12, 33, 2, 7, (1, 2), 3, 1),
    "1x1": (2, 5, 6, 7, 3, 1, 1, 0, 1),
    "one-row-filter": (2, 3, 6, 18, 1, (1, 4), 1, (0, 2), 1),
    "one-column-filter": (2, 3, 9, 5, 2, (4, 1), 1, (1, 0), 1),
    "narrow": (17, 2, 7, 1, 1, 3, 1, 1, 1),
    "flat": (2, 3, 1, 40, 1, 3, 1, 1, 1),
    "pixel": (1, 2, 1, 1, 2, 1, 1, 0, 1),
    "only-padding-around-a-pixel": (1, 2, 1, 1, 1, 3, 1, 3, 1),
    "more-padding-than-filter": (2, 2, 4, 5, 2, 3, 1, 7, 1),
    "more-padding-with-stride": (2, 2, 4, 5, 1, 3, (3, 2), (5, 4), 1),
    "dilation": (2, 3, 12, 11, 1, 3, 1, 2, 2),
    "dilation-beyond-outputs": (2, 3, 9, 9, 2, 3, 1, 0, (4, 3)),
    "dilation-and-stride": (2, 3, 13, 17, 2, 3, (2, 3), (1, 2), (3, 2)),
    "dilation-as-stride": (2, 3, 13, 17, 1, 3, 2, 2, 2),
    "stride-beyond-filter": (2, 3, 13, 17, 1, 2, (5, 3), 0, 1),
    "stride-leaves-a-rim": (1, 2, 12, 12, 1, 3, 5, 1, 1),
    "wide": (1, 2, 5, 130, 1, 3, 1, 1, 1),
}


def arrays(case: tuple[Any, ...], rng: np.random.Generator, dtype: type) -> tuple[Array, Array, Array, tuple[Any, ...]]:
    n, c, h, w, m, kernel, *settings = case
    r, s = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    x, weight = normal(rng, n, c, h, w, dtype=dtype), normal(rng, m * c, 1, r, s, dtype=dtype)
    return x, weight, normal(rng, m * c, dtype=dtype), (*settings, c)


def check(case: tuple[Any, ...], rng: np.random.Generator, dtype: type) -> None:
    """Compare output and gradients, each written over NaN, with the definition."""
    x, weight, bias, settings = arrays(case, rng, dtype)
    x64, weight64, bias64 = (a.astype(np.float64) for a in (x, weight, bias))
    expected = reference.conv2d(x64, weight64, bias64, *settings)
    y = functional.conv2d(x, weight, bias, *settings, out=poisoned(expected.shape, dtype))
    assert_close(y, expected, weight[0].size + 1, term=1.0)

    dy = normal(rng, *y.shape, dtype=dtype)
    outs = tuple(poisoned(a.shape, dtype) for a in (x, weight, bias))
    grads = functional.conv2d_backward(dy, x, weight, *settings, out=outs)
    truth = reference.conv2d_backward(dy.astype(np.float64), x64, weight64, *settings)
    terms = weight.size // x.shape[1], dy.size // len(weight), dy.size // len(weight)
    for actual, wanted, count in zip(grads, truth, terms, strict=True):
        assert actual is not None
        assert_close(actual, wanted, count, term=1.0)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_depthwise(case, isa, dtype, rng) -> None:
    check(case, rng, dtype)


@pytest.mark.parametrize("width", [*range(2, 10), *range(14, 20), 31, 32, 33])
@pytest.mark.parametrize("kernel", [3, 4])
def test_widths_around_the_vector(width, kernel, isa, dtype, rng) -> None:
    check((2, 2, 5 + width % 4, width, 1, kernel, 1, 2, 1), rng, dtype)


@st.composite
def depthwise(draw: st.DrawFn) -> tuple[Any, ...]:
    """Draw sizes so that at least one window fits, by growing the image where it does not."""

    def axis() -> tuple[int, ...]:
        size, kernel, stride = draw(st.integers(1, 37)), draw(st.integers(1, 7)), draw(st.integers(1, 4))
        padding, dilation = draw(st.integers(0, 8)), draw(st.integers(1, 3))
        return max(size, (kernel - 1) * dilation + 1 - 2 * padding), kernel, stride, padding, dilation

    (h, *down), (w, *across) = axis(), axis()
    count = draw(st.integers(1, 6)), draw(st.integers(2, 6))
    return (*count, h, w, draw(st.integers(1, 3)), *zip(down, across, strict=True))


@given(case=depthwise(), seed=st.integers(0, 2**32 - 1))
def test_drawn_depthwise(isa, dtype, case, seed) -> None:
    check(case, np.random.default_rng(seed), dtype)


@pytest.mark.parametrize(
    "needs", [(True, False, False), (False, True, False), (False, False, True), (True, False, True)]
)
def test_only_needed_gradients_are_computed(needs, isa, rng) -> None:
    x, weight, bias, settings = arrays(CASES["dilation-and-stride"], rng, np.float32)
    dy = normal(rng, *functional.conv2d(x, weight, bias, *settings).shape, dtype=np.float32)
    full = functional.conv2d_backward(dy, x, weight, *settings)
    some = functional.conv2d_backward(dy, x, weight, *settings, needs=needs)
    for needed, one, all_ in zip(needs, some, full, strict=True):
        assert (one is None) != needed
        if needed:
            np.testing.assert_array_equal(one, all_)


@pytest.mark.parametrize(
    "case", [(5, 3, 30, 31, 2, 3, 1, 1, 1), (16, 96, 14, 14, 1, 3, 1, 1, 1), (1, 130, 9, 9, 1, 5, 2, 2, 1)]
)
def test_same_bits_for_any_threads(case, isa, dtype, rng) -> None:
    x, weight, bias, settings = arrays(case, rng, dtype)
    dy = normal(rng, *functional.conv2d(x, weight, bias, *settings).shape, dtype=dtype)
    assert_same_bits_for_any_threads(
        lambda: (
            functional.conv2d(x, weight, bias, *settings),
            *functional.conv2d_backward(dy, x, weight, *settings),
        )
    )


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("name", ["mobilenet", "5x5", "more-padding-with-stride", "dilation-and-stride", "pixel"])
def test_nothing_outside_the_arrays_is_touched(name, side, isa, dtype, rng) -> None:
    x, weight, bias, settings = arrays(CASES[name], rng, dtype)
    y = functional.conv2d(x, weight, bias, *settings)
    dy = normal(rng, *y.shape, dtype=dtype)
    grads = functional.conv2d_backward(dy, x, weight, *settings)
    x, weight, bias, out, dy = (guarded(a, side) for a in (x, weight, bias, y, dy))
    np.testing.assert_array_equal(functional.conv2d(x, weight, bias, *settings, out=out), y)
    outs = tuple(guarded(a, side) for a in (x, weight, bias))
    for one, other in zip(functional.conv2d_backward(dy, x, weight, *settings, out=outs), grads, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("pad", [0, 1])
def test_nan_stays_in_what_reads_it(pad, isa, dtype, rng) -> None:
    x, weight, bias, settings = arrays((2, 3, 9, 20, 1, 3, 1, pad, 1), rng, dtype)
    x[1, 1, 0, -1] = np.nan
    y = functional.conv2d(x, weight, bias, *settings)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(reference.conv2d(x, weight, bias, *settings)))
    dy = normal(rng, *y.shape, dtype=dtype)
    dy[0, 2, 3, -1] = np.nan
    dx, dw, db = functional.conv2d_backward(dy, x, weight, *settings)
    truth = reference.conv2d_backward(dy, np.nan_to_num(x), weight, *settings)
    np.testing.assert_array_equal(np.isnan(dx), np.isnan(truth[0]))
    assert [np.isnan(dw[c]).any() for c in range(3)] == [False, True, True]
    np.testing.assert_array_equal(np.isnan(db), [False, False, True])


@pytest.mark.parametrize("relu", [0, 1])
@pytest.mark.parametrize("scaled", [False, True])
def test_fused_is_what_the_parts_give(relu, scaled, isa, dtype, rng) -> None:
    n, c, *_, kernel, stride, pad, dilation = CASES["mobilenet-stride"]
    x, weight, bias, settings = arrays(CASES["mobilenet-stride"], rng, dtype)
    scale = normal(rng, len(weight), dtype=dtype) if scaled else None
    plain = functional.conv2d(x, weight, None, *settings)
    plain = (plain if scale is None else plain * scale[:, None, None]) + bias[:, None, None]
    options, instance = (stride, stride, pad, pad, dilation, dilation, c), "float" if dtype is np.float32 else "double"
    layout = (n, *plain.shape[2:], 0, 0, relu, 0)
    y = poisoned(plain.shape, dtype)
    _kernels.conv2d_forward[instance](y, None, x, weight, bias, scale, options, layout)
    assert_close(y, (functional.relu(plain) if relu else plain).astype(np.float64), kernel**2, term=1.0)
    assert _kernels.conv2d_way(x.shape, weight.shape, options, layout, False) == "depthwise"

    dy = normal(rng, *y.shape, dtype=dtype)
    grads = [poisoned(a.shape, dtype) for a in (x, weight, bias)]
    _kernels.conv2d_backward[instance](*grads, dy, y if relu else None, None, x, weight, options, layout)
    bent = np.where(y > 0, dy, 0).astype(dtype) if relu else dy
    for one, other in zip(grads, functional.conv2d_backward(bent, x, weight, *settings), strict=True):
        np.testing.assert_array_equal(one, other)
