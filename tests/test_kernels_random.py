"""Dropout and its random numbers, of every instruction set, against the definition."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_same_bits_for_any_threads, normal, poisoned

from cnnlib import functional, reference
from cnnlib.reference import regularization

# Random123's known answers for threefry2x32 with 20 rounds: key, counter, result.
KNOWN = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
]


@pytest.mark.parametrize(("key", "counter", "words"), KNOWN)
def test_threefry_gives_the_known_answers(key, counter, words) -> None:
    x, y = (np.array([word], np.uint32) for word in counter)
    assert tuple(int(word[0]) for word in regularization.threefry(*key, x, y)) == words


@pytest.mark.parametrize("length", [1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 1000, 16384 + 33])
@pytest.mark.parametrize("group", [1, 2, 33])
@pytest.mark.parametrize("seed", [0, 2**64 - 1, 0x0123456789ABCDEF])
def test_dropout_is_the_definition(isa, rng, dtype, length, group, seed) -> None:
    if length > 1000 and group > 2:
        length = 1001
    x = normal(rng, length, group, dtype=dtype)
    expected = reference.dropout(x, 0.3, seed, group)
    np.testing.assert_array_equal(functional.dropout(x, 0.3, seed, group, out=poisoned(x.shape, dtype)), expected)
    np.testing.assert_array_equal(functional.dropout(x, 0, seed, group), x)
    np.testing.assert_array_equal(functional.dropout(x, 0.3, seed, group, out=x), expected)


def test_masks_do_not_depend_on_the_dtype(isa) -> None:
    narrow = functional.dropout(np.ones(10_000, np.float32), 0.5, 9)
    np.testing.assert_array_equal(narrow, functional.dropout(np.ones(10_000), 0.5, 9))


@pytest.mark.parametrize("p", [1e-3, 0.1, 0.5, 0.9, 1 - 1e-3])
def test_the_proportion_is_met_everywhere(p) -> None:
    """Over all, in each of the 32 places of a block, and for pairs of neighbours and of seeds as if independent."""
    n = 320_000
    masks = [functional.dropout(np.ones(n, np.float32), p, seed) == 0 for seed in (1, 2)]

    def near(share: float, expected: float, samples: int) -> bool:
        return abs(share - expected) < 5 * np.sqrt(expected * (1 - expected) / samples)

    for mask in masks:
        assert near(mask.mean(), p, n)
        assert all(near(share, p, n // 32) for share in mask.reshape(-1, 32).mean(axis=0))
        for distance in (1, 16, 32):
            assert near((mask[distance:] & mask[:-distance]).mean(), p * p, n)
    assert near((masks[0] & masks[1]).mean(), p * p, n)


def test_large_planes_are_small_ones_side_by_side(isa, rng, dtype) -> None:
    """Past the caches, beyond 32 MiB."""
    x = np.resize(normal(rng, 10_007, dtype=dtype), (7, (33 << 20) // np.dtype(dtype).itemsize // 7))
    factors = functional.dropout(np.ones(7, dtype), 0.5, 3)
    assert 0 < (factors == 0).sum() < 7
    np.testing.assert_array_equal(functional.dropout(x, 0.5, 3, x.shape[1]), x * factors[:, None])


def test_same_bits_for_any_threads(isa, rng, dtype) -> None:
    x = normal(rng, 300, 1001, dtype=dtype)
    assert_same_bits_for_any_threads(lambda: (functional.dropout(x, 0.4, 5), functional.dropout(x, 0.4, 5, 1001)))
