"""Whether all numbers of an array are finite, for those who look after every step."""

from __future__ import annotations

from cnnlib import _kernels
from cnnlib.arrays import as_array, plain
from cnnlib.functional.shared import instance
from cnnlib.reference import Array

__all__ = ["all_finite"]


def all_finite(x: Array) -> bool:
    """Return whether no element of x is NaN or infinite.

    >>> import numpy as np
    >>> all_finite(np.ones(20)), all_finite(np.array([1, np.inf], np.float32))
    (True, False)
    """
    x = plain(x, "x")
    if x.size == 0:
        return True
    x = as_array(x, "x")
    return bool(instance(_kernels.all_finite, x)(x.reshape(-1)))
