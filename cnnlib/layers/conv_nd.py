"""What convolutions have in common, plain and transposed ones, of images and of series."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from cnnlib.arrays import flag
from cnnlib.errors import ConfigError, ShapeError
from cnnlib.graph import Shape, shape_text
from cnnlib.init import RNG, as_generator, check_scheme, draw, zeros
from cnnlib.layers.base import Array, Layer, Needs, Outs, Parameter, Window, add_grads, grad_slots
from cnnlib.layers.checks import as_given, check_rank, count, float_dtype
from cnnlib.shapes import pair, resolve_padding, single

__all__ = ["ConvNd"]


class ConvNd(Layer):
    """Base of the convolutions: settings, parameters, and series N × C × L as images N × C × 1 × L.

    A subclass says what the weight's shape is, and computes on images. `axes` are those that filters slide along.
    """

    axes: ClassVar[int] = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
        bias: bool,
        init: str,
        rng: RNG,
        dtype: DTypeLike,
        name: str | None,
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
        kernels = self._pair(kernel_size, "kernel_size", 1)
        strides, dilations = self._pair(stride, "stride", 1), self._pair(dilation, "dilation", 1)
        if isinstance(padding, str):
            paddings = resolve_padding(padding, kernels, dilations, strides)
        else:
            paddings = self._pair(padding, "padding", 0, single_value=0)
        # (kernel, stride, padding, dilation) in height and in width; also refuses settings that cannot be.
        self._windows = tuple(zip(kernels, strides, paddings, dilations, strict=True))
        self._spread = strides, paddings, dilations
        self.weight = Parameter(zeros((*self._channels(), *kernels[-self.axes :]), self.dtype))
        self.bias = Parameter(zeros(self.out_channels, self.dtype)) if flag(bias, "bias") else None
        self.initialize(as_generator(rng))

    # What a subclass defines, for images

    def _channels(self) -> tuple[int, int]:
        """Return the first two sizes of the weight."""
        raise NotImplementedError

    def _images_shape(self, x: Shape) -> Shape:
        raise NotImplementedError

    def _convolve(self, x: Array, weight: Array, bias: Array | None, out: Array | None) -> Array:
        raise NotImplementedError

    def _gradients(self, dy: Array, x: Array, weight: Array, needs: Any, outs: Any) -> Any:
        raise NotImplementedError

    # What all have

    def output_shape(self, x: Shape) -> Shape:
        names, layout = _LAYOUTS[self.axes]
        fix = f"in_channels must be {x[0]}" if len(x) == self.axes + 1 else layout
        check_rank(self, x, (self.in_channels, *names), fix)
        try:
            shape = self._images_shape(self._image(x))
        except ShapeError as error:
            raise ShapeError(f"{self!r}: input of N × {shape_text(x)}: {error}") from None
        return shape[0], *shape[-self.axes :]

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        bias = self.bias.data if self.bias is not None else None
        y = self._convolve(self._images(x), self._images(self.weight.data), bias, self._images(out))
        return (y.reshape(*y.shape[:2], *y.shape[-self.axes :]) if out is None else out), x if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        learned = self.weight, self.bias
        dw, db = grad_slots(*learned)
        dx, _, _ = self._gradients(
            self._images(dy),
            self._images(saved),
            self._images(self.weight.data),
            (needs[0], dw is not None, db is not None),
            (self._images(outs[0]), self._images(dw), db),
        )
        add_grads(learned, (dw, db))
        return (None if dx is None else dx.reshape(saved.shape) if outs[0] is None else outs[0],)

    def initialize(self, rng: np.random.Generator) -> None:
        bias = self.bias.data if self.bias is not None else None
        # As PyTorch counts, by the weight's axes, for transposed convolutions, too.
        weight = self.weight.data
        draw(weight, bias, self.init, weight[0].size, weight[:, 0].size // self.groups, rng)

    def describe(self) -> str:
        kernel, stride, padding, dilation = (_short(*sizes) for sizes in self.sizes())
        extras = (f", D={dilation}" if dilation != "1" else "") + (f", G={self.groups}" if self.groups > 1 else "")
        kind = type(self).__name__.removesuffix("2d")
        return f"{kind} (C_out={self.out_channels}, K={kernel}, P={padding}, S={stride}{extras})"

    def sizes(self) -> list[tuple[int, ...]]:
        """Return kernel, stride, padding and dilation, each along the axes that filters slide along."""
        return [sizes[-self.axes :] for sizes in zip(*self._windows, strict=True)]

    def windows(self) -> tuple[Window, Window] | tuple[()]:
        return ()

    def _images(self, x: Any) -> Any:
        """Return an array of series as one of images; images, and None, as they are."""
        return x if x is None or self.axes == 2 else x[:, :, None]

    def _image(self, x: Shape) -> Shape:
        """Return the shape of a series as that of an image."""
        return x if self.axes == 2 else (x[0], 1, x[1])

    def _pair(self, value: Any, name: str, minimum: int, single_value: int = 1) -> tuple[int, int]:
        """Return a setting in height and in width, `single_value` in the height of series."""
        return pair(value, name, minimum) if self.axes == 2 else (single_value, single(value, name, minimum))


_LAYOUTS = {2: ("HW", "an image has channels, height and width"), 1: ("L", "a series has channels and a length")}


def _short(*sizes: int) -> str:
    return str(sizes[0]) if len(set(sizes)) == 1 else "×".join(map(str, sizes))
