"""Pooling to a size that is given instead of by windows that are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from cnnlib import functional
from cnnlib.errors import ShapeError
from cnnlib.graph import Shape, shape_text
from cnnlib.layers.base import Array, Layer, Needs, Outs
from cnnlib.layers.checks import as_given, check_rank
from cnnlib.layers.registry import register
from cnnlib.shapes import IntPair, pair

__all__ = ["AdaptiveAvgPool2d", "AdaptivePool", "GlobalAvgPool2d"]

Bins = tuple[slice, slice]


class AdaptivePool(Layer):
    """What adaptive pools share: bins of any size, H' × W' of them."""

    # An upper bound: how large a bin is depends on the input.
    sees_all = True

    def __init__(self, output_size: IntPair, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.output_size = as_given(output_size)
        self._size = pair(output_size, "output_size", 1)

    def output_shape(self, x: Shape) -> Shape:
        check_rank(self, x, ("C", "H", "W"), "an image has channels, height and width")
        if x[1] < self._size[0] or x[2] < self._size[1]:
            raise ShapeError(
                f"{self!r}: input of N × {shape_text(x)} is smaller than the output of {shape_text(self._size)}: "
                f"choose an output_size of at most {x[1]} × {x[2]}"
            )
        return x[0], *self._size

    def describe(self) -> str:
        return f"{type(self).__name__.removesuffix('2d')} ({self._size[0]}×{self._size[1]})"

    def _window(self, x: Shape) -> tuple[int, int] | None:
        """Return the one size of all bins if they are windows side by side, else None."""
        (h, w), (rows, columns) = x[2:], self._size
        return (h // rows, w // columns) if h % rows == 0 and w % columns == 0 else None

    def _bins(self, x: Shape) -> Iterator[tuple[tuple[int, int], Bins]]:
        edges = [
            [slice(i * size // bins, -(-(i + 1) * size // bins)) for i in range(bins)]
            for size, bins in zip(x[2:], self._size, strict=True)
        ]
        for index in np.ndindex(self._size):
            yield (index[0], index[1]), (edges[0][index[0]], edges[1][index[1]])


@register
class AdaptiveAvgPool2d(AdaptivePool):
    """Average-pooling of images of any size to one size, H' × W' = output_size.

    Forward, over the bin of each output, rows ⌊i H/H'⌋ to ⌈(i+1) H/H'⌉ and columns likewise; bins overlap where H' does
    not divide H::

        y[c, i, j] = mean of x[c, bin i, bin j]

    Backward: each pixel of a bin gets an equal share of its ∂J/∂y; where bins overlap, shares add up.

    Input: N × C × H × W with H ≥ H' and W ≥ W'. Output: N × C × H' × W'. Saved for backward: the shape of x.

    output_size: an int or a pair.

    >>> pool = AdaptiveAvgPool2d((1, 2))
    >>> pool.forward(np.array([[[[1, 2, 3], [3, 4, 5]]]], np.float32), training=True).tolist()
    [[[[2.5, 3.5]]]]
    >>> pool.backward(np.array([[[[4, 8]]]], np.float32)).tolist()
    [[[[1.0, 3.0, 2.0], [1.0, 3.0, 2.0]]]]
    """

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        window = self._window(x.shape)
        if window is not None:
            y = functional.avg_pool2d(x, window, out=out)
        else:
            y = np.empty((*x.shape[:2], *self._size), x.dtype) if out is None else out
            for (i, j), (rows, columns) in self._bins(x.shape):
                y[:, :, i, j] = x[:, :, rows, columns].mean(axis=(2, 3))
        return y, x.shape if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        if not needs[0]:
            return (None,)
        window, dx = self._window(saved), outs[0]
        if window is not None:
            return (functional.avg_pool2d_backward(dy, saved, window, out=dx),)
        dx = np.empty(saved, dy.dtype) if dx is None else dx
        dx.fill(0)
        for (i, j), (rows, columns) in self._bins(saved):
            part = dx[:, :, rows, columns]
            part += dy[:, :, i : i + 1, j : j + 1] / (part.shape[2] * part.shape[3])
        return (dx,)


@register
class GlobalAvgPool2d(Layer):
    """Global average-pooling: every feature map becomes its mean, images become vectors.

    Forward: y[c] = 1/(H W) Σ_{i,j} x[c, i, j]. Backward: every pixel gets ∂J/∂y / (H W).

    Input: N × C × H × W. Output: N × C; AdaptiveAvgPool2d(1) gives N × C × 1 × 1. Saved for backward: the shape of x.

    >>> pool = GlobalAvgPool2d()
    >>> pool.forward(np.array([[[[1, 2], [3, 6]]]], np.float32), training=True).tolist()
    [[3.0]]
    >>> pool.backward(np.array([[4]], np.float32)).tolist()
    [[[[1.0, 1.0], [1.0, 1.0]]]]
    """

    sees_all = True

    def output_shape(self, x: Shape) -> Shape:
        check_rank(self, x, ("C", "H", "W"), "an image has channels, height and width")
        return (x[0],)

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        shape = (*x.shape[:2], 1, 1)
        y = functional.avg_pool2d(x, (x.shape[2], x.shape[3]), out=None if out is None else out.reshape(shape))
        return y.reshape(shape[:2]) if out is None else out, x.shape if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        if not needs[0]:
            return (None,)
        return (functional.avg_pool2d_backward(dy.reshape(*dy.shape, 1, 1), saved, saved[2:], out=outs[0]),)
