"""Pooling layers: each channel's image is shrunk, window by window."""

from __future__ import annotations

from math import prod
from typing import Any

from cnnlib import functional, shapes
from cnnlib.arrays import flag
from cnnlib.errors import ShapeError
from cnnlib.graph import Shape, shape_text
from cnnlib.layers.base import Array, Layer, Needs, Outs, Window
from cnnlib.layers.checks import as_given, check_rank
from cnnlib.layers.registry import register
from cnnlib.shapes import IntPair, pool2d_geometry

__all__ = ["AvgPool2d", "MaxPool2d"]


class _Pool2d(Layer):
    """What both pools share: their windows, K = kernel_size and S = stride, padding P on every side."""

    def __init__(
        self, kernel_size: IntPair, stride: IntPair | None = None, padding: IntPair = 0, *, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.kernel_size, self.stride, self.padding = as_given(kernel_size), as_given(stride), as_given(padding)
        self._geometry = pool2d_geometry(kernel_size, stride, padding)

    def output_shape(self, x: Shape) -> Shape:
        check_rank(self, x, ("C", "H", "W"), "an image has channels, height and width")
        try:
            return shapes.pool2d_output_shape(x, *self._geometry)
        except ShapeError as error:
            raise ShapeError(f"{self!r}: input of N × {shape_text(x)}: {error}") from None

    def describe(self) -> str:
        kernel, stride, padding = (str(h) if h == w else f"{h}×{w}" for h, w in self._geometry)
        extra = "" if padding == "0" else f", P={padding}"
        return f"{type(self).__name__.removesuffix('2d')} (K={kernel}, S={stride}{extra})"

    def windows(self) -> tuple[Window, Window]:
        (kernel_h, kernel_w), (stride_h, stride_w), (padding_h, padding_w) = self._geometry
        return (kernel_h, stride_h, padding_h, 1), (kernel_w, stride_w, padding_w, 1)


@register
class MaxPool2d(_Pool2d):
    """Max-pooling: the largest pixel of every window (lecture: L40).

    Forward, over the K × K window of each output, padding never being the largest::

        y[c, i, j] = max_{p,q} x[c, i S + p - P, j S + q - P]

    Backward: ∂J/∂y goes to the pixel that was the largest, the first in row-major order if several are; a NaN in a
    window wins. Where windows overlap, gradients add up.

    Input: N × C × H × W. Output: N × C × H' × W', H' = ⌊(H + 2P - K)/S⌋ + 1. Saved for backward: which
    pixel of each window was the largest, a byte each (x itself if a window has more than 255 pixels).

    kernel_size, stride (None: the kernel's size), padding (at most half the kernel): an int or a pair.

    >>> import numpy as np
    >>> pool = MaxPool2d(2)
    >>> x = np.array([[[[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]]]], dtype=np.float32)
    >>> pool.forward(x, training=True)[0, 0].tolist()
    [[6.0, 8.0], [3.0, 4.0]]
    >>> pool.backward(np.array([[[[10, 20], [30, 40]]]], dtype=np.float32))[0, 0, 1:3].tolist()
    [[0.0, 10.0, 0.0, 20.0], [30.0, 0.0, 0.0, 0.0]]
    """

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        if not training:
            return functional.max_pool2d(x, *self._geometry, out=out), None
        if self._wide():
            return functional.max_pool2d(x, *self._geometry, out=out), (x, x.shape)
        y, winners = functional.max_pool2d_winners(x, *self._geometry, out=out)
        return y, (winners, x.shape)

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        if not needs[0]:
            return (None,)
        kept, shape = saved
        if self._wide():
            return (functional.max_pool2d_backward(dy, kept, *self._geometry, out=outs[0]),)
        return (functional.max_pool2d_winners_backward(dy, kept, shape, *self._geometry, out=outs[0]),)

    def _wide(self) -> bool:
        return prod(self._geometry[0]) > functional.MOST_POSITIONS


@register
class AvgPool2d(_Pool2d):
    """Average-pooling: the mean of every window (lecture: L40).

    Forward, over the K × K window of each output, padding being 0::

        y[c, i, j] = 1/K² Σ_{p,q} x[c, i S + p - P, j S + q - P]

    Backward: each pixel of a window gets 1/K² of its ∂J/∂y. With count_include_pad=False the number of pixels inside
    the image stands in place of K².

    Input: N × C × H × W. Output: N × C × H' × W', H' = ⌊(H + 2P - K)/S⌋ + 1. Saved for backward: the shape of x.

    kernel_size, stride (None: the kernel's size), padding (at most half the kernel): an int or a pair.

    >>> import numpy as np
    >>> pool = AvgPool2d(2)
    >>> pool.forward(np.array([[[[1, 2], [3, 6]]]], dtype=np.float32), training=True).tolist()
    [[[[3.0]]]]
    >>> pool.backward(np.array([[[[4]]]], dtype=np.float32)).tolist()
    [[[[1.0, 1.0], [1.0, 1.0]]]]
    """

    def __init__(
        self,
        kernel_size: IntPair,
        stride: IntPair | None = None,
        padding: IntPair = 0,
        count_include_pad: bool = True,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, name=name)
        self.count_include_pad = flag(count_include_pad, "count_include_pad")

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        y = functional.avg_pool2d(x, *self._geometry, self.count_include_pad, out=out)
        return y, x.shape if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        if not needs[0]:
            return (None,)
        return (functional.avg_pool2d_backward(dy, saved, *self._geometry, self.count_include_pad, out=outs[0]),)
