"""Lp-pooling layers: each window becomes its norm."""

from __future__ import annotations

from typing import Any

from cnnlib import functional
from cnnlib.arrays import number
from cnnlib.layers.base import Array
from cnnlib.layers.pool_nd import PoolNd
from cnnlib.layers.registry import register
from cnnlib.shapes import IntPair, IntSingle, PoolPadding

__all__ = ["LPPool1d", "LPPool2d"]


class _LPPool(PoolNd):
    """Lp-pooling of images, and of series as images."""

    norm_type: float

    def _pool(self, x: Array, training: bool, out: Array | None) -> tuple[Array, Any]:
        kernels, strides, padding, dilations = self._windows
        y = functional.lp_pool2d(
            x, self.norm_type, kernels, strides, self.ceil_mode, padding=padding, dilation=dilations, out=out
        )
        return y, (x, y) if training else None

    def _gradient(self, dy: Array, saved: Any, out: Array | None) -> Array:
        kernels, strides, padding, dilations = self._windows
        x, y = saved
        return functional.lp_pool2d_backward(
            dy, x, y, self.norm_type, kernels, strides, self.ceil_mode, padding=padding, dilation=dilations, out=out
        )

    def _checked(self, norm_type: float) -> float:
        number(norm_type, "norm_type", 1)
        return norm_type if isinstance(norm_type, int) else float(norm_type)


@register
class LPPool2d(_LPPool):
    """Lp-pooling: the p-norm of every window, with p = norm_type; p = 1 sums, a large p takes nearly the maximum.

    Forward, over the K × K window of each output, padding being 0 (at dilation 1)::

        y[c, i, j] = (Σ_{p,q} |x[c, i S + p - P, j S + q - P]|^norm_type)^(1/norm_type)

    Backward: ∂J/∂x = |x|^(norm_type - 1) sign(x) Σ ∂J/∂y y^(1 - norm_type) over the windows of a pixel; those whose
    norm is 0 give none.

    Input: N × C × H × W. Output: N × C × H' × W', H' = ⌊(H + 2P - D(K - 1) - 1)/S⌋ + 1. Saved for backward: x and y.

    norm_type: a number of at least 1. kernel_size, stride, padding, ceil_mode, dilation: as in `MaxPool2d`. PyTorch
    leaves out the bars, which is the same for even norm_type and for x ≥ 0, and scales up windows that ceil_mode cuts
    off, which is not done here, nor in ONNX.

    >>> import numpy as np
    >>> pool = LPPool2d(2, 2)
    >>> pool.forward(np.array([[[[3, 0], [-4, 0]]]], np.float32), training=True).tolist()
    [[[[5.0]]]]
    >>> pool.backward(np.array([[[[10]]]], np.float32)).tolist()
    [[[[6.0, 0.0], [-8.0, 0.0]]]]
    """

    def __init__(
        self,
        norm_type: float,
        kernel_size: IntPair,
        stride: IntPair | None = None,
        ceil_mode: bool = False,
        *,
        padding: PoolPadding = 0,
        dilation: IntPair = 1,
        name: str | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode, name)
        self.norm_type = self._checked(norm_type)


@register
class LPPool1d(_LPPool):
    """Lp-pooling of series: `LPPool2d` along one axis.

    Forward, over the K elements of each window::

        y[c, i] = (Σ_p |x[c, i S + p - P]|^norm_type)^(1/norm_type)

    Backward: ∂J/∂x as in `LPPool2d`.

    Input: N × C × L. Output: N × C × L', L' = ⌊(L + 2P - D(K - 1) - 1)/S⌋ + 1. Saved for backward: x and y.

    norm_type: a number of at least 1. kernel_size, stride, padding, ceil_mode, dilation: as in `MaxPool1d`.

    >>> import numpy as np
    >>> pool = LPPool1d(2, 2)
    >>> pool.forward(np.array([[[3, -4]]], np.float32), training=True).tolist()
    [[[5.0]]]
    >>> pool.backward(np.array([[[10]]], np.float32)).tolist()
    [[[6.0, -8.0]]]
    """

    axes = 1

    def __init__(
        self,
        norm_type: float,
        kernel_size: IntSingle,
        stride: IntSingle | None = None,
        ceil_mode: bool = False,
        *,
        padding: IntSingle | IntPair = 0,
        dilation: IntSingle = 1,
        name: str | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode, name)
        self.norm_type = self._checked(norm_type)
