"""Winograd's tiles give what the direct sum gives: every border, remainder and direction, and the errors claimed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from helpers import assert_close, assert_same_bits_for_any_threads, normal, poisoned

from cnnlib import _kernels, functional, reference
from cnnlib.config import ALGORITHMS

# N, C, H, W, K, taps, padding, groups: remainders of both tile sizes, of lanes and of register tiles; padding from none
# to more than the taps; few units (shared out) and many; channels that no vector divides.
CASES = [
    (1, 16, 4, 4, 16, 3, 1, 1),
    (2, 8, 9, 7, 12, 3, 1, 1),
    (3, 17, 6, 11, 13, 3, 0, 1),
    (16, 8, 5, 5, 8, 3, 2, 1),
    (17, 12, 13, 6, 10, 3, (4, 0), 1),
    (2, 32, 8, 8, 24, 3, 1, 2),
    (33, 8, 7, 7, 9, 3, 1, 1),
    (1, 16, 5, 5, 16, 5, 2, 1),
    (3, 20, 14, 14, 50, 5, 2, 1),
    (5, 9, 7, 10, 11, 5, 0, 1),
    (4, 24, 6, 9, 24, 5, (6, 3), 3),
    (16, 64, 7, 7, 64, 3, 1, 1),
    (40, 20, 14, 14, 20, 5, 2, 1),
]


@pytest.fixture
def algorithm() -> Iterator[None]:
    before = _kernels.get_algorithm()
    yield
    _kernels.set_algorithm(before)


@pytest.mark.parametrize("case", CASES)
def test_every_algorithm_meets_the_definition(case, isa, dtype, rng, algorithm) -> None:
    n, c, h, w, k, taps, padding, groups = case
    x, weight, bias = normal(rng, n, c, h, w), normal(rng, k, c // groups, taps, taps), normal(rng, k)
    settings = {"padding": padding, "groups": groups}
    y = reference.conv2d(x, weight, bias, **settings)
    dy = normal(rng, *y.shape)
    expected = (y, *reference.conv2d_backward(dy, x, weight, **settings))
    lengths = (weight[0].size, weight[:, 0].size // groups, y[:, 0].size, y[:, 0].size)
    low = [array.astype(dtype) for array in (x, weight, bias, dy)]
    errors = {}
    for name in ALGORITHMS:
        _kernels.set_algorithm(name)
        forward = functional.conv2d(*low[:3], **settings, out=poisoned(y.shape, dtype))
        outs = (poisoned(x.shape, dtype), poisoned(weight.shape, dtype), poisoned(bias.shape, dtype))
        backward = functional.conv2d_backward(low[3], *low[:2], **settings, out=outs)
        for actual, right, length in zip((forward, *backward), expected, lengths, strict=True):
            assert_close(actual, right, length, term=8.0 if name == "fast" else 1.0)
        errors[name] = np.abs(forward - y).max()
    assert errors["accurate"] <= 8 * errors["direct"]  # of one small case; benchmarks state the ratio of real layers
    assert errors["fast"] <= 40 * errors["direct"]


def test_the_choice_follows_sizes_alone_and_shows_in_the_bits(rng, algorithm) -> None:
    x, weight = normal(rng, 16, 16, 12, 12).astype(np.float32), normal(rng, 16, 16, 3, 3).astype(np.float32)

    def results(**settings: object) -> list[bytes]:
        found = []
        for name in ("direct", "accurate"):
            _kernels.set_algorithm(name)
            found.append(functional.conv2d(x, weight, **settings).tobytes())
        return found

    direct, accurate = results(padding=1)
    assert direct != accurate
    for other in ({"stride": 2}, {"dilation": 2}, {"stride": (1, 2)}):
        direct, accurate = results(**other)
        assert direct == accurate


@pytest.mark.parametrize("name", ["accurate", "fast"])
@pytest.mark.parametrize("case", [CASES[0], CASES[8], CASES[11], CASES[12]])
def test_same_bits_for_any_number_of_threads(case, name, isa, rng, algorithm) -> None:
    n, c, h, w, k, taps, padding, _ = case
    _kernels.set_algorithm(name)
    x, weight = normal(rng, n, c, h, w).astype(np.float32), normal(rng, k, c, taps, taps).astype(np.float32)
    dy = functional.conv2d(x, weight, padding=padding)

    def results() -> list[np.ndarray]:
        dx, dw, db = functional.conv2d_backward(dy, x, weight, padding=padding)
        return [functional.conv2d(x, weight, padding=padding), dx, dw, db]

    assert_same_bits_for_any_threads(results)


def test_nan_stays_in_the_tiles_that_read_it(rng, algorithm) -> None:
    _kernels.set_algorithm("accurate")
    x, weight = normal(rng, 1, 16, 12, 12), normal(rng, 16, 16, 3, 3)
    clean = functional.conv2d(x, weight, padding=1)
    x[0, 3, 0, 0] = np.nan
    y = functional.conv2d(x, weight, padding=1)
    assert np.isnan(y[:, :, :2, :2]).all()
    assert np.array_equal(y[:, :, 4:, 4:], clean[:, :, 4:, 4:])


def test_an_unknown_algorithm_is_refused() -> None:
    from cnnlib.errors import ConfigError

    with pytest.raises(ConfigError, match="accurate"):
        _kernels.set_algorithm("fastest")
