"""Resizing along one axis: at which coordinate of the input each output lies, and which elements it is a mean of.

The rules are those of ONNX's operator Resize, among which are PyTorch's. An axis is resized by itself, and is linear:
as a matrix it would be nearly empty, so its rows are kept as lists of places and weights, and so are its columns, of
which the gradient is made.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnnlib.errors import ConfigError

__all__ = ["COORDINATES", "MODES", "NEAREST_MODES", "Axis", "Rule", "Taps", "rule", "taps"]

MODES = ("nearest", "linear")
#: How an output's index becomes a coordinate of the input: pixels are squares (half_pixel …), or points, of which the
#: first ones coincide (asymmetric) or the first and the last (align_corners); tf_crop_and_resize takes a part.
COORDINATES = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_crop_and_resize",
)
#: Which neighbour a coordinate between two elements takes.
NEAREST_MODES = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


class Rule(NamedTuple):
    """How all axes are resized; `rule` checks one."""

    mode: str = "nearest"
    coordinates: str = "half_pixel"
    nearest_mode: str = "round_prefer_floor"
    antialias: bool = False
    exclude_outside: bool = False


class Axis(NamedTuple):
    """One axis: its size, the output's, their quotient as it was stated, and the part, 0 … 1, that is taken."""

    size: int
    output: int
    scale: float
    start: float = 0.0
    end: float = 1.0


class Taps(NamedTuple):
    """A nearly empty matrix: row i is Σ_t weights[t, i] times column places[t, i]."""

    places: NDArray[np.intp]
    weights: NDArray[np.float64]


def rule(
    mode: Any, coordinates: Any, nearest_mode: Any, antialias: bool = False, exclude_outside: bool = False
) -> Rule:
    """Return a Rule of settings that are one of those known, else raise ConfigError."""
    for name, value, known in (
        ("mode", mode, MODES),
        ("coordinate_transformation_mode", coordinates, COORDINATES),
        ("nearest_mode", nearest_mode, NEAREST_MODES),
    ):
        if not isinstance(value, str) or value not in known:
            raise ConfigError(f"{name} = {value!r}: expected one of {', '.join(known)}")
    if antialias and mode == "nearest":
        raise ConfigError('antialias = True: is for mode = "linear"')
    return Rule(mode, coordinates, nearest_mode, antialias, exclude_outside)


@lru_cache(maxsize=256)
def taps(axis: Axis, how: Rule) -> tuple[Taps, Taps, NDArray[np.bool_]]:
    """Return the rows of the matrix that resizes an axis, its columns, and which outputs lie outside of the input.

    Outside there is `tf_crop_and_resize`'s extrapolation value, and the rows are 0.

    >>> rows, columns, _ = taps(Axis(2, 4, 2.0), Rule("linear"))
    >>> [(rows.weights[:, i] @ np.array([0.0, 4.0])[rows.places[:, i]]).item() for i in range(4)]
    [0.0, 1.0, 3.0, 4.0]
    """
    at, outside = _coordinates(axis, how.coordinates)
    places, weights = _nearest(at, how) if how.mode == "nearest" else _linear(at, axis, how)
    places, weights = places.clip(0, axis.size - 1), np.where(outside, 0.0, weights)
    return Taps(places, weights), _transposed(places, weights, axis.size), outside


def _coordinates(axis: Axis, mode: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return where in the input each output lies, and whether that is outside of it."""
    index = np.arange(axis.output, dtype=np.float64)
    # The output's length, before it is cut to whole elements; a quotient of whole numbers gives a whole one.
    length = axis.output if axis.scale == axis.output / axis.size else axis.scale * axis.size
    outside = np.zeros(axis.output, bool)
    if mode == "asymmetric":
        return index / axis.scale, outside
    if mode == "align_corners":
        return index * ((axis.size - 1) / (length - 1) if length != 1 else 0.0), outside
    if mode == "tf_crop_and_resize":
        part = (axis.end - axis.start) * (axis.size - 1)
        steps = index * (part / (length - 1)) if length != 1 else np.full(axis.output, part / 2)
        at = axis.start * (axis.size - 1) + steps
        return at, (at < 0) | (at > axis.size - 1)
    if mode == "pytorch_half_pixel" and length == 1:
        return index - 0.5, outside
    at = (index + 0.5) / axis.scale - 0.5
    if mode == "half_pixel_symmetric":
        at += axis.size / 2 * (1 - axis.output / length)
    return at, outside


def _nearest(at: NDArray[np.float64], how: Rule) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    up = how.nearest_mode in ("ceil", "round_prefer_floor")  # which leaves a half where it is
    shift = {"round_prefer_floor": -0.5, "round_prefer_ceil": 0.5}.get(how.nearest_mode, 0.0)
    places = (np.ceil if up else np.floor)(at + shift)
    return places.astype(np.intp)[None], np.ones((1, len(at)))


def _linear(at: NDArray[np.float64], axis: Axis, how: Rule) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """A triangle around each coordinate: one element wide to either side or, against aliases, as wide as an output."""
    narrow = min(axis.scale, 1.0) if how.antialias else 1.0
    first = math.floor(-1 / narrow) + 1
    before = np.ceil(at) - 1
    offsets = np.arange(first, 2 - first)[:, None]
    places = (before + offsets).astype(np.intp)
    weights = (1 - np.abs((offsets - (at - before)) * narrow)).clip(0, 1)
    if how.exclude_outside:
        weights = np.where((places < 0) | (places >= axis.size), 0.0, weights)
    total = weights.sum(axis=0)
    return places, weights / np.where(total == 0, 1.0, total)


def _transposed(places: NDArray[np.intp], weights: NDArray[np.float64], size: int) -> Taps:
    """Return the matrix whose rows are the columns of the one given."""
    tap, output = np.nonzero(weights)
    place = places[tap, output]
    order = np.argsort(place, kind="stable")
    place, output, weight = place[order], output[order], weights[tap, output][order]
    rank = np.arange(len(place)) - np.searchsorted(place, place)
    most = int(rank.max(initial=0)) + 1
    columns = Taps(np.zeros((most, size), np.intp), np.zeros((most, size)))
    columns.places[rank, place], columns.weights[rank, place] = output, weight
    return columns
