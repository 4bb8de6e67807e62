"""Convolutions with what follows them, in either layout, are what the separate functions give, forward and backward."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import Array, assert_close, assert_same_bits_for_any_threads, normal, poisoned

from cnnlib import _kernels, functional

# N, C, H, W, K, taps, stride, padding, dilation, groups: by tiles and by panels, few and many outputs, odd images,
# ragged lanes, padding beyond the taps.
CASES = [
    (16, 2, 8, 8, 3, 5, 1, 2, 1, 1),
    (17, 9, 7, 9, 30, 3, 1, 1, 1, 1),
    (9, 20, 14, 14, 50, 5, 1, 2, 1, 1),
    (33, 6, 9, 7, 64, 1, 1, 0, 1, 1),
    (16, 4, 11, 10, 6, 3, 2, 1, 1, 2),
    (12, 3, 9, 8, 8, 3, (3, 2), (4, 0), (1, 2), 1),
]


def element(x: Array) -> str:
    return "float" if x.dtype == np.float32 else "double"


def lanes_of(dtype: Any) -> int:
    return int(_kernels.lanes() * 4 // np.dtype(dtype).itemsize)


def to_lanes(x: Array) -> Array:
    """Return images in lane layout, as ⌈N/L⌉ × C × H × W·L."""
    n, c, h, w = x.shape
    groups = -(-n // lanes_of(x.dtype))
    out = poisoned((groups, c, h, w * lanes_of(x.dtype)), x.dtype)
    _kernels.to_lanes[element(x)](out.reshape(-1), np.ascontiguousarray(x).reshape(n, -1))
    return out


def from_lanes(y: Array, n: int) -> Array:
    width = y.shape[3] // lanes_of(y.dtype)
    out = poisoned((n, y.shape[1], y.shape[2], width), y.dtype)
    _kernels.from_lanes[element(y)](out.reshape(n, -1), y.reshape(-1))
    return out


@pytest.mark.parametrize("n", [1, 3, 4, 8, 16, 17, 33])
def test_lane_layout(n, isa, dtype, rng) -> None:
    x, size = normal(rng, n, 3, 5, 7).astype(dtype), lanes_of(dtype)
    y = to_lanes(x)
    planes = y.reshape(-1, 3, 5, 7, size).transpose(0, 4, 1, 2, 3).reshape(-1, 3, 5, 7)
    np.testing.assert_array_equal(planes[:n], x)
    assert not planes[n:].any()
    np.testing.assert_array_equal(from_lanes(y, n), x)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("layouts", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize(("relu", "pool"), [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_fused_is_what_the_parts_give(case, layouts, relu, pool, isa, dtype, rng) -> None:
    n, c, h, w, k, taps, *settings, groups = case
    stride, padding, dilation = (value if isinstance(value, tuple) else (value, value) for value in settings)
    x, weight, bias = (
        array.astype(dtype)
        for array in (normal(rng, n, c, h, w), normal(rng, k, c // groups, taps, taps), normal(rng, k))
    )
    window = (stride, padding, dilation, groups)
    plain = functional.conv2d(x, weight, bias, *window)
    bent = functional.relu(plain) if relu else plain
    y = functional.max_pool2d(bent, 2) if pool else bent
    dy = normal(rng, *y.shape).astype(dtype)
    g = functional.max_pool2d_backward(dy, bent, 2) if pool else dy
    g = functional.relu_backward(g, plain) if relu else g
    expected = functional.conv2d_backward(g, x, weight, *window)

    x_lanes, y_lanes = layouts
    options = (*stride, *padding, *dilation, groups)
    layout = (n, *plain.shape[2:], x_lanes, y_lanes, relu, pool)
    given = to_lanes(x) if x_lanes else x
    groups_of_lanes, size = -(-n // lanes_of(dtype)), lanes_of(dtype)
    out = poisoned(to_lanes(y).shape if y_lanes else y.shape, dtype)
    winner = np.full((groups_of_lanes, k, y.shape[2], y.shape[3] * size), 77, np.uint8) if pool else None
    _kernels.conv2d_forward[element(x)](out, winner, given, weight, bias, None, options, layout)
    np.testing.assert_array_equal(from_lanes(out, n) if y_lanes else out, y)

    def backward() -> tuple[Array, Array, Array]:
        dx, dw, db = poisoned(given.shape, dtype), poisoned(weight.shape, dtype), poisoned(bias.shape, dtype)
        above = to_lanes(dy) if y_lanes else dy
        _kernels.conv2d_backward[element(x)](dx, dw, db, above, out, winner, given, weight, options, layout)
        return from_lanes(dx, n) if x_lanes else dx, dw, db

    lengths = (weight[:, 0].size // groups, plain[:, 0].size, plain[:, 0].size)
    for actual, right, length in zip(backward(), expected, lengths, strict=True):
        assert_close(actual, right.astype(np.float64), length, term=1.0)
    assert_same_bits_for_any_threads(backward)


def test_scale_folds_a_normalisation(isa, dtype, rng) -> None:
    x, weight, bias, scale = (
        array.astype(dtype)
        for array in (normal(rng, 9, 8, 6, 6), normal(rng, 16, 8, 3, 3), normal(rng, 16), normal(rng, 16))
    )
    y = poisoned((9, 16, 6, 6), dtype)
    _kernels.conv2d_forward[element(x)](y, None, x, weight, bias, scale, (1, 1, 1, 1, 1, 1, 1), (9, 6, 6, 0, 0, 0, 0))
    right = functional.conv2d(x, weight, None, padding=1).astype(np.float64) * scale[:, None, None]
    assert_close(y, right + bias[:, None, None], 72)


def test_few_images_keep_no_winners(rng) -> None:
    """Patches of images have none: a plan does not fuse pools for training there."""
    n, x, weight = 1, normal(rng, 1, 1, 4, 4), normal(rng, 1, 1, 1, 1)
    layout = (n, 4, 4, 0, 0, 1, 1)
    for relu in (0, 1):
        y = poisoned((1, 1, 2, 2), np.float64)
        _kernels.conv2d_forward["double"](y, None, x, weight, None, None, (1, 1, 0, 0, 1, 1, 1), (*layout[:5], relu, 1))
        plain = functional.conv2d(x, weight)
        right = functional.max_pool2d(functional.relu(plain) if relu else plain, 2)
        np.testing.assert_array_equal(y, right)
