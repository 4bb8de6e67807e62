"""Max-pooling to a size that is given instead of by windows that are."""

from __future__ import annotations

from typing import Any

import numpy as np

from cnnlib.graph import Shape
from cnnlib.layers.adaptive import AdaptivePool
from cnnlib.layers.base import Array, Layer, Needs, Outs
from cnnlib.layers.checks import check_rank
from cnnlib.layers.pooling import MaxPool2d
from cnnlib.layers.registry import register

__all__ = ["AdaptiveMaxPool2d", "GlobalMaxPool2d"]


@register
class AdaptiveMaxPool2d(AdaptivePool):
    """Max-pooling of images of any size to one size, H' × W' = output_size.

    Forward, over the bin of each output, rows ⌊i H/H'⌋ to ⌈(i+1) H/H'⌉ and columns likewise::

        y[c, i, j] = maximum of x[c, bin i, bin j]

    Backward: ∂J/∂y goes to the pixel that was the largest, the first if several are; where bins overlap, gradients add
    up.

    Input: N × C × H × W with H ≥ H' and W ≥ W'. Output: N × C × H' × W'. Saved for backward: which pixels were the
    largest.

    output_size: an int or a pair.

    >>> pool = AdaptiveMaxPool2d((1, 2))
    >>> pool.forward(np.array([[[[1, 2, 3], [6, 4, 5]]]], np.float32), training=True).tolist()
    [[[[6.0, 5.0]]]]
    >>> pool.backward(np.array([[[[4, 8]]]], np.float32)).tolist()
    [[[[0.0, 0.0, 0.0], [4.0, 0.0, 8.0]]]]
    """

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        window = self._window(x.shape)
        if window is not None:
            pool = MaxPool2d(window)
            y, saved = pool.apply(x, training=training, out=out)
            return y, (pool, saved) if training else None
        y = np.empty((*x.shape[:2], *self._size), x.dtype) if out is None else out
        winners = np.empty(y.shape, np.intp)
        for (i, j), (rows, columns) in self._bins(x.shape):
            part = x[:, :, rows, columns]
            best = part.reshape(*part.shape[:2], -1).argmax(axis=2)
            row, column = np.divmod(best, part.shape[3])
            winners[:, :, i, j] = (rows.start + row) * x.shape[3] + columns.start + column
            y[:, :, i, j] = part.max(axis=(2, 3))
        return y, (x.shape, winners) if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        first, second = saved
        if not needs[0] or isinstance(first, MaxPool2d):
            return first.gradients(dy, second, needs, outs) if needs[0] else (None,)
        dx = np.empty(first, dy.dtype) if outs[0] is None else outs[0]
        dx.fill(0)
        n, channels = np.ogrid[: first[0], : first[1]]
        planes = dx.reshape(*first[:2], -1)
        for i, j in np.ndindex(self._size):
            planes[n, channels, second[:, :, i, j]] += dy[:, :, i, j]
        return (dx,)


@register
class GlobalMaxPool2d(Layer):
    """Global max-pooling: every feature map becomes its maximum, images become vectors.

    Forward: y[c] = max_{i,j} x[c, i, j]. Backward: ∂J/∂y goes to the pixel that was the largest, the first if several
    are.

    Input: N × C × H × W. Output: N × C; AdaptiveMaxPool2d(1) gives N × C × 1 × 1. Saved for backward: x, or which
    pixels were the largest.

    >>> pool = GlobalMaxPool2d()
    >>> pool.forward(np.array([[[[1, 2], [6, 3]]]], np.float32), training=True).tolist()
    [[6.0]]
    >>> pool.backward(np.array([[4]], np.float32)).tolist()
    [[[[0.0, 0.0], [4.0, 0.0]]]]
    """

    sees_all = True

    def output_shape(self, x: Shape) -> Shape:
        check_rank(self, x, ("C", "H", "W"), "an image has channels, height and width")
        return (x[0],)

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        pool = MaxPool2d((x.shape[2], x.shape[3]))
        y, saved = pool.apply(x, training=training, out=None if out is None else out[:, :, None, None])
        return y[:, :, 0, 0] if out is None else out, (pool, saved) if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        pool, kept = saved
        gradients: Outs = pool.gradients(dy[:, :, None, None], kept, needs, outs)
        return gradients
