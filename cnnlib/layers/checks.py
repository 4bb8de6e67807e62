"""What layers check of their arguments before any work starts; every message names the layer and the fix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cnnlib.arrays import plain
from cnnlib.errors import ConfigError, DataError, DTypeError, GraphError, ShapeError
from cnnlib.graph import Shape, shape_text

if TYPE_CHECKING:
    from cnnlib.layers.base import Layer

__all__ = [
    "Array",
    "as_given",
    "check_arity",
    "check_arrays",
    "check_gradient",
    "check_rank",
    "count",
    "float_dtype",
    "int_array",
    "int_tuple",
    "put",
    "sample_axis",
]

Array = NDArray[Any]

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def check_arity(layer: Layer, inputs: int) -> None:
    """Raise GraphError if `layer` does not take so many inputs."""
    if inputs != layer.arity and (layer.arity is not None or inputs < 2):
        raise GraphError(f"{layer!r}: takes {layer.arity or 'two or more'} input(s), got {inputs}")


def check_arrays(layer: Layer, xs: tuple[Array, ...]) -> tuple[Array, ...]:
    """Return the arrays `xs`, N × shape each, as plain and contiguous ones.

    Raises GraphError, DTypeError, ShapeError or DataError if `layer` cannot take them.
    """
    check_arity(layer, len(xs))
    wanted = _FLOATS if layer.dtype is None else (layer.dtype,)
    for x in xs:
        if not isinstance(x, np.ndarray) or x.dtype not in wanted:
            got = str(x.dtype) if isinstance(x, np.ndarray) else type(x).__name__
            needed = " or ".join(str(dtype) for dtype in wanted)
            raise DTypeError(f"{layer!r}: needs arrays of {needed}, got {got}: use x.astype(np.{wanted[0]})")
        if x.ndim == 0 or x.shape[0] != xs[0].shape[0] or x.dtype != xs[0].dtype:
            got = ", ".join(f"{x.dtype} {x.shape}" for x in xs)
            raise ShapeError(f"{layer!r}: inputs need a batch dimension N, and the same N and dtype; got {got}")
        if x.size == 0:
            raise DataError(f"{layer!r}: the batch is empty (input of shape {x.shape})")
    layer.output_shape(*(x.shape[1:] for x in xs))
    return tuple(np.ascontiguousarray(plain(x, f"{layer!r}: the input")) for x in xs)


def check_gradient(layer: Layer, dy: Array, shape: Shape, dtype: np.dtype[Any]) -> Array:
    """Return `dy` as a plain and contiguous array.

    Raises DTypeError or ShapeError unless it is as the output of `layer` was, of `shape` (with N) and `dtype`.
    """
    if not isinstance(dy, np.ndarray) or dy.dtype != dtype:
        got = str(dy.dtype) if isinstance(dy, np.ndarray) else type(dy).__name__
        raise DTypeError(f"{layer!r}: the gradient must be an array of {dtype}, as the output was; got {got}")
    if dy.shape != shape:
        raise ShapeError(f"{layer!r}: the gradient must have the output's shape {shape}, got {dy.shape}")
    return np.ascontiguousarray(plain(dy, f"{layer!r}: the gradient"))


def check_rank(layer: Layer, shape: Shape, needed: tuple[int | str, ...], fix: str) -> None:
    """Raise ShapeError unless `shape` is as `needed`: ints must be met, names such as "H" stand for any size."""
    fits = len(shape) == len(needed) and all(
        isinstance(want, str) or size == want for size, want in zip(shape, needed, strict=True)
    )
    if not fits:
        raise ShapeError(
            f"{layer!r}: got an input of N × {shape_text(shape)}, needs N × {' × '.join(map(str, needed))}: {fix}"
        )


def count(value: Any, name: str) -> int:
    """Return `value` if it is an int of at least 1, else raise ConfigError."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ConfigError(f"{name} = {value!r}: expected an int of at least 1")
    return int(value)


def sample_axis(value: Any) -> int:
    """Return an axis of a sample, counted from 1, else raise ConfigError."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ConfigError(f"axis = {value!r}: expected an int of at least 1; axis 0 is the batch")
    return int(value)


def int_tuple(values: Any, name: str, least: int) -> tuple[int, ...]:
    """Return an int, or a sequence of them, as a tuple; raise ConfigError for anything else or below `least`."""
    given = tuple(values) if isinstance(values, (list, tuple)) else (values,)
    for value in given:
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
            raise ConfigError(f"{name} = {values!r}: expected an int of at least {least}, or a tuple of them")
    return tuple(int(value) for value in given)


def int_array(values: Any, name: str) -> NDArray[np.int64]:
    """Return ints, nested or not, as an array that is not empty, else raise ConfigError."""
    try:
        array = np.array(values)
    except (ValueError, TypeError):
        array = np.array([])
    if array.dtype.kind not in "iu" or not array.size:
        raise ConfigError(f"{name} = {values!r}: expected ints, or a list of them, not empty")
    return array.astype(np.int64)


def as_given(value: Any) -> Any:
    """Return a setting as it is kept and as a file can hold it: a pair as a tuple, NumPy's integers as ints."""
    if isinstance(value, (list, tuple)):
        return tuple(as_given(item) for item in value)
    return int(value) if isinstance(value, np.integer) else value


def put(values: Array, out: Array | None) -> Array:
    """Return `values` as a contiguous array, in `out` if it is given."""
    if out is None:
        return np.ascontiguousarray(values)
    np.copyto(out, values)
    return out


def float_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """Return `dtype` if it is float32 or float64, else raise DTypeError."""
    try:
        kind = np.dtype(dtype)
    except TypeError:
        raise DTypeError(f"dtype = {dtype!r}: expected float32 or float64") from None
    if kind not in _FLOATS:
        raise DTypeError(f"dtype = {kind}: expected float32 or float64")
    return kind
