"""Dropout."""

from __future__ import annotations

from cnnlib import _kernels
from cnnlib.arrays import as_array, output, unless_same
from cnnlib.errors import ConfigError, ShapeError
from cnnlib.functional.shared import instance
from cnnlib.reference import Array

__all__ = ["dropout"]


def dropout(x: Array, p: float, seed: int, group: int = 1, *, out: Array | None = None) -> Array:
    """Return x with a proportion p of its elements, drawn by `seed`, put to zero and the others times 1/(1 - p).

    With `group`, so many neighbours in memory, such as the H·W pixels of a feature map, fall or stay together. The
    decisions follow from place and seed alone, so that the gradient is the same function of grad_output. Any shape;
    `out` may be x. Random numbers: Threefry-2x32 (Salmon et al., 2011).

    >>> import numpy as np
    >>> dropout(np.ones(8), 0.5, seed=0).tolist()
    [0.0, 0.0, 0.0, 2.0, 2.0, 0.0, 2.0, 0.0]
    """
    x = as_array(x, "x")
    if not 0 <= p < 1:
        raise ConfigError(f"p = {p!r}: expected a proportion, 0 <= p < 1")
    if group < 1 or x.size % group:
        raise ShapeError(f"x has shape {x.shape}: its {x.size} elements are no groups of {group}")
    if not 0 <= seed < 1 << 64:
        raise ConfigError(f"seed = {seed!r}: expected an integer from 0 to 2**64 - 1")
    result = output(out, "out", x.shape, unless_same(x, out))
    instance(_kernels.dropout, x)(result.reshape(-1, group), x.reshape(-1, group), p, seed)
    return result
