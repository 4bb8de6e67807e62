"""Padding, and cropping, of any axes.

A padded axis is a list of places to read: the gradient of reading is adding. Only memory is moved, by NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cnnlib.arrays import as_array, expect_shape, number, output
from cnnlib.reference import Array
from cnnlib.shapes import PadPairs, pad_mode, pad_output_shape, pad_pairs

__all__ = ["pad", "pad_backward", "read_places"]


def pad(x: Array, padding: PadPairs, mode: str = "constant", value: float = 0.0, *, out: Array | None = None) -> Array:
    """Return x with so many elements more at either end of its last axes, or fewer, where a number is negative.

    padding: a pair (before, after) for each of the last axes, in their order. mode: "constant" (`value`), "reflect" at
    the first and last element, "replicate" them, or "circular": begin again at the other end.

    >>> x = np.array([1.0, 2.0, 3.0])
    >>> [pad(x, [(2, 0)], mode).tolist() for mode in ("constant", "reflect", "replicate")]
    [[0.0, 0.0, 1.0, 2.0, 3.0], [3.0, 2.0, 1.0, 2.0, 3.0], [1.0, 1.0, 1.0, 2.0, 3.0]]
    >>> pad(x, [(-1, 1)]).tolist()
    [2.0, 3.0, 0.0]
    """
    x, filling = as_array(x, "x"), number(value, "value")
    result = output(out, "out", pad_output_shape(x.shape, padding), x)
    pairs = _all_axes(x.shape, padding)
    if pad_mode(mode) == "constant":
        result.fill(filling)
        kept, read = _common(x.shape, pairs)
        result[kept] = x[read]
        return result
    for axis, (before, after) in enumerate(pairs):
        if before or after:
            x = _unfolded(x, axis, before, after, mode)
    np.copyto(result, x)
    return result


def pad_backward(
    grad_output: Array,
    x: Array | Sequence[int],
    padding: PadPairs,
    mode: str = "constant",
    *,
    out: Array | None = None,
) -> Array:
    """Return the gradient of `pad`: each element gets the sum over the places that hold it.

    Shapes: grad_output as `pad` returns; x the input or its shape, as the result.

    >>> pad_backward(np.ones(6), (3,), [(2, 1)], "reflect").tolist()
    [1.0, 3.0, 2.0]
    """
    grad_output = as_array(grad_output, "grad_output")
    x_shape = x.shape if isinstance(x, np.ndarray) else x
    expect_shape(grad_output, "grad_output", pad_output_shape(x_shape, padding), f"pad's output for x {x_shape}")
    result = output(out, "out", x_shape, grad_output)
    pairs = _all_axes(x_shape, padding)
    if pad_mode(mode) == "constant":
        result.fill(0)
        read, kept = _common(x_shape, pairs)
        result[kept] = grad_output[read]
        return result
    for axis, (before, after) in enumerate(pairs):
        if before or after:
            grad_output = _folded(grad_output, axis, x_shape[axis], before, after, mode)
    np.copyto(result, grad_output)
    return result


def read_places(size: int, before: int, after: int, mode: str) -> NDArray[np.intp]:
    """Return which element each place of a padded axis holds, by any mode but "constant".

    >>> read_places(3, 2, 1, "circular").tolist()
    [1, 2, 0, 1, 2, 0]
    """
    places = np.arange(-before, size + after)
    if mode == "replicate":
        return places.clip(0, size - 1)
    if mode == "circular":
        return places % size
    period = max(1, 2 * size - 2)
    there_and_back = places % period
    return np.minimum(there_and_back, period - there_and_back) if size > 1 else there_and_back


def _all_axes(shape: Sequence[int], padding: PadPairs) -> list[tuple[int, int]]:
    pairs = pad_pairs(padding)
    return [(0, 0)] * (len(shape) - len(pairs)) + list(pairs)


def _common(shape: Sequence[int], pairs: list[tuple[int, int]]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return where the elements that stay lie in the output and in the input."""
    ends = [
        (max(0, -before), max(0, -before, min(size, size + after)))
        for size, (before, after) in zip(shape, pairs, strict=True)
    ]
    inside = tuple(slice(first, last) for first, last in ends)
    outside = tuple(
        slice(first + before, last + before) for (first, last), (before, _) in zip(ends, pairs, strict=True)
    )
    return outside, inside


def _unfolded(x: Array, axis: int, before: int, after: int, mode: str) -> Array:
    """Return x with one axis padded: what stays as a whole, what comes from elsewhere place by place."""
    places = read_places(x.shape[axis], before, after, mode)
    padded = np.empty((*x.shape[:axis], len(places), *x.shape[axis + 1 :]), x.dtype)
    (there,), (here,) = _common((x.shape[axis],), [(before, after)])
    at = (slice(None),) * axis
    padded[(*at, there)] = x[(*at, here)]
    for place in (*range(there.start), *range(there.stop, len(places))):
        padded[(*at, place)] = x[(*at, places[place])]
    return padded


def _folded(grad: Array, axis: int, size: int, before: int, after: int, mode: str) -> Array:
    """Return the gradient of an axis of `size` from that of the padded one."""
    places = read_places(size, before, after, mode)
    folded = np.zeros((*grad.shape[:axis], size, *grad.shape[axis + 1 :]), grad.dtype)
    (there,), (here,) = _common((size,), [(before, after)])
    at = (slice(None),) * axis
    folded[(*at, here)] = grad[(*at, there)]
    for place in (*range(there.start), *range(there.stop, len(places))):
        folded[(*at, places[place])] += grad[(*at, place)]
    return folded
