"""Padding of images, as PyTorch names it: by an int, or (left, right, top, bottom); negative numbers crop."""

from __future__ import annotations

from typing import Any

from cnnlib.errors import ConfigError
from cnnlib.graph import Shape
from cnnlib.layers.checks import as_given, check_rank
from cnnlib.layers.padding import Pad
from cnnlib.layers.registry import register

__all__ = ["CircularPad2d", "ConstantPad2d", "ReflectionPad2d", "ReplicationPad2d", "ZeroPad2d"]

Sides = int | tuple[int, int, int, int]


class _Pad2d(Pad):
    """What they share: sides in PyTorch's order."""

    def __init__(self, padding: Sides, mode: str, value: float, name: str | None) -> None:
        sides: Any = padding if isinstance(padding, (tuple, list)) else (padding,) * 4
        if len(sides) != 4:
            raise ConfigError(f"padding = {padding!r}: expected an int or (left, right, top, bottom)")
        super().__init__((tuple(sides[2:]), tuple(sides[:2])), mode, value, name=name)
        self.padding = as_given(padding)

    def output_shape(self, x: Shape) -> Shape:
        check_rank(self, x, ("C", "H", "W"), "an image has channels, height and width")
        return super().output_shape(x)


@register
class ZeroPad2d(_Pad2d):
    """Padding of images with zeros.

    Forward: y[c, i, j] = x[c, i - top, j - left] inside, 0 outside. Backward: ∂J/∂x is the part of ∂J/∂y inside.

    Input: N × C × H × W. Output: N × C × (H + top + bottom) × (W + left + right). Saved for backward: the shape of x.

    padding: an int, or (left, right, top, bottom); negative numbers crop.

    >>> import numpy as np
    >>> layer = ZeroPad2d((1, 0, 0, -1))
    >>> layer.forward(np.array([[[[1, 2], [3, 4]]]], np.float32), training=True).tolist()
    [[[[0.0, 1.0, 2.0]]]]
    >>> layer.backward(np.array([[[[5, 6, 7]]]], np.float32)).tolist()
    [[[[6.0, 7.0], [0.0, 0.0]]]]
    """

    def __init__(self, padding: Sides, *, name: str | None = None) -> None:
        super().__init__(padding, "constant", 0.0, name)


@register
class ConstantPad2d(_Pad2d):
    """Padding of images with one number.

    Forward: y[c, i, j] = x[c, i - top, j - left] inside, value outside. Backward: ∂J/∂x is the part of ∂J/∂y inside.

    Input: N × C × H × W. Output: N × C × (H + top + bottom) × (W + left + right). Saved for backward: the shape of x.

    padding: as in `ZeroPad2d`.

    >>> import numpy as np
    >>> layer = ConstantPad2d((1, 0, 0, 0), 9)
    >>> layer.forward(np.array([[[[1, 2]]]], np.float32), training=True).tolist()
    [[[[9.0, 1.0, 2.0]]]]
    >>> layer.backward(np.array([[[[5, 6, 7]]]], np.float32)).tolist()
    [[[[6.0, 7.0]]]]
    """

    def __init__(self, padding: Sides, value: float, *, name: str | None = None) -> None:
        super().__init__(padding, "constant", value, name)


@register
class ReflectionPad2d(_Pad2d):
    """Padding of images with what a mirror at their first and last rows and columns shows.

    Forward: y[c, i, j] = x[c, |i - top|, |j - left|] at the upper left, likewise at the other ends. Backward: ∂J/∂x is
    the sum of ∂J/∂y over the places that hold the pixel.

    Input: N × C × H × W. Output: N × C × (H + top + bottom) × (W + left + right). Saved for backward: the shape of x.

    padding: as in `ZeroPad2d`.

    >>> import numpy as np
    >>> layer = ReflectionPad2d((2, 0, 0, 0))
    >>> layer.forward(np.array([[[[1, 2, 3]]]], np.float32), training=True).tolist()
    [[[[3.0, 2.0, 1.0, 2.0, 3.0]]]]
    >>> layer.backward(np.ones((1, 1, 1, 5), np.float32)).tolist()
    [[[[1.0, 2.0, 2.0]]]]
    """

    def __init__(self, padding: Sides, *, name: str | None = None) -> None:
        super().__init__(padding, "reflect", 0.0, name)


@register
class ReplicationPad2d(_Pad2d):
    """Padding of images with copies of their first and last rows and columns.

    Forward: y[c, i, j] = x[c, h, w], the pixel that is nearest. Backward: ∂J/∂x is the sum of ∂J/∂y over the places
    that hold the pixel.

    Input: N × C × H × W. Output: N × C × (H + top + bottom) × (W + left + right). Saved for backward: the shape of x.

    padding: as in `ZeroPad2d`.

    >>> import numpy as np
    >>> layer = ReplicationPad2d((2, 1, 0, 0))
    >>> layer.forward(np.array([[[[1, 2]]]], np.float32), training=True).tolist()
    [[[[1.0, 1.0, 1.0, 2.0, 2.0]]]]
    >>> layer.backward(np.ones((1, 1, 1, 5), np.float32)).tolist()
    [[[[3.0, 2.0]]]]
    """

    def __init__(self, padding: Sides, *, name: str | None = None) -> None:
        super().__init__(padding, "replicate", 0.0, name)


@register
class CircularPad2d(_Pad2d):
    """Padding of images as if they were laid side by side.

    Forward: y[c, i, j] = x[c, (i - top) mod H, (j - left) mod W]. Backward: ∂J/∂x is the sum of ∂J/∂y over the places
    that hold the pixel.

    Input: N × C × H × W. Output: N × C × (H + top + bottom) × (W + left + right). Saved for backward: the shape of x.

    padding: as in `ZeroPad2d`.

    >>> import numpy as np
    >>> layer = CircularPad2d((1, 1, 0, 0))
    >>> layer.forward(np.array([[[[1, 2, 3]]]], np.float32), training=True).tolist()
    [[[[3.0, 1.0, 2.0, 3.0, 1.0]]]]
    >>> layer.backward(np.ones((1, 1, 1, 5), np.float32)).tolist()
    [[[[2.0, 1.0, 2.0]]]]
    """

    def __init__(self, padding: Sides, *, name: str | None = None) -> None:
        super().__init__(padding, "circular", 0.0, name)
