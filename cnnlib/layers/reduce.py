"""Layers that make one number of many along some axes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from cnnlib.arrays import flag
from cnnlib.errors import ConfigError, ShapeError
from cnnlib.graph import Shape, shape_text
from cnnlib.layers.base import Array, Layer, Needs, Outs
from cnnlib.layers.checks import int_tuple, put, sample_axis
from cnnlib.layers.registry import register

__all__ = ["ArgMax", "Max", "Mean"]


class _Reduction(Layer):
    """A layer with `axis`, one or several, that counts the batch as 0, and `keepdims`: they stay, of size 1."""

    def __init__(self, axis: int | Sequence[int], keepdims: bool = False, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.axis = int_tuple(axis, "axis", least=1)
        if not self.axis or len(set(self.axis)) != len(self.axis):
            raise ConfigError(f"axis = {axis!r}: expected ints of at least 1, each once; axis 0 is the batch")
        self.keepdims = flag(keepdims, "keepdims")

    def output_shape(self, x: Shape) -> Shape:
        if max(self.axis) > len(x):
            raise ShapeError(f"{self!r}: an input of N × {shape_text(x)} has axes 1…{len(x)}")
        kept = [1 if a in self.axis else size for a, size in enumerate(x, 1)]
        return tuple(kept if self.keepdims else (size for a, size in enumerate(x, 1) if a not in self.axis))

    def _spread(self, values: Array, x: Shape) -> Array:
        """Return what stands for each output, N × output shape, with the axes of size 1 put back."""
        return values.reshape(x[0], *(1 if a in self.axis else size for a, size in enumerate(x[1:], 1)))


@register
class Mean(_Reduction):
    """The mean along axes: ``Mean((2, 3))`` of N × C × H × W is N × C.

    Forward: y = 1/K Σ x over the K elements that become one. Backward: ∂J/∂x = 1/K ∂J/∂y.
    axis: an int or several, the batch being 0. keepdims: the axes stay, of size 1. Input: N × any shape with them.
    Output: the other axes. Saved for backward: the shape of x.

    >>> mean = Mean((2, 3))
    >>> mean.forward(np.array([[[[1.0, 3.0]], [[5.0, 9.0]]]]), training=True).tolist()
    [[2.0, 7.0]]
    >>> mean.backward(np.array([[1.0, 2.0]])).tolist()
    [[[[0.5, 0.5]], [[1.0, 1.0]]]]
    """

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        return put(np.mean(x, axis=self.axis, keepdims=self.keepdims), out), x.shape if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        if not needs[0]:
            return (None,)
        averaged = prod(saved[a] for a in self.axis)
        return (put(np.broadcast_to(self._spread(dy, saved) / averaged, saved).astype(dy.dtype), outs[0]),)


@register
class Max(_Reduction):
    """The largest along axes: ``Max((2, 3))`` of N × C × H × W is N × C. A NaN is the largest.

    Forward: y = max x over the elements that become one. Backward: ∂J/∂x is ∂J/∂y where the largest was, the first in
    row-major order if several are, and 0 elsewhere. axis, keepdims, Input and Output: as in `Mean`.
    Saved for backward: the place of the largest.

    >>> largest = Max(1)
    >>> largest.forward(np.array([[3.0, 8.0, 8.0]]), training=True).tolist()
    [8.0]
    >>> largest.backward(np.array([5.0])).tolist()
    [[0.0, 5.0, 0.0]]
    """

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        y = put(np.max(x, axis=self.axis, keepdims=self.keepdims), out)
        if not training:
            return y, None
        rows = x.transpose(self._order(x.ndim)).reshape(y.size, -1)
        return y, (rows.argmax(axis=1), x.shape)

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        if not needs[0]:
            return (None,)
        places, shape = saved
        order = self._order(len(shape))
        rows = np.zeros((dy.size, prod(shape[a] for a in self.axis)), dy.dtype)
        rows[np.arange(dy.size), places] = dy.reshape(-1)
        return (put(rows.reshape([shape[a] for a in order]).transpose(np.argsort(order)), outs[0]),)

    def _order(self, rank: int) -> list[int]:
        """The axes with those that are reduced at the end, in their order."""
        return [a for a in range(rank) if a not in self.axis] + sorted(self.axis)


@register
class ArgMax(Layer):
    """Where along an axis the largest lies, as a number of the model's dtype: classes from scores.

    Forward: y = argmax x along axis, which counts the batch as 0. keepdims: it stays, of size 1. last: the last of
    several that are the largest, not the first. Backward: ∂J/∂x = 0, for the place jumps and is constant in between.
    Input: N × any shape with that axis. Output: the other axes. Saved for backward: the shape of x.

    >>> argmax = ArgMax()
    >>> argmax.forward(np.array([[1.0, 8.0, 8.0]]), training=True), argmax.backward(np.ones(1))
    (array([1.]), array([[0., 0., 0.]]))
    """

    def __init__(self, axis: int = 1, keepdims: bool = False, last: bool = False, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.axis, self.keepdims, self.last = sample_axis(axis), flag(keepdims, "keepdims"), flag(last, "last")

    def output_shape(self, x: Shape) -> Shape:
        at = self.axis - 1
        if at >= len(x):
            raise ShapeError(f"{self!r}: an input of N × {shape_text(x)} has axes 1…{len(x)}")
        return (*x[:at], *((1,) if self.keepdims else ()), *x[at + 1 :])

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        if self.last:
            places = x.shape[self.axis] - 1 - np.argmax(np.flip(x, self.axis), axis=self.axis, keepdims=self.keepdims)
        else:
            places = np.argmax(x, axis=self.axis, keepdims=self.keepdims)
        return put(places.astype(x.dtype), out), x.shape if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        return (put(np.zeros(saved, dy.dtype), outs[0]) if needs[0] else None,)
