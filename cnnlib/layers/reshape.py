"""Layers that only change how an array's elements are arranged."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from cnnlib.errors import ConfigError, ShapeError
from cnnlib.graph import Shape, shape_text
from cnnlib.layers.base import Array, Layer, Needs, Outs
from cnnlib.layers.checks import int_tuple, put
from cnnlib.layers.registry import register

__all__ = ["Expand", "Flatten", "Permute", "Reshape"]


class _Rearranged(Layer):
    """A layer whose passes return views: a gradient has the elements of ∂J/∂y in the shape of x."""

    shares_gradient = True

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        return x.reshape(len(x), *self.output_shape(x.shape[1:])), x.shape if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        return (dy.reshape(saved) if needs[0] else None,)

    def shares_input(self, training: bool) -> bool:
        return True


@register
class Flatten(_Rearranged):
    """Flatten: feature maps become a vector, row by row, channel by channel (lecture: L41, L42).

    Forward::

        y[c H W + h W + w] = x[c, h, w]

    Backward: ∂J/∂x has the elements of ∂J/∂y in the shape of x.

    Input: N × C × H × W, or any shape. Output: N × C·H·W; both passes return views. Saved for backward: the shape of x.

    >>> flatten = Flatten()
    >>> flatten.forward(np.zeros((2, 50, 7, 7), np.float32), training=True).shape
    (2, 2450)
    >>> flatten.backward(np.ones((2, 2450), np.float32)).shape
    (2, 50, 7, 7)
    """

    def output_shape(self, x: Shape) -> Shape:
        return (prod(x),)


@register
class Reshape(_Rearranged):
    """The same elements, in their order, in another shape.

    Forward: y[i] = x[i], i counting a sample's elements in row-major order. Backward: ∂J/∂x has the elements of ∂J/∂y.

    Input: N × any shape. Output: N × shape, in which one size may be -1, what is left; both passes return views.
    Saved for backward: the shape of x. Raises ShapeError if the numbers of elements differ.

    >>> reshape = Reshape((2, -1))
    >>> reshape.forward(np.zeros((5, 12)), training=True).shape, reshape.backward(np.zeros((5, 2, 6))).shape
    ((5, 2, 6), (5, 12))
    """

    def __init__(self, shape: int | Sequence[int], *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.shape = int_tuple(shape, "shape", least=-1)
        if 0 in self.shape or self.shape.count(-1) > 1:
            raise ConfigError(f"shape = {shape!r}: expected positive sizes, one of which may be -1")

    def output_shape(self, x: Shape) -> Shape:
        known = prod(size for size in self.shape if size > 0)
        open_size = prod(x) // known
        shape = tuple(open_size if size == -1 else size for size in self.shape)
        if prod(shape) != prod(x):
            raise ShapeError(f"{self!r}: an input of N × {shape_text(x)} has {prod(x)} elements a sample, not as many")
        return shape


@register
class Permute(Layer):
    """The axes in another order: ``Permute((3, 1, 2))`` turns N × H × W × C into N × C × H × W.

    Forward: axis k of y = axis dims[k] of x, counted from 1; 0 is the batch. Backward: ∂J/∂x is ∂J/∂y with the axes put
    back. Input: N × as many axes as dims. Output: their sizes in that order. Saved for backward: nothing.

    >>> permute = Permute((3, 1, 2))
    >>> permute.forward(np.zeros((2, 28, 30, 3)), training=True).shape, permute.backward(np.ones((2, 3, 28, 30))).shape
    ((2, 3, 28, 30), (2, 28, 30, 3))
    """

    def __init__(self, dims: Sequence[int], *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.dims = int_tuple(dims, "dims", least=1)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ConfigError(f"dims = {dims!r}: expected each of 1…{len(self.dims)} once")

    def output_shape(self, x: Shape) -> Shape:
        if len(x) != len(self.dims):
            raise ShapeError(f"{self!r}: got an input of N × {shape_text(x)}, needs {len(self.dims)} axes besides N")
        return tuple(x[axis - 1] for axis in self.dims)

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        return put(x.transpose(0, *self.dims), out), None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        return (put(dy.transpose(0, *(np.argsort(self.dims) + 1)), outs[0]) if needs[0] else None,)


@register
class Expand(Layer):
    """Copies along axes of size 1, or along new ones, as NumPy broadcasts: what ``x * gate`` needs of a gate.

    Forward: y[…, i, …] = x[…, 0, …] along the copied axes. Backward: ∂J/∂x is the sum of ∂J/∂y over the copies.
    Input: N × the last axes of shape, each of that size or of size 1. Output: N × shape. Saved for backward: the shape
    of x.

    >>> expand = Expand((2, 3))
    >>> expand.forward(np.array([[[1], [5]]], np.float32), training=True).tolist()
    [[[1.0, 1.0, 1.0], [5.0, 5.0, 5.0]]]
    >>> expand.backward(np.ones((1, 2, 3), np.float32)).tolist()
    [[[3.0], [3.0]]]
    """

    def __init__(self, shape: int | Sequence[int], *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.shape = int_tuple(shape, "shape", least=1)

    def output_shape(self, x: Shape) -> Shape:
        if len(x) > len(self.shape) or any(a not in (1, b) for a, b in zip(x[::-1], self.shape[::-1], strict=False)):
            raise ShapeError(f"{self!r}: an input of N × {shape_text(x)} does not broadcast to that shape")
        return self.shape

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        aligned = x.reshape(len(x), *self._padded(x.shape[1:]))
        return put(np.broadcast_to(aligned, (len(x), *self.shape)), out), x.shape if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        sizes = zip(self._padded(saved[1:]), self.shape, strict=True)
        copied = tuple(axis for axis, (one, many) in enumerate(sizes, 1) if one != many)
        return (put(dy.sum(axis=copied).reshape(saved), outs[0]) if needs[0] else None,)

    def _padded(self, x: Shape) -> Shape:
        return (1,) * (len(self.shape) - len(x)) + x
