"""Random numbers for a batch that follow from the place of each sample alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnlib.arrays import whole
from cnnlib.errors import DataError

__all__ = ["BatchRandom"]

Array = NDArray[Any]
Samples = Callable[[Array], tuple[Any, Any]]

_GAMMA = np.uint64(0x9E3779B97F4A7C15)


class BatchRandom:
    """Random numbers for the samples of a batch: each sample has a generator of its own.

    It is a SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014) whose seed is hashed
    from ``seed``, ``epoch``, the sample's position in the data, and the place of the transform among others. As it
    counts, numbers of a whole batch are computed at once; as it knows nothing of the batch, a sample meets the same
    chance in a batch of any size, in any order, on any machine, and there is no state that a checkpoint would keep.

    positions: where in the data the samples are, int64 (N,). samples: gives the data ``(x, y)`` at an array of
    positions; ``size`` says how many there are.

    >>> whole = BatchRandom(np.arange(4), seed=7).uniform()
    >>> bool((BatchRandom(np.array([3, 1]), seed=7).uniform() == whole[[3, 1]]).all())
    True
    """

    def __init__(
        self, positions: Array, seed: int = 0, epoch: int = 0, samples: Samples | None = None, size: int = 0
    ) -> None:
        seed, epoch = whole(seed, "seed", 0, 2**64 - 1), whole(epoch, "epoch", 0, 2**64 - 1)
        self._begin(positions, _hash(np.array([seed], np.uint64), epoch), samples, size)

    def _begin(self, positions: Array, key: Array, samples: Samples | None, size: int) -> BatchRandom:
        self.positions, self.size, self._key, self._samples, self._drawn = positions, size, key, samples, 0
        self._seeds = _mix(key + _GAMMA * (positions.astype(np.uint64) + np.uint64(1)))[:, None]
        return self

    def stage(self, place: int, samples: Samples) -> BatchRandom:
        """Return generators for the transform at a place among others; `samples` gives data as they reach it."""
        return BatchRandom.__new__(BatchRandom)._begin(self.positions, _hash(self._key, place + 1), samples, self.size)

    def at(self, positions: Array) -> BatchRandom:
        """Return the generators of other samples, as they were at first."""
        return BatchRandom.__new__(BatchRandom)._begin(positions, self._key, self._samples, self.size)

    def samples(self, positions: Array) -> tuple[Any, Any]:
        """Return ``(x, y)`` at these positions of the data. Raises DataError if the data are not known."""
        if self._samples is None:
            raise DataError("these random numbers belong to no data: other samples cannot be had")
        return self._samples(positions)

    def words(self, count: int) -> Array:
        """Return the next `count` words of each sample: uint64, N×count."""
        steps = np.arange(self._drawn + 1, self._drawn + count + 1, dtype=np.uint64)
        self._drawn += count
        return _mix(self._seeds + _GAMMA * steps)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> Array:
        """Return one number of low ≤ u < high for each sample: float64, N."""
        return low + (high - low) * ((self.words(1)[:, 0] >> np.uint64(11)) * 2.0**-53)

    def integers(self, below: int | Array) -> Array:
        """Return one of 0 … below - 1 for each sample: int64, N."""
        return np.asarray(self.uniform() * below).astype(np.int64)

    def uniforms(self, *shape: int) -> Array:
        """Return numbers of -1 < u < 1, 2¹⁶ different ones: float32, N×shape. Fit for fields that are blurred."""
        count = int(np.prod(shape))
        parts = self.words(-(-count // 4)).view(np.uint16)[:, :count]
        return (parts.astype(np.float32) * np.float32(2.0**-15) + np.float32(2.0**-16 - 1)).reshape(-1, *shape)

    def normals(self, *shape: int) -> Array:
        """Return normal numbers of mean 0 and deviation 1, none beyond ±5.8: float32, N×shape.

        Box–Muller: two of a word's halves u, v, of 24 bits, are √(-2 ln u) times cos 2πv and sin 2πv.
        """
        count = int(np.prod(shape))
        words = self.words(-(-count // 2))
        u = ((words >> np.uint64(40)) + np.uint64(1)).astype(np.float32) * np.float32(2.0**-24)
        v = (words & np.uint64(0xFFFFFF)).astype(np.float32) * np.float32(2 * np.pi * 2.0**-24)
        radius = np.sqrt(np.float32(-2) * np.log(u))
        pairs = np.concatenate([radius * np.cos(v), radius * np.sin(v)], axis=1)
        return pairs[:, :count].reshape(-1, *shape)


def _mix(z: Array) -> Array:
    """SplitMix64's finaliser (Stafford's variant 13), in place: every bit of a word comes to depend on every other."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        z ^= z >> np.uint64(shift)
        z *= np.uint64(factor)
    return z


def _hash(key: Array, value: int) -> Array:
    return _mix((_mix(key + _GAMMA) ^ np.uint64(value)) + _GAMMA)
