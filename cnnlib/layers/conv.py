"""Convolution layers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from cnnlib import functional, shapes
from cnnlib.graph import Shape
from cnnlib.init import DEFAULT, RNG
from cnnlib.layers.base import Array, Window
from cnnlib.layers.conv_nd import ConvNd
from cnnlib.layers.registry import register
from cnnlib.shapes import IntPair, IntSingle, Padding

__all__ = ["Conv1d", "Conv2d"]


class _Conv(ConvNd):
    """A convolution that is not transposed."""

    def _channels(self) -> tuple[int, int]:
        return self.out_channels, self.in_channels // self.groups

    def _images_shape(self, x: Shape) -> Shape:
        return shapes.conv2d_output_shape(x, self._images(self.weight.data).shape, *self._settings())

    def _convolve(self, x: Array, weight: Array, bias: Array | None, out: Array | None) -> Array:
        return functional.conv2d(x, weight, bias, *self._settings(), out=out)

    def _gradients(self, dy: Array, x: Array, weight: Array, needs: Any, outs: Any) -> Any:
        return functional.conv2d_backward(dy, x, weight, *self._settings(), needs=needs, out=outs)

    def multiply_adds(self, *inputs: Shape) -> int:
        return shapes.conv2d_multiply_adds(
            self._image(inputs[0]), self._images(self.weight.data).shape, *self._settings()
        )

    def _settings(self) -> tuple[IntPair, IntPair, IntPair, int]:
        return *self._spread, self.groups


@register
class Conv2d(_Conv):
    """2-D convolution: the same small filters slide over all places of the image (lecture: L34, L36 to L39).

    Forward, with stride S, zero padding P, filters W of shape C_out × C_in/groups × K × K (``weight``), biases b
    (``bias``), c over the channels of k's group, and x = 0 outside the image (at dilation 1)::

        y[k, i, j] = b[k] + Σ_{c,p,q} W[k, c, p, q] x[c, i S + p - P, j S + q - P]

    Backward, where each term pairs an output with the input it read through W[k, c, p, q]::

        ∂J/∂x[c, h, w] = Σ_{k,i,j} W[k, c, p, q] ∂J/∂y[k, i, j]     with h = i S + p - P, w = j S + q - P
        ∂J/∂W[k, c, p, q] = Σ_{n,i,j} ∂J/∂y[k, i, j] x[c, i S + p - P, j S + q - P]
        ∂J/∂b[k] = Σ_{n,i,j} ∂J/∂y[k, i, j]

    Input: N × C_in × H × W. Output: N × C_out × H' × W', H' = ⌊(H + 2P - D(K - 1) - 1)/S⌋ + 1 at dilation D, W'
    likewise. Saved for backward: x.

    kernel_size, stride, padding, dilation: an int or a pair (height, width); padding also "same": the output is as
    large as the input. init: one of `cnnlib.init.SCHEMES`; the default is PyTorch's. rng: a generator or a seed.

    >>> conv = Conv2d(1, 1, 3, padding=1, rng=0)
    >>> conv.weight.data[:], conv.bias.data[:] = 1, 0
    >>> conv.forward(np.ones((1, 1, 3, 3), np.float32), training=True)[0, 0].tolist()
    [[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]
    >>> conv.backward(np.ones((1, 1, 3, 3), np.float32))[0, 0, 1].tolist(), conv.bias.grad.tolist()
    ([6.0, 9.0, 6.0], [9.0])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntPair,
        stride: IntPair = 1,
        padding: Padding = 0,
        dilation: IntPair = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        init: str = DEFAULT,
        rng: RNG = None,
        dtype: DTypeLike = np.float32,
        name: str | None = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, init, rng, dtype, name
        )

    def windows(self) -> tuple[Window, Window]:
        return self._windows[0], self._windows[1]


@register
class Conv1d(_Conv):
    """1-D convolution: filters slide along series, as `Conv2d`'s do over images.

    Forward, with stride S, zero padding P, dilation D and filters W of shape C_out × C_in/groups × K (``weight``)::

        y[k, i] = b[k] + Σ_{c,p} W[k, c, p] x[c, i S + p D - P]

    Backward: ∂J/∂x, ∂J/∂W and ∂J/∂b as in `Conv2d`, with one sum less.

    Input: N × C_in × L. Output: N × C_out × L', L' = ⌊(L + 2P - D(K - 1) - 1)/S⌋ + 1. Saved for backward: x.

    kernel_size, stride, padding, dilation: an int; padding also "same". init, rng: as in `Conv2d`.

    >>> conv = Conv1d(1, 1, 3, padding=1, rng=0)
    >>> conv.weight.data[:], conv.bias.data[:] = [1, 0, -1], 0
    >>> conv.forward(np.array([[[1, 2, 4, 8]]], np.float32), training=True).tolist()
    [[[-2.0, -3.0, -6.0, 4.0]]]
    >>> conv.backward(np.ones((1, 1, 4), np.float32)).tolist(), conv.weight.grad.tolist()
    ([[[1.0, 0.0, 0.0, -1.0]]], [[[7.0, 15.0, 14.0]]])
    """

    axes = 1

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntSingle,
        stride: IntSingle = 1,
        padding: IntSingle | str = 0,
        dilation: IntSingle = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        init: str = DEFAULT,
        rng: RNG = None,
        dtype: DTypeLike = np.float32,
        name: str | None = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, init, rng, dtype, name
        )
