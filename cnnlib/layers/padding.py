"""Padding and cropping of any axes."""

from __future__ import annotations

from math import isfinite
from typing import Any

from cnnlib import functional, shapes
from cnnlib.arrays import number
from cnnlib.errors import ShapeError
from cnnlib.graph import Shape, shape_text
from cnnlib.layers.base import Array, Layer, Needs, Outs, Window
from cnnlib.layers.checks import as_given
from cnnlib.layers.registry import register
from cnnlib.shapes import PadPairs, pad_mode, pad_pairs

__all__ = ["Pad"]

_NO_NUMBERS = ("inf", "-inf", "nan")


@register
class Pad(Layer):
    """Padding: so many elements more at either end of a sample's last axes, or fewer where a number is negative.

    Forward, along each of these axes, b being what comes before::

        y[i] = x[i - b]     where that is inside; outside it is `value`, or x at another place

    mode: "constant": value. "reflect": x[b - i], mirrored at the first and the last element, which are not repeated.
    "replicate": the first or the last element. "circular": x begins again, (i - b) mod size. Backward: ∂J/∂x is the sum
    of ∂J/∂y over the places that hold the element.

    Input: N × any shape. Output: each of the axes as much larger. Saved for backward: the shape of x.

    padding: a pair (before, after) for each of the last axes, in order; of images ((top, bottom), (left, right)).
    value: a number, also as one of the texts "inf", "-inf" and "nan".

    >>> import numpy as np
    >>> layer = Pad(((0, 0), (2, 1)), "reflect")
    >>> layer.forward(np.array([[[1, 2, 3]]], np.float32), training=True).tolist()
    [[[3.0, 2.0, 1.0, 2.0, 3.0, 2.0]]]
    >>> layer.backward(np.ones((1, 1, 6), np.float32)).tolist()
    [[[1.0, 3.0, 2.0]]]
    """

    def __init__(
        self, padding: PadPairs, mode: str = "constant", value: float | str = 0.0, *, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.padding, self.mode = as_given(padding), pad_mode(mode)
        self.filling = float(value) if isinstance(value, str) and value in _NO_NUMBERS else number(value, "value")
        #: As a file of finite numbers can hold it.
        self.value = self.filling if isfinite(self.filling) else str(self.filling)
        #: A pair (before, after) for each of the last axes.
        self.pairs = pad_pairs(padding)

    def output_shape(self, x: Shape) -> Shape:
        try:
            return shapes.pad_output_shape(x, self.pairs)
        except ShapeError as error:
            raise ShapeError(f"{self!r}: input of N × {shape_text(x)}: {error}") from None

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        return functional.pad(x, self.pairs, self.mode, self.filling, out=out), x.shape if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        if not needs[0]:
            return (None,)
        return (functional.pad_backward(dy, saved, self.pairs, self.mode, out=outs[0]),)

    def describe(self) -> str:
        return f"{type(self).__name__} ({', '.join(f'{before} and {after}' for before, after in self.pairs)})"

    def windows(self) -> tuple[Window, Window] | tuple[()]:
        *others, height, width = ((0, 0), (0, 0), *self.pairs)
        return ((1, 1, height[0], 1), (1, 1, width[0], 1)) if not any(map(any, others)) else ()
