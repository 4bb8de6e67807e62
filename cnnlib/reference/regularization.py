"""Dropout and its random numbers."""

from __future__ import annotations

import numpy as np

from cnnlib.reference.shared import Array, deliver

__all__ = ["dropout", "threefry"]


def dropout(x: Array, p: float, seed: int, group: int = 1, *, out: Array | None = None) -> Array:
    """Return x with a proportion p of its elements, drawn by `seed`, put to zero and the others times 1/(1 - p).

    With `group`, so many neighbours in memory, such as the H·W pixels of a feature map, fall or stay together. The
    decisions follow from place and seed alone, so that the gradient is the same function of grad_output. Any shape;
    `out` may be x. Random numbers: Threefry-2x32 (Salmon et al., 2011).

    >>> dropout(np.ones(8), 0.5, seed=0).tolist()
    [0.0, 0.0, 0.0, 2.0, 2.0, 0.0, 2.0, 0.0]
    """
    dropped = _random_words(x.size // group, seed) < np.uint32(p * 2**32)
    scaled = np.where(dropped[:, np.newaxis], 0, x.reshape(-1, group) * x.dtype.type(1 / (1 - p)))
    return deliver(scaled.reshape(x.shape), out)


def _random_words(n: int, seed: int) -> Array:
    """Return random words 0 … n - 1 of the seed.

    Words 32 b … 32 b + 15 are the first ones of counters 16 b … 16 b + 15, and words 32 b + 16 … 32 b + 31 the second.
    """
    counters = np.arange(-(-n // 32) * 16, dtype=np.uint64)
    words = threefry(seed & 0xFFFFFFFF, seed >> 32, counters.astype(np.uint32), (counters >> 32).astype(np.uint32))
    return np.stack([word.reshape(-1, 16) for word in words], axis=1).reshape(-1)[:n]


def threefry(key0: int, key1: int, x: Array, y: Array) -> tuple[Array, Array]:
    """Return the two words that Threefry-2x32 with 20 rounds makes of counters (x, y) and a key, all of 32 bits."""
    keys = [np.array([key], np.uint32) for key in (key0, key1, key0 ^ key1 ^ 0x1BD11BDA)]
    x, y = x + keys[0], y + keys[1]
    for i in range(20):
        turn = np.uint32((13, 15, 26, 6, 17, 29, 16, 24)[i % 8])
        x = x + y
        y = (y << turn | y >> (np.uint32(32) - turn)) ^ x
        if i % 4 == 3:
            part = i // 4 + 1
            x, y = x + keys[part % 3], y + keys[(part + 1) % 3] + np.uint32(part)
    return x, y
