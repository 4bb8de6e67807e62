"""Pooling layers: each channel's image, or series, is shrunk, window by window."""

from __future__ import annotations

from typing import Any

from cnnlib import functional
from cnnlib.arrays import flag
from cnnlib.functional.pooling import undilated
from cnnlib.layers.base import Array
from cnnlib.layers.pool_nd import PoolNd
from cnnlib.layers.registry import register
from cnnlib.shapes import IntPair, PoolPadding

__all__ = ["AvgPool2d", "AvgPoolNd", "MaxPool2d", "MaxPoolNd"]


class MaxPoolNd(PoolNd):
    """Max-pooling of images, and of series as images."""

    def _pool(self, x: Array, training: bool, out: Array | None) -> tuple[Array, Any]:
        settings = *self._windows, self.ceil_mode
        if not training:
            return functional.max_pool2d(x, *settings, out=out), None
        if not self._counts_in_bytes():
            return functional.max_pool2d(x, *settings, out=out), (x, x.shape)
        y, winners = functional.max_pool2d_winners(x, *settings, out=out)
        return y, (winners, x.shape)

    def _gradient(self, dy: Array, saved: Any, out: Array | None) -> Array:
        kept, shape = saved
        settings = *self._windows, self.ceil_mode
        if not self._counts_in_bytes():
            return functional.max_pool2d_backward(dy, kept, *settings, out=out)
        return functional.max_pool2d_winners_backward(dy, kept, shape, *settings, out=out)

    def _counts_in_bytes(self) -> bool:
        height, width = self.geometry
        return height.kernel * width.kernel <= functional.MOST_POSITIONS and undilated(self.geometry)


class AvgPoolNd(PoolNd):
    """Average-pooling of images, and of series as images."""

    count_include_pad: bool

    def _pool(self, x: Array, training: bool, out: Array | None) -> tuple[Array, Any]:
        return functional.avg_pool2d(x, *self._settings(), out=out), x.shape if training else None

    def _gradient(self, dy: Array, saved: Any, out: Array | None) -> Array:
        return functional.avg_pool2d_backward(dy, saved, *self._settings(), out=out)

    def _settings(self) -> tuple[Any, Any, Any, bool, bool, Any]:
        kernels, strides, padding, dilations = self._windows
        return kernels, strides, padding, self.count_include_pad, self.ceil_mode, dilations


@register
class MaxPool2d(MaxPoolNd):
    """Max-pooling: the largest pixel of every window (lecture: L40).

    Forward, over the K × K window of each output, padding never being the largest (at dilation 1)::

        y[c, i, j] = max_{p,q} x[c, i S + p - P, j S + q - P]

    Backward: ∂J/∂y goes to the pixel that was the largest, the first in row-major order if several are; a NaN in a
    window wins. Where windows overlap, gradients add up.

    Input: N × C × H × W. Output: N × C × H' × W', H' = ⌊(H + 2P - D(K - 1) - 1)/S⌋ + 1. Saved for backward: which
    pixel of each window was the largest, a byte each (x itself if a window has more than 255 pixels or is dilated).

    kernel_size, stride (None: the kernel's size), padding (at most half the kernel), dilation: an int or a pair;
    padding also four ints (top, left, bottom, right), each smaller than the kernel. ceil_mode: H' is rounded up, as
    long as the last window begins inside the image or the padding before it.

    >>> import numpy as np
    >>> pool = MaxPool2d(2)
    >>> x = np.array([[[[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]]]], dtype=np.float32)
    >>> pool.forward(x, training=True)[0, 0].tolist()
    [[6.0, 8.0], [3.0, 4.0]]
    >>> pool.backward(np.array([[[[10, 20], [30, 40]]]], dtype=np.float32))[0, 0, 1:3].tolist()
    [[0.0, 10.0, 0.0, 20.0], [30.0, 0.0, 0.0, 0.0]]
    """

    def __init__(
        self,
        kernel_size: IntPair,
        stride: IntPair | None = None,
        padding: PoolPadding = 0,
        dilation: IntPair = 1,
        *,
        ceil_mode: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode, name)


@register
class AvgPool2d(AvgPoolNd):
    """Average-pooling: the mean of every window (lecture: L40).

    Forward, over the K × K window of each output, padding being 0 (at dilation 1)::

        y[c, i, j] = 1/K² Σ_{p,q} x[c, i S + p - P, j S + q - P]

    Backward: each pixel of a window gets 1/K² of its ∂J/∂y. With count_include_pad=False the number of pixels inside
    the image stands in place of K²; else, with ceil_mode, that of pixels inside image and padding.

    Input: N × C × H × W. Output: N × C × H' × W', H' = ⌊(H + 2P - D(K - 1) - 1)/S⌋ + 1. Saved for backward: the shape
    of x.

    kernel_size, stride, padding, ceil_mode, dilation: as in `MaxPool2d`. In PyTorch ceil_mode is the fourth: name it.

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
        padding: PoolPadding = 0,
        count_include_pad: bool = True,
        *,
        ceil_mode: bool = False,
        dilation: IntPair = 1,
        name: str | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode, name)
        self.count_include_pad = flag(count_include_pad, "count_include_pad")
