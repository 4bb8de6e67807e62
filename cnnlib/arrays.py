"""Checks of the arrays that a function is given: what passes may go to a kernel.

A message names the argument, what it is, and what it should be.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cnnlib.errors import ConfigError, DataError, DTypeError, ShapeError

Array = NDArray[Any]

# Element types that kernels exist for, with the name of their instance in cnnlib._kernels.
ELEMENTS: dict[np.dtype[Any], Literal["float", "double"]] = {
    np.dtype(np.float32): "float",
    np.dtype(np.float64): "double",
}

_LAYOUTS = {4: "4 dimensions, (N, C, H, W)", 2: "2 dimensions, (N, features)", 1: "1 dimension"}


def plain(x: Any, name: str) -> Array:
    """Return `x` as a plain array, as `np.asarray` does, if nothing is lost by that.

    Raises DTypeError for masked arrays, whose masks nothing here minds, and for what is no array at all.
    """
    if type(x) is np.ndarray:
        return x
    if any(isinstance(part, np.ma.MaskedArray) for part in (x, *(x if isinstance(x, (list, tuple)) else ()))):
        raise DTypeError(f"{name} is a masked array, whose mask would be ignored: use {name}.filled(value)")
    try:
        return np.asarray(x)
    except Exception as error:  # an object may convert itself, and raise what it likes
        raise DTypeError(f"{name} is a {type(x).__name__} that is no array: {error}") from None


def numbers(x: Any, name: str) -> Array:
    """Return `x` as `plain` does, if it holds real numbers of any type; raises DTypeError otherwise."""
    array = plain(x, name)
    if array.dtype.kind not in "biuf":
        raise DTypeError(f"{name} has dtype {array.dtype}: expected pixels (uint8) or other numbers")
    return array


def number(value: Any, name: str, least: float = -math.inf, below: float = math.inf) -> float:
    """Return a setting as a float if it is one real number, least <= value < below, or else any if nothing is asked.

    Raises ConfigError, naming it.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise ConfigError(f"{name} = {value!r}: expected a number, got {type(value).__name__}")
    bounded = (least, below) != (-math.inf, math.inf)
    try:
        found = float(value)
    except OverflowError:
        raise ConfigError(f"{name} is an int of {int(value).bit_length()} bits, too large for a number") from None
    if bounded and not least <= found < below:
        raise ConfigError(f"{name} = {value!r}: expected a number, {least:g} <= {name} < {below:g}")
    return found


def finite(value: Any, name: str) -> float:
    """Return a setting as a float if it is one real, finite number; raises ConfigError, naming it."""
    found = number(value, name)
    if not math.isfinite(found):
        raise ConfigError(f"{name} = {value!r}: expected a finite number")
    return found


def whole(value: Any, name: str, least: int, most: int | None = None) -> int:
    """Return a setting as an int if it is one, least <= value (<= most); raises ConfigError, naming it."""
    given = not isinstance(value, (bool, np.bool_)) and isinstance(value, (int, np.integer))
    if not given or value < least or (most is not None and value > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ConfigError(f"{name} = {value!r}: expected an integer {bounds}")
    return operator.index(value)


def made(part: Any, name: str) -> Any:
    """Return `part`; raise ConfigError if it is a class where an object of it is meant.

    >>> made(dict, "callback")
    Traceback (most recent call last):
    cnnlib.errors.ConfigError: callback is the class dict: write dict(…), with its settings
    """
    if isinstance(part, type):
        raise ConfigError(f"{name} is the class {part.__name__}: write {part.__name__}(…), with its settings")
    return part


def flag(value: Any, name: str) -> bool:
    """Return a setting that is True or False; raises ConfigError, naming it, for anything else."""
    if not isinstance(value, (bool, np.bool_)):
        raise ConfigError(f"{name} = {value!r}: expected True or False")
    return bool(value)


def several(values: Any, name: str, count: int) -> Any:
    """Return `values` if they are a tuple or list of so many; raises ConfigError, naming them."""
    if not isinstance(values, (tuple, list)) or len(values) != count:
        raise ConfigError(f"{name} is {type(values).__name__}: expected a tuple of {count}, one for each gradient")
    return values


def wanted(needs: Any, count: int) -> Any:
    """Return which of so many gradients are asked for."""
    return [flag(need, f"needs[{i}]") for i, need in enumerate(several(needs, "needs", count))]


def as_array(x: Any, name: str, ndim: int | None = None, like: Array | None = None) -> Array:
    """Return `x`, C-contiguous and aligned (a copy if need be), if its dtype, its rank and its size will do."""
    array = plain(x, name)
    if array.dtype not in ELEMENTS:
        raise DTypeError(
            f"{name} has dtype {array.dtype}: expected float32 or float64 in native byte order; convert it with "
            f"{name}.astype(np.float32)"
        )
    if like is not None and array.dtype != like.dtype:
        raise DTypeError(f"{name} has dtype {array.dtype}, the other arrays {like.dtype}: use one of them for all")
    if ndim is not None and array.ndim != ndim:
        raise ShapeError(f"{name} has shape {array.shape}: expected {_LAYOUTS[ndim]}")
    if array.size == 0:
        raise ShapeError(f"{name} has shape {array.shape}: an empty batch or dimension cannot be computed with")
    return array if array.flags.c_contiguous and array.flags.aligned else array.copy(order="C")


def expect_shape(array: Array, name: str, shape: tuple[int, ...], why: str) -> None:
    """Raise ShapeError unless `array` has `shape`, which is `why` it must have it."""
    if array.shape != shape:
        raise ShapeError(f"{name} has shape {array.shape}: expected {shape}, {why}")


def output(out: Array | None, name: str, shape: Sequence[int], like: Array | None, *inputs: Array | None) -> Array:
    """Return the array to write to: `out` if it is fit for it, else a new one like the first input that is given."""
    arrays = [array for array in (like, *inputs) if array is not None]
    if out is None:
        return np.empty(shape, arrays[0].dtype)
    return _writable(out, name, tuple(shape), arrays)


def _writable(out: Array, name: str, shape: tuple[int, ...], inputs: Sequence[Array]) -> Array:
    """Return `out` after checking that a kernel may write to it while it reads `inputs`."""
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise DTypeError(f"{name} is a {type(out).__name__}: expected an array to write to")
    dtype = out.dtype
    if dtype not in ELEMENTS:
        raise DTypeError(f"{name} has dtype {dtype}: expected {inputs[0].dtype if inputs else 'float32 or float64'}")
    expect_shape(out, name, shape, "the result's shape")
    if not out.flags.carray:
        raise ShapeError(f"{name} of shape {shape} is not C-contiguous, aligned and writable: pass np.empty{shape}")
    for array in inputs:
        if dtype != array.dtype:
            raise DTypeError(f"{name} has dtype {dtype}: expected {array.dtype}")
        if np.may_share_memory(out, array):
            raise ShapeError(f"{name} of shape {shape} overlaps an input: pass an array of its own")
    return np.asarray(out)  # a subclass may reshape in its own way


def unless_same(x: Array, out: Array | None) -> Array | None:
    """None where `out` is `x` itself, which element-wise functions allow; overlap of another kind stays an error."""
    same = isinstance(out, np.ndarray) and x.shape == out.shape and x.ctypes.data == out.ctypes.data
    return None if same else x


def in_place(array: Array, name: str, like: Array | None = None) -> Array:
    """Return `array` after checking that it can be updated in place and, where given, is shaped as `like`."""
    shape = getattr(array, "shape", ()) if like is None else like.shape
    return _writable(array, name, shape, [] if like is None else [like])


def as_integers(target: Array) -> str:
    """Return the expression that makes labels of such an array integers, for a message."""
    return "target.astype(np.int64)" if target.dtype.kind in "fb" else "np.unique(target, return_inverse=True)[1]"


def as_labels(target: Array, n: int, classes: int) -> Array:
    """Return `n` class labels as int64 after checking that each lies in 0 … classes - 1."""
    if target.dtype.kind not in "iu":
        raise DTypeError(f"target has dtype {target.dtype}: labels are integers; use {as_integers(target)}")
    expect_shape(target, "target", (n,), "one label a row of x")
    wrong = np.flatnonzero((target < 0) | (target >= classes))
    if wrong.size:
        first = int(wrong[0])
        raise DataError(f"target[{first}] = {target[first]}: labels of {classes} classes are 0 … {classes - 1}")
    return np.ascontiguousarray(target, dtype=np.int64)
