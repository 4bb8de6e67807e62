"""Convolutions of few images or few channels: with x unfolded, or with neighbouring columns in lanes; in float64."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pytest
from helpers import Array, assert_close, assert_same_bits_for_any_threads, guarded, normal, poisoned

from cnnlib import _kernels, config, functional, reference
from cnnlib.shapes import conv2d_output_shape, pair

# N, C, H, W, K, kernel, stride, padding, dilation, groups; the outputs' columns fill 16 lanes nearly, or less by far,
# or rows are merged.
CASES = {
    "stem": (1, 3, 37, 63, 7, 7, 2, 3, 1, 1),
    "large-stride": (2, 3, 23, 67, 12, 11, 4, 0, 1, 1),
    "merged-rows": (2, 3, 43, 147, 12, 11, 4, 0, 1, 1),
    "merged-rows-of-a-full-batch": (17, 2, 6, 35, 7, 3, 1, 1, 1, 1),
    "one-channel": (1, 1, 28, 28, 20, 5, 1, 2, 1, 1),
    "many-channels": (1, 33, 9, 16, 11, 3, (1, 2), (1, 8), 1, 1),
    "groups": (1, 6, 7, 15, 9, 3, 2, (1, 9), 1, 3),
    "dilation": (2, 2, 18, 36, 5, 3, (2, 3), (1, 8), (3, 2), 1),
    "more-padding-than-filter": (1, 2, 3, 6, 4, 2, 1, (4, 6), 1, 1),
    "stride-beyond-filter": (1, 3, 13, 80, 5, 2, (5, 5), 0, 1, 1),
    "full-batch-of-images-of-few-channels": (17, 2, 6, 32, 7, 3, (2, 1), (0, 1), 1, 1),
    "unfolded-last-pixel": (3, 37, 7, 7, 33, 3, 1, 1, 1, 1),
    "unfolded-pixel": (1, 70, 3, 3, 50, 3, 1, 0, 1, 1),
    "unfolded-whole-vectors": (1, 5, 4, 8, 16, (1, 3), 1, (0, 1), 1, 1),
    "unfolded-stride": (2, 10, 14, 13, 24, 3, (2, 3), 1, 1, 1),
    "unfolded-groups": (2, 12, 9, 11, 48, 3, 1, (4, 2), (3, 2), 3),
    "unfolded-threads": (2, 130, 9, 9, 90, 3, 1, 1, 1, 2),
    "unfolded-more-padding-than-image": (1, 5, 3, 4, 20, 2, (3, 1), (7, 5), 1, 1),
}


def arrays(name: str, rng: np.random.Generator, dtype: type) -> tuple[Array, Array, Array, tuple[object, ...]]:
    n, c, h, w, k, kernel, *settings, groups = CASES[name]
    x, weight = normal(rng, n, c, h, w, dtype=dtype), normal(rng, k, c // groups, *pair(kernel, "kernel"), dtype=dtype)
    return x, weight, normal(rng, k, dtype=dtype), (*settings, groups)


@pytest.fixture(autouse=True)
def directly() -> Iterator[None]:
    with config.using(algorithm="direct"):
        yield


def way(
    x: Array, weight: Array, settings: tuple[object, ...], relu: int = 0
) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
    """How it is computed, with the kernel's options and layout."""
    *pairs, groups = settings
    options = (*(side for pair in pairs for side in (pair if isinstance(pair, tuple) else (pair, pair))), groups)
    layout = (len(x), *conv2d_output_shape(x.shape, weight.shape, *settings)[2:], 0, 0, relu, 0)
    return _kernels.conv2d_way(x.shape, weight.shape, options, layout, False), options, layout


@pytest.mark.parametrize("name", CASES)
def test_meets_the_definition(name, isa, dtype, rng) -> None:
    x, weight, bias, settings = arrays(name, rng, dtype)
    expected = reference.conv2d(*(a.astype(np.float64) for a in (x, weight, bias)), *settings)
    for given in (bias, None):
        y = functional.conv2d(x, weight, given, *settings, out=poisoned(expected.shape, dtype))
        shift = 0 if given is not None else bias[:, None, None].astype(np.float64)
        assert_close(y, expected - shift, weight[0].size + 1, term=1.0)


def test_the_cases_go_this_way(rng) -> None:
    with config.using(config.supported_isas()[0]):
        ways = {name: way(*(arrays(name, rng, np.float32)[i] for i in (0, 1, 3)))[0] for name in CASES}
    unfolded = {name for name in CASES if name.startswith("unfolded")}
    assert {name for name, found in ways.items() if found == "unfolded"} >= unfolded, ways
    assert list(ways.values()).count("pixels") >= len(CASES) - len(unfolded) - 3, ways


def test_tiles_that_few_pixels_do_not_fill_give_way(rng) -> None:
    ways = []
    with config.using(config.supported_isas()[0], algorithm="accurate"):
        for channels, size in ((96, 7), (64, 64)):
            x, weight = (
                np.zeros((1, channels, size, size), np.float32),
                np.zeros((channels, channels, 3, 3), np.float32),
            )
            ways.append(way(x, weight, (1, 1, 1, 1))[0])
    assert ways == ["unfolded", "tiles 6×6"]


@pytest.mark.parametrize(
    "name", ["stem", "one-channel", "groups", "full-batch-of-images-of-few-channels", "unfolded-groups"]
)
@pytest.mark.parametrize("pool", [0, 1])
@pytest.mark.parametrize("relu", [0, 1])
@pytest.mark.parametrize("scaled", [False, True])
def test_fused_is_what_the_parts_give(relu, scaled, pool, name, isa, dtype, rng) -> None:
    x, weight, bias, settings = arrays(name, rng, dtype)
    x[0, 0, 0, 0] = np.nan
    scale = normal(rng, len(weight), dtype=dtype) if scaled else None
    expected = functional.conv2d(x, weight, None, *settings)
    expected = (expected if scale is None else expected * scale[:, None, None]) + bias[:, None, None]
    expected = functional.relu(expected) if relu else expected
    expected = functional.max_pool2d(expected, 2) if pool else expected
    _, options, layout = way(x, weight, settings, relu)
    y = poisoned(expected.shape, dtype)
    y[...] = 7  # where NaN is expected, NaN must be written
    _kernels.conv2d_forward["float" if dtype is np.float32 else "double"](
        y, None, x, weight, bias, scale, options, (*layout[:-1], pool)
    )
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    assert_close(np.nan_to_num(y), np.nan_to_num(expected).astype(np.float64), weight[0].size, term=1.0)


@pytest.mark.parametrize(
    "name", ["stem", "merged-rows", "many-channels", "full-batch-of-images-of-few-channels", "unfolded-threads"]
)
def test_same_bits_for_any_number_of_threads(name, isa, rng) -> None:
    x, weight, bias, settings = arrays(name, rng, np.float32)
    assert_same_bits_for_any_threads(lambda: [functional.conv2d(x, weight, bias, *settings)])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="guard pages as on Linux")
@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("name", CASES)
def test_nothing_outside_the_arrays_is_touched(name, side, isa, dtype, rng) -> None:
    x, weight, bias, settings = arrays(name, rng, dtype)
    expected = functional.conv2d(x, weight, bias, *settings)
    x, weight, bias, out = (guarded(array, side) for array in (x, weight, bias, expected))
    np.testing.assert_array_equal(functional.conv2d(x, weight, bias, *settings, out=out), expected)


def test_a_nan_reaches_what_reads_it_and_no_more(isa, rng) -> None:
    x, weight, bias, settings = arrays("stem", rng, np.float32)
    x[0, 1, 20, 30] = np.nan
    y = functional.conv2d(x, weight, bias, *settings)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(reference.conv2d(x, weight, bias, *settings)))
