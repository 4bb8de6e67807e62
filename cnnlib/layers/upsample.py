"""Upsampling as PyTorch has it."""

from __future__ import annotations

from typing import Any

from cnnlib.arrays import flag
from cnnlib.errors import ConfigError
from cnnlib.graph import Shape
from cnnlib.interpolation import Axis
from cnnlib.layers.checks import check_rank
from cnnlib.layers.registry import register
from cnnlib.layers.resize import Resize

__all__ = ["Upsample"]

# PyTorch's mode → the input's dimensions without N (None: any), and ONNX's mode, coordinates and rounding.
_MODES: dict[str, tuple[tuple[str, ...] | None, tuple[str, str, str]]] = {
    "nearest": (None, ("nearest", "asymmetric", "floor")),
    "nearest-exact": (None, ("nearest", "half_pixel", "round_prefer_ceil")),
    "linear": (("C", "L"), ("linear", "half_pixel", "floor")),
    "bilinear": (("C", "H", "W"), ("linear", "half_pixel", "floor")),
}


@register
class Upsample(Resize):
    """Resizing of images or series, as PyTorch's Upsample does it; it may make them smaller, too.

    Forward, along each axis, output i lying at coordinate u of the input, with scale s and sizes n and n'::

        y[i] = x[⌊i/s⌋]                                       mode "nearest"
        y[i] = x[⌊(i + 1/2)/s⌋]                               mode "nearest-exact"
        y[i] = (1 - u + ⌊u⌋) x[⌊u⌋] + (u - ⌊u⌋) x[⌊u⌋ + 1]    mode "bilinear", for series "linear"

    where u = (i + 1/2)/s - 1/2, at least 0, or with align_corners u = i (n - 1)/(n' - 1). Backward: ∂J/∂x is the sum of
    ∂J/∂y by the element's weights in the outputs.

    Input: N × C × H × W or N × C × L. Output: N × C × H' × W' or N × C × L', of the given size, or ⌊s n⌋.
    Saved for backward: the shape of x.

    size or scale_factor: one of the two, a number or a tuple with one for each axis. align_corners: True or False, for
    linear modes alone.

    >>> import numpy as np
    >>> up = Upsample(scale_factor=2)
    >>> up.forward(np.array([[[[1, 2]]]], np.float32), training=True).tolist()
    [[[[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]]]]
    >>> up.backward(np.ones((1, 1, 2, 4), np.float32)).tolist()
    [[[[4.0, 4.0]]]]
    """

    def __init__(
        self,
        size: int | tuple[int, ...] | None = None,
        scale_factor: float | tuple[float, ...] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        *,
        name: str | None = None,
    ) -> None:
        if not isinstance(mode, str) or mode not in _MODES:
            raise ConfigError(f"mode = {mode!r}: expected one of {', '.join(_MODES)}")
        if size is not None and scale_factor is not None:
            raise ConfigError(f"size = {size} and scale_factor = {scale_factor}: give one of them")
        aligned = align_corners is not None and flag(align_corners, "align_corners")
        if align_corners is not None and "linear" not in mode:
            raise ConfigError(f"align_corners = {align_corners}: is for linear modes, not for {mode!r}")
        self._dimensions, (kind, coordinates, rounding) = _MODES[mode]
        coordinates = "align_corners" if aligned else coordinates
        super().__init__(size, scale_factor, kind, coordinates, rounding, name=name)
        self.mode, self.align_corners = mode, align_corners

    def output_shape(self, x: Shape) -> Shape:
        if len(x) not in (2, 3) or self._dimensions is not None:
            check_rank(self, x, self._dimensions or ("C", "H", "W"), f"mode {self.mode!r} is for such inputs")
        return super().output_shape(x)

    def resized(self, x: Shape) -> tuple[Axis, ...]:
        axes = super().resized(x)
        # PyTorch aligns the corners of what comes out, ONNX those of what scale_factor asks for.
        return tuple(axis._replace(scale=axis.output / axis.size) for axis in axes) if self.align_corners else axes

    def _settings(self, x: Shape) -> tuple[Any, Any, Any, Any, Any, Any, Any]:
        if not self.align_corners:
            return super()._settings(x)
        return tuple(axis.output for axis in self.resized(x)), None, *self.rule
