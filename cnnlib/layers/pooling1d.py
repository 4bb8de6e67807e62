"""Pooling layers of series, N × C × L."""

from __future__ import annotations

from cnnlib.arrays import flag
from cnnlib.layers.pooling import AvgPoolNd, MaxPoolNd
from cnnlib.layers.registry import register
from cnnlib.shapes import IntPair, IntSingle

__all__ = ["AvgPool1d", "MaxPool1d"]


@register
class MaxPool1d(MaxPoolNd):
    """Max-pooling of series: `MaxPool2d` along one axis.

    Forward, over the K elements of each window: y[c, i] = max_p x[c, i S + p D - P]. Backward: ∂J/∂y goes to the
    element that was the largest, the first if several are.

    Input: N × C × L. Output: N × C × L', L' = ⌊(L + 2P - D(K - 1) - 1)/S⌋ + 1. Saved for backward: as in `MaxPool2d`.

    kernel_size, stride (None: the kernel's size), padding, dilation: an int; padding also a pair (left, right), each
    smaller than the kernel. ceil_mode: as in `MaxPool2d`.

    >>> import numpy as np
    >>> pool = MaxPool1d(2)
    >>> pool.forward(np.array([[[1, 3, 4, 2]]], np.float32), training=True).tolist()
    [[[3.0, 4.0]]]
    >>> pool.backward(np.array([[[5, 7]]], np.float32)).tolist()
    [[[0.0, 5.0, 7.0, 0.0]]]
    """

    axes = 1

    def __init__(
        self,
        kernel_size: IntSingle,
        stride: IntSingle | None = None,
        padding: IntSingle | IntPair = 0,
        dilation: IntSingle = 1,
        *,
        ceil_mode: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode, name)


@register
class AvgPool1d(AvgPoolNd):
    """Average-pooling of series: `AvgPool2d` along one axis.

    Forward, over the K elements of each window: y[c, i] = 1/K Σ_p x[c, i S + p - P]. Backward: each element of a
    window gets 1/K of its ∂J/∂y. With count_include_pad=False the number of elements inside stands in place of K.

    Input: N × C × L. Output: N × C × L', L' = ⌊(L + 2P - D(K - 1) - 1)/S⌋ + 1. Saved for backward: the shape of x.

    kernel_size, stride, padding, ceil_mode, dilation: as in `MaxPool1d`, in PyTorch's order.

    >>> import numpy as np
    >>> pool = AvgPool1d(2)
    >>> pool.forward(np.array([[[1, 3, 4, 2]]], np.float32), training=True).tolist()
    [[[2.0, 3.0]]]
    >>> pool.backward(np.array([[[4, 6]]], np.float32)).tolist()
    [[[2.0, 2.0, 3.0, 3.0]]]
    """

    axes = 1

    def __init__(
        self,
        kernel_size: IntSingle,
        stride: IntSingle | None = None,
        padding: IntSingle | IntPair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        *,
        dilation: IntSingle = 1,
        name: str | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode, name)
        self.count_include_pad = flag(count_include_pad, "count_include_pad")
