"""1×1 filters without padding as matrix products of planes: few images, and strides; against the definition."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from helpers import Array, assert_close, assert_same_bits_for_any_threads, guarded, normal, poisoned

from cnnlib import _kernels, functional, reference
from cnnlib.shapes import conv2d_output_shape, pair

# N, C, H, W, K, stride, groups.
CASES = {
    "one-pixel": (1, 70, 1, 1, 50, 1, 1),
    "small-plane": (1, 37, 7, 7, 33, 1, 1),
    "few-images": (3, 17, 5, 13, 6, 1, 1),
    "several-bands": (1, 130, 33, 31, 21, 1, 1),
    "groups": (2, 12, 9, 11, 48, 1, 3),
    "stride": (2, 9, 14, 13, 33, 2, 1),
    "stride-leaves-rows": (1, 5, 8, 11, 7, (3, 4), 1),
    "stride-in-one-direction": (4, 6, 5, 12, 22, (1, 2), 2),
    "stride-beyond-the-image": (2, 5, 3, 4, 7, 9, 1),
    "full-batch-with-stride": (33, 68, 9, 7, 40, 2, 1),
    "full-batch-of-vectors-and-a-part": (33, 20, 14, 14, 24, 1, 1),
    "more-pixels-than-one-sum": (1, 66, 40, 61, 70, 1, 1),
}
Settings = tuple[object, int, int, int]


def arrays(name: str, rng: np.random.Generator, dtype: type) -> tuple[Array, Array, Array, Settings]:
    n, c, h, w, k, stride, groups = CASES[name]
    x, weight = normal(rng, n, c, h, w, dtype=dtype), normal(rng, k, c // groups, 1, 1, dtype=dtype)
    return x, weight, normal(rng, k, dtype=dtype), (stride, 0, 1, groups)


def told(x: Array, weight: Array, settings: Settings, relu: int = 0) -> tuple[tuple[int, ...], tuple[int, ...]]:
    stride, *_, groups = settings
    layout = (len(x), *conv2d_output_shape(x.shape, weight.shape, *settings)[2:], 0, 0, relu, 0)
    return (*pair(stride, "stride"), 0, 0, 1, 1, groups), layout


@pytest.mark.parametrize("name", CASES)
def test_meets_the_definition(name, isa, dtype, rng) -> None:
    x, weight, bias, settings = arrays(name, rng, dtype)
    forward, backward = (
        _kernels.conv2d_way(x.shape, weight.shape, *told(x, weight, settings), i) for i in (False, True)
    )
    if 2 * len(x) <= max(1, _kernels.lanes() * 4 // np.dtype(dtype).itemsize) or "stride" in name:
        assert backward == "pointwise"
    assert forward == "pointwise" or len(x) == 1 or "stride" not in name
    wide = [array.astype(np.float64) for array in (x, weight, bias)]
    expected = reference.conv2d(*wide, *settings)
    for given in (bias, None):
        y = functional.conv2d(x, weight, given, *settings, out=poisoned(expected.shape, dtype))
        shift = 0 if given is not None else wide[2][:, None, None]
        assert_close(y, expected - shift, weight[0].size + 1, term=1.0)


@pytest.mark.parametrize(
    "needs", [(True, True, True), (True, False, False), (False, True, False), (False, False, True)]
)
@pytest.mark.parametrize("name", CASES)
def test_gradients_meet_the_definition(name, needs, isa, dtype, rng) -> None:
    x, weight, bias, settings = arrays(name, rng, dtype)
    dy = normal(rng, *conv2d_output_shape(x.shape, weight.shape, *settings), dtype=dtype)
    wide = (array.astype(np.float64) for array in (dy, x, weight))
    expected = reference.conv2d_backward(*wide, *settings, needs=needs)
    shapes = x.shape, weight.shape, bias.shape
    out = tuple(poisoned(shape, dtype) if needed else None for shape, needed in zip(shapes, needs, strict=True))
    actual = functional.conv2d_backward(dy, x, weight, *settings, needs=needs, out=out)
    lengths = weight.shape[0], dy[:, 0].size, dy[:, 0].size
    for grad, right, length in zip(actual, expected, lengths, strict=True):
        assert (grad is None) == (right is None)
        if right is not None:
            assert_close(grad, right, length, term=1.0)


@pytest.mark.parametrize("name", ["small-plane", "several-bands", "stride", "groups"])
@pytest.mark.parametrize("relu", [0, 1])
@pytest.mark.parametrize("scaled", [False, True])
def test_fused_is_what_the_parts_give(relu, scaled, name, isa, dtype, rng) -> None:
    x, weight, bias, settings = arrays(name, rng, dtype)
    x[0, 0, 0, 0] = np.nan
    scale = normal(rng, len(weight), dtype=dtype) if scaled else None
    expected = functional.conv2d(x, weight, None, *settings)
    expected = (expected if scale is None else expected * scale[:, None, None]) + bias[:, None, None]
    expected = functional.relu(expected) if relu else expected
    y = np.full_like(expected, 7)  # where NaN is expected, NaN must be written
    options, layout = told(x, weight, settings, relu)
    run = _kernels.conv2d_forward["float" if dtype is np.float32 else "double"]
    run(y, None, x, weight, bias, scale, options, layout)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    assert_close(np.nan_to_num(y), np.nan_to_num(expected).astype(np.float64), weight[0].size, term=1.0)


@pytest.mark.parametrize("name", ["several-bands", "full-batch-with-stride", "more-pixels-than-one-sum"])
def test_same_bits_for_any_number_of_threads(name, isa, rng) -> None:
    x, weight, bias, settings = arrays(name, rng, np.float32)
    dy = functional.conv2d(x, weight, bias, *settings)
    assert_same_bits_for_any_threads(
        lambda: [functional.conv2d(x, weight, bias, *settings), *functional.conv2d_backward(dy, x, weight, *settings)]
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="guard pages as on Linux")
@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("name", CASES)
def test_nothing_outside_the_arrays_is_touched(name, side, isa, dtype, rng) -> None:
    x, weight, bias, settings = arrays(name, rng, dtype)
    y = functional.conv2d(x, weight, bias, *settings)
    grads = functional.conv2d_backward(y, x, weight, *settings)
    x, weight, bias, dy, out = (guarded(array, side) for array in (x, weight, bias, y, y))
    np.testing.assert_array_equal(functional.conv2d(x, weight, bias, *settings, out=out), y)
    outs = tuple(guarded(grad, side) for grad in grads)
    again = functional.conv2d_backward(dy, x, weight, *settings, out=outs)
    for grad, right in zip(again, grads, strict=True):
        np.testing.assert_array_equal(grad, right)
