"""What users feed a model, converted."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from cnnlib.arrays import plain
from cnnlib.errors import DTypeError
from cnnlib.reference.shared import Array

__all__ = ["as_input"]


def as_input(x: Any, dtype: DTypeLike = np.float32, *, out: Array | None = None) -> Array:
    """Return `x` as a C-contiguous array of `dtype`: the one conversion rule for what users feed a model.

    uint8 is taken for pixels and multiplied by 1/255; bool, other integers and other floats keep their value.
    Nothing is copied if `x` is as it should be already; otherwise the result goes to `out`, of that shape and dtype,
    where it is given. Raises DTypeError for every other element type.

    >>> as_input(np.array([0, 255], dtype=np.uint8))
    array([0., 1.], dtype=float32)
    """
    array, kind = plain(x, "input"), np.dtype(dtype)
    if array.dtype.kind not in "biuf":
        raise DTypeError(f"input has dtype {array.dtype}: expected pixels (uint8), other integers, bools or floats")
    if array.dtype == kind and array.flags.c_contiguous:
        return array
    if out is None:
        out = np.empty(array.shape, kind)
    np.copyto(out, array, casting="unsafe")
    if array.dtype == np.uint8:
        out *= 1 / 255
    return out
