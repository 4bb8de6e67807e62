"""Dropout."""

from __future__ import annotations

from cnnlib import _kernels
from cnnlib.arrays import as_array, number, output, unless_same, whole
from cnnlib.errors import ShapeError
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
    p, seed, group = number(p, "p", 0, 1), whole(seed, "seed", 0, 2**64 - 1), whole(group, "group", 1, 2**63 - 1)
    if x.size % group:
        raise ShapeError(f"x has shape {x.shape}: its {x.size} elements are no groups of {group}")
    result = output(out, "out", x.shape, unless_same(x, out))
    instance(_kernels.dropout, x)(result.reshape(-1, group), x.reshape(-1, group), p, seed)
    return result
