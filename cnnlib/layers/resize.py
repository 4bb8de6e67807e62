"""Resizing of images and series by interpolation."""

from __future__ import annotations

from typing import Any

from cnnlib import functional, interpolation
from cnnlib.arrays import finite, flag
from cnnlib.errors import ShapeError
from cnnlib.graph import Shape, shape_text
from cnnlib.interpolation import Axis
from cnnlib.layers.base import Array, Layer, Needs, Outs, Window
from cnnlib.layers.checks import as_given
from cnnlib.layers.registry import register
from cnnlib.shapes import resize_axes, resize_settings

__all__ = ["Resize"]


@register
class Resize(Layer):
    """Resizing by interpolation, with all that ONNX's Resize can say of nearest and linear; `Upsample` is PyTorch's.

    Forward, along each axis, output i lying at coordinate u of the input::

        y[i] = x[round u]                                             mode "nearest"
        y[i] = (1 - u + ⌊u⌋) x[⌊u⌋] + (u - ⌊u⌋) x[⌊u⌋ + 1]            mode "linear"

    where elements before the first and after the last are copies of these, and, with scale s and input size n::

        u = (i + 1/2)/s - 1/2     half_pixel; pytorch_half_pixel, but u = -1/2 for one output
        u = n/2 (1 - n'/(s n)) + (i + 1/2)/s - 1/2     half_pixel_symmetric, n' = ⌊s n⌋
        u = i (n - 1)/(s n - 1)   align_corners
        u = i/s                   asymmetric
        u = (n - 1) (start + i (end - start)/(s n - 1))     tf_crop_and_resize; extrapolation_value outside 0 … n - 1

    Backward: ∂J/∂x is the sum of ∂J/∂y by the element's weights in the outputs.

    Input: N × C × H × W, N × C × L, or any shape. Output: its last axes resized. Saved for backward: the shape of x.

    size: the new sizes of the last axes, or one for all but the channels. scale_factor: likewise, how much larger they
    become, ⌊s n⌋; where both are given, size is the output's and s is scale_factor. nearest_mode: how u is rounded.
    antialias: linear, where s < 1, over 1/s elements to either side. exclude_outside: linear, without copies. roi: the
    part (start, end) of each of these axes that tf_crop_and_resize takes.

    >>> import numpy as np
    >>> layer = Resize(scale_factor=2, mode="linear")
    >>> layer.forward(np.array([[[1, 2]]], np.float32), training=True).tolist()
    [[[1.0, 1.25, 1.75, 2.0]]]
    >>> layer.backward(np.ones((1, 1, 4), np.float32)).tolist()
    [[[2.0, 2.0]]]
    """

    def __init__(
        self,
        size: int | tuple[int, ...] | None = None,
        scale_factor: float | tuple[float, ...] | None = None,
        mode: str = "nearest",
        coordinate_transformation_mode: str = "half_pixel",
        nearest_mode: str = "round_prefer_floor",
        antialias: bool = False,
        exclude_outside: bool = False,
        roi: tuple[tuple[float, float], ...] | None = None,
        extrapolation_value: float = 0.0,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.size, self.scale_factor, self.roi = (as_given(given) for given in (size, scale_factor, roi))
        self.mode, self.nearest_mode = mode, nearest_mode
        self.coordinate_transformation_mode = coordinate_transformation_mode
        self.antialias, self.exclude_outside = flag(antialias, "antialias"), flag(exclude_outside, "exclude_outside")
        self.extrapolation_value = finite(extrapolation_value, "extrapolation_value")
        resize_settings(size, scale_factor, roi)
        #: How all axes are resized.
        self.rule = interpolation.rule(
            mode, coordinate_transformation_mode, nearest_mode, self.antialias, self.exclude_outside
        )

    def resized(self, x: Shape) -> tuple[Axis, ...]:
        """Return the axes of a sample of shape x that are resized, the last ones."""
        try:
            axes = resize_axes((1, *x), self.size, self.scale_factor, self.roi)
            if len(axes) > len(x):
                raise ShapeError(f"{len(axes)} axes are to be resized, it has {len(x)}")
            return axes
        except ShapeError as error:
            raise ShapeError(f"{self!r}: input of N × {shape_text(x)}: {error}") from None

    def output_shape(self, x: Shape) -> Shape:
        axes = self.resized(x)
        return *x[: len(x) - len(axes)], *(axis.output for axis in axes)

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        y = functional.resize(x, *self._settings(x.shape[1:]), self.roi, self.extrapolation_value, out=out)
        return y, x.shape if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        if not needs[0]:
            return (None,)
        return (functional.resize_backward(dy, saved, *self._settings(saved[1:]), self.roi, out=outs[0]),)

    def describe(self) -> str:
        wanted = f"to {self.size}" if self.size is not None else f"× {self.scale_factor}"
        return f"{type(self).__name__} ({wanted}, {self.rule.mode})"

    def windows(self) -> tuple[Window, Window] | tuple[()]:
        return ()

    def _settings(self, x: Shape) -> tuple[Any, Any, Any, Any, Any, Any, Any]:
        """Return size, scale_factor and the rule for samples of shape x."""
        return self.size, self.scale_factor, *self.rule
