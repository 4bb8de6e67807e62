"""The convolution layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from cnnlib import functional, shapes
from cnnlib.arrays import flag
from cnnlib.errors import ConfigError, ShapeError
from cnnlib.graph import Shape, shape_text
from cnnlib.init import DEFAULT, RNG, as_generator, check_scheme, draw, zeros
from cnnlib.layers.base import Array, Layer, Needs, Outs, Parameter, Window, add_grads, grad_slots
from cnnlib.layers.checks import as_given, check_rank, count, float_dtype
from cnnlib.layers.registry import register
from cnnlib.shapes import IntPair, Padding, pair, resolve_padding

__all__ = ["Conv2d"]


@register
class Conv2d(Layer):
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
        super().__init__(name=name)
        self.in_channels, self.out_channels = count(in_channels, "in_channels"), count(out_channels, "out_channels")
        self.kernel_size, self.stride = as_given(kernel_size), as_given(stride)
        self.padding, self.dilation = as_given(padding), as_given(dilation)
        self.groups = count(groups, "groups")
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ConfigError(
                f"groups = {groups}: must divide in_channels = {in_channels} and out_channels = {out_channels}"
            )
        self.init = check_scheme(init)
        self.dtype = float_dtype(dtype)
        kernel = pair(kernel_size, "kernel_size", 1)
        # (kernel, stride, padding, dilation) in height and in width; also refuses settings that cannot be.
        self._windows = tuple(
            zip(
                kernel,
                pair(stride, "stride", 1),
                resolve_padding(self.padding, self.kernel_size, self.dilation, self.stride),
                pair(dilation, "dilation", 1),
                strict=True,
            )
        )
        weight_shape = self.out_channels, self.in_channels // self.groups, *kernel
        self.weight = Parameter(zeros(weight_shape, self.dtype))
        self.bias = Parameter(zeros(self.out_channels, self.dtype)) if flag(bias, "bias") else None
        self.initialize(as_generator(rng))

    def output_shape(self, x: Shape) -> Shape:
        fix = f"in_channels must be {x[0]}" if len(x) == 3 else "an image has channels, height and width"
        check_rank(self, x, (self.in_channels, "H", "W"), fix)
        try:
            return shapes.conv2d_output_shape(x, self.weight.data.shape, *self._settings())
        except ShapeError as error:
            raise ShapeError(f"{self!r}: input of N × {shape_text(x)}: {error}") from None

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        bias = self.bias.data if self.bias is not None else None
        y = functional.conv2d(x, self.weight.data, bias, *self._settings(), out=out)
        return y, x if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        learned = self.weight, self.bias
        dw, db = grad_slots(*learned)
        dx, _, _ = functional.conv2d_backward(
            dy,
            saved,
            self.weight.data,
            *self._settings(),
            needs=(needs[0], dw is not None, db is not None),
            out=(outs[0], dw, db),
        )
        add_grads(learned, (dw, db))
        return (dx,)

    def initialize(self, rng: np.random.Generator) -> None:
        bias = self.bias.data if self.bias is not None else None
        taps = self.weight.data.size // self.out_channels
        draw(self.weight.data, bias, self.init, taps, taps * self.out_channels // self.in_channels, rng)

    def describe(self) -> str:
        kernel, stride, padding, dilation = (_short(*axes) for axes in zip(*self.windows(), strict=True))
        extras = (f", D={dilation}" if dilation != "1" else "") + (f", G={self.groups}" if self.groups > 1 else "")
        return f"Conv (C_out={self.out_channels}, K={kernel}, P={padding}, S={stride}{extras})"

    def multiply_adds(self, *inputs: Shape) -> int:
        return shapes.conv2d_multiply_adds(inputs[0], self.weight.data.shape, *self._settings())

    def windows(self) -> tuple[Window, Window]:
        return self._windows[0], self._windows[1]

    def _settings(self) -> tuple[IntPair, Padding, IntPair, int]:
        return self.stride, self.padding, self.dilation, self.groups


def _short(height: int, width: int) -> str:
    return str(height) if height == width else f"{height}×{width}"
