"""Layers that pass on a part of what they are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cnnlib.errors import ConfigError, ShapeError
from cnnlib.graph import Shape, shape_text
from cnnlib.layers.base import Array, Layer, Needs, Outs
from cnnlib.layers.checks import int_array, put, sample_axis
from cnnlib.layers.registry import register

__all__ = ["Slice", "Take"]


@register
class Slice(Layer):
    """A range of each axis, as Python slices: ``Slice([(0, 8)])`` keeps the first eight channels.

    ranges: for each axis of a sample, from its first, (start, stop) or (start, stop, step), or None for all of it; the
    ints mean what they mean in ``x[start:stop:step]`` and may be negative or None. Axes that are not named stay whole.

    Forward: y = x[:, start:stop:step, …]. Backward: ∂J/∂y goes where it came from, the rest of ∂J/∂x is 0. Input: N ×
    any shape. Output: what is left. Saved for backward: the shape of x. Raises ShapeError if nothing would be left.

    >>> part = Slice([None, (1, None)])
    >>> part.forward(np.arange(6.0).reshape(1, 2, 3), training=True).tolist()
    [[[1.0, 2.0], [4.0, 5.0]]]
    >>> part.backward(np.ones((1, 2, 2))).tolist()
    [[[0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]]
    """

    def __init__(self, ranges: Sequence[Sequence[int | None] | None], *, name: str | None = None) -> None:
        super().__init__(name=name)
        if isinstance(ranges, str) or not isinstance(ranges, Sequence):
            raise ConfigError(f"ranges = {ranges!r}: expected a list with (start, stop) or None for each axis")
        self.ranges = tuple(None if one is None else _range(one) for one in ranges)
        self.slices = tuple(slice(None) if one is None else slice(*one) for one in self.ranges)

    def output_shape(self, x: Shape) -> Shape:
        if len(x) < len(self.ranges):
            raise ShapeError(f"{self!r}: an input of N × {shape_text(x)} has fewer axes")
        sizes = [len(range(*part.indices(size))) for part, size in zip(self.slices, x, strict=False)]
        if 0 in sizes:
            raise ShapeError(f"{self!r}: of an input of N × {shape_text(x)} nothing is left")
        return (*sizes, *x[len(sizes) :])

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        return put(x[(slice(None), *self.slices)], out), x.shape if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        if not needs[0]:
            return (None,)
        dx = np.empty(saved, dy.dtype) if outs[0] is None else outs[0]
        dx[...] = 0
        dx[(slice(None), *self.slices)] = dy
        return (dx,)


@register
class Take(Layer):
    """Chosen places of an axis, each as often as it is named: ``Take([2, 0, 1])`` orders three channels anew.

    Forward: y[i] = x[indices[i]] along axis, which counts the batch as 0; negative indices count from the end.
    Backward: ∂J/∂x sums ∂J/∂y over the times that a place was taken. Input: N × any shape. Output: the axis is replaced
    by those of indices, ints nested as deeply as there are axes. Saved for backward: the shape of x.

    >>> take = Take([1, 1, 0])
    >>> take.forward(np.array([[5.0, 7.0]]), training=True).tolist(), take.backward(np.ones((1, 3))).tolist()
    ([[7.0, 7.0, 5.0]], [[1.0, 2.0]])
    """

    def __init__(self, indices: Any, axis: int = 1, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self._indices = int_array(indices, "indices")
        self.indices = self._indices.tolist()
        self.axis = sample_axis(axis)

    def output_shape(self, x: Shape) -> Shape:
        at = self.axis - 1
        low, high = int(self._indices.min()), int(self._indices.max())
        if at >= len(x) or not -x[at] <= low <= high < x[at]:
            raise ShapeError(
                f"{self!r}: an input of N × {shape_text(x)} has no places {low}…{high} on axis {self.axis}"
            )
        return (*x[:at], *self._indices.shape, *x[at + 1 :])

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        return put(np.take(x, self._indices, axis=self.axis), out), x.shape if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        if not needs[0]:
            return (None,)
        dx = np.zeros(saved, dy.dtype)
        np.add.at(dx, (*(slice(None),) * self.axis, self._indices), dy)  # type: ignore[arg-type]
        return (put(dx, outs[0]),)


def _range(given: Any) -> tuple[int | None, ...]:
    whole = (type(None), int, np.integer)
    if (
        not isinstance(given, (list, tuple))
        or len(given) not in (2, 3)
        or any(isinstance(end, bool) or not isinstance(end, whole) for end in given)
        or (len(given) == 3 and given[2] == 0)
    ):
        raise ConfigError(f"range {given!r}: expected (start, stop) or (start, stop, step), ints or None, no step of 0")
    return tuple(None if end is None else int(end) for end in given)
