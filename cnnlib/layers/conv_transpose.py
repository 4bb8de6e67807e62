"""Transposed convolution layers, which make images and series larger."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from cnnlib import functional, shapes
from cnnlib.graph import Shape
from cnnlib.init import DEFAULT, RNG
from cnnlib.layers.base import Array
from cnnlib.layers.checks import as_given
from cnnlib.layers.conv_nd import ConvNd
from cnnlib.layers.registry import register
from cnnlib.shapes import IntPair, IntSingle

__all__ = ["ConvTranspose1d", "ConvTranspose2d"]


class _ConvTranspose(ConvNd):
    """What transposed convolutions share."""

    output_padding: Any

    def _pad_output(self, output_padding: Any) -> None:
        self.output_padding = as_given(output_padding)
        strides, paddings, dilations = self._spread
        extra = self._pair(output_padding, "output_padding", 0, single_value=0)
        self._settings = strides, paddings, extra, self.groups, dilations
        # Refuses what no input could have.
        shapes.conv_transpose2d_output_shape((1, 1, 1), (1, 1, 1, 1), strides, 0, extra, 1, dilations)

    def extra(self) -> tuple[int, ...]:
        """Return output_padding along the axes that filters slide along."""
        return self._settings[2][-self.axes :]

    def _channels(self) -> tuple[int, int]:
        return self.in_channels, self.out_channels // self.groups

    def _images_shape(self, x: Shape) -> Shape:
        return shapes.conv_transpose2d_output_shape(x, self._images(self.weight.data).shape, *self._settings)

    def _convolve(self, x: Array, weight: Array, bias: Array | None, out: Array | None) -> Array:
        return functional.conv_transpose2d(x, weight, bias, *self._settings, out=out)

    def _gradients(self, dy: Array, x: Array, weight: Array, needs: Any, outs: Any) -> Any:
        return functional.conv_transpose2d_backward(dy, x, weight, *self._settings, needs=needs, out=outs)

    def multiply_adds(self, *inputs: Shape) -> int:
        return prod((*inputs[0], *self.weight.data.shape[1:]))


@register
class ConvTranspose2d(_ConvTranspose):
    """Transposed 2-D convolution: each pixel lays down a filter scaled by it, so that images become larger.

    Forward, with stride S, padding P, filters W of shape C_in × C_out/groups × K × K (``weight``), biases b (``bias``),
    c over the channels of k's group (at dilation 1)::

        y[k, h, w] = b[k] + Σ_{c,i,j,p,q} W[c, k, p, q] x[c, i, j]     with h = i S + p - P, w = j S + q - P

    It is the map by which `Conv2d` with the same settings takes ∂J/∂y to ∂J/∂x. Backward, where each term pairs an
    output with an input that it read through W[c, k, p, q]::

        ∂J/∂x[c, i, j] = Σ_{k,p,q} W[c, k, p, q] ∂J/∂y[k, i S + p - P, j S + q - P]
        ∂J/∂W[c, k, p, q] = Σ_{n,i,j} x[c, i, j] ∂J/∂y[k, i S + p - P, j S + q - P]
        ∂J/∂b[k] = Σ_{n,h,w} ∂J/∂y[k, h, w]

    Input: N × C_in × H × W. Output: N × C_out × H' × W', H' = (H - 1)S - 2P + D(K - 1) + 1 + output_padding at dilation
    D, W' likewise. Saved for backward: x.

    kernel_size, stride, padding, output_padding, dilation: an int or a pair (height, width). output_padding: rows and
    columns more at the lower and right rim, as several sizes shrink to one; less than stride or dilation. init, rng: as
    in `Conv2d`; the default is PyTorch's.

    >>> up = ConvTranspose2d(1, 1, 2, stride=2, rng=0)
    >>> up.weight.data[:], up.bias.data[:] = [[1, 2], [3, 4]], 0
    >>> up.forward(np.array([[[[1, 10]]]], np.float32), training=True)[0, 0].tolist()
    [[1.0, 2.0, 10.0, 20.0], [3.0, 4.0, 30.0, 40.0]]
    >>> up.backward(np.ones((1, 1, 2, 4), np.float32)).tolist(), up.bias.grad.tolist()
    ([[[[10.0, 10.0]]]], [8.0])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntPair,
        stride: IntPair = 1,
        padding: IntPair = 0,
        output_padding: IntPair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: IntPair = 1,
        *,
        init: str = DEFAULT,
        rng: RNG = None,
        dtype: DTypeLike = np.float32,
        name: str | None = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, init, rng, dtype, name
        )
        self._pad_output(output_padding)


@register
class ConvTranspose1d(_ConvTranspose):
    """Transposed 1-D convolution: each element of a series lays down a filter scaled by it.

    Forward, with stride S, padding P, dilation D and filters W of shape C_in × C_out/groups × K (``weight``)::

        y[k, l] = b[k] + Σ_{c,i,p} W[c, k, p] x[c, i]     with l = i S + p D - P

    Backward: ∂J/∂x, ∂J/∂W and ∂J/∂b as in `ConvTranspose2d`, with one sum less.

    Input: N × C_in × L. Output: N × C_out × L', L' = (L - 1)S - 2P + D(K - 1) + 1 + output_padding.
    Saved for backward: x. kernel_size, stride, padding, output_padding, dilation: an int.

    >>> up = ConvTranspose1d(1, 1, 3, stride=2, bias=False, rng=0)
    >>> up.weight.data[:] = 1
    >>> up.forward(np.array([[[1, 2]]], np.float32), training=True).tolist()
    [[[1.0, 1.0, 3.0, 2.0, 2.0]]]
    >>> up.backward(np.ones((1, 1, 5), np.float32)).tolist(), up.weight.grad.tolist()
    ([[[3.0, 3.0]]], [[[3.0, 3.0, 3.0]]])
    """

    axes = 1

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntSingle,
        stride: IntSingle = 1,
        padding: IntSingle = 0,
        output_padding: IntSingle = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: IntSingle = 1,
        *,
        init: str = DEFAULT,
        rng: RNG = None,
        dtype: DTypeLike = np.float32,
        name: str | None = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, init, rng, dtype, name
        )
        self._pad_output(output_padding)
