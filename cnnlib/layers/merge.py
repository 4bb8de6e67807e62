"""Layers with several inputs: where branches of a graph meet."""

from __future__ import annotations

from typing import Any

import numpy as np

from cnnlib import functional
from cnnlib.errors import ConfigError, ShapeError
from cnnlib.graph import Shape, shape_text
from cnnlib.layers.base import Array, Layer, Needs, Outs
from cnnlib.layers.checks import put
from cnnlib.layers.registry import register

__all__ = ["Add", "Concat", "alike"]


def alike(layer: Layer, shapes: tuple[Shape, ...]) -> Shape:
    """Return the one shape of all inputs of an element-by-element layer, or raise ShapeError."""
    if any(shape != shapes[0] for shape in shapes):
        got = ", ".join(f"N × {shape_text(shape)}" for shape in shapes)
        raise ShapeError(f"{layer!r}: got inputs of {got}, needs them all alike: change the layers before it")
    return shapes[0]


@register
class Add(Layer):
    """Addition of two or more groups of neurons, element by element (lecture: L25); ``a + b`` on nodes.

    Forward::

        y = x₁ + x₂ + …

    Backward: every input's gradient is that of the output, ∂J/∂x_k = ∂J/∂y.

    Inputs and output: N × any shape, all alike. Saved for backward: how many inputs there were.

    >>> add = Add()
    >>> add.forward(np.array([[1, 2]], np.float32), np.array([[10, 20]], np.float32), training=True).tolist()
    [[11.0, 22.0]]
    >>> [dx.tolist() for dx in add.backward(np.array([[3, 4]], np.float32))]
    [[[3.0, 4.0]], [[3.0, 4.0]]]
    """

    by_channel = True
    arity = None
    shares_gradient = True

    def output_shape(self, *shapes: Shape) -> Shape:
        return alike(self, shapes)

    def apply(self, *xs: Array, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        y = functional.add(xs[0], xs[1], out=out)
        for x in xs[2:]:
            functional.add(y, x, out=y)
        return y, len(xs) if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        return tuple(dy if needed else None for needed in needs)


@register
class Concat(Layer):
    """Concatenation of two or more feature vectors or stacks of feature maps (lecture: L24).

    Forward, along axis 1 the features or channels of the first input, then those of the second, …::

        y = [x₁, x₂, …]

    Backward: ∂J/∂x_k is the piece of ∂J/∂y that came from x_k.

    Inputs: N × shapes that differ along `axis` alone. Output: their sizes along `axis` added up. `axis` counts the
    batch dimension as 0. Saved for backward: the inputs' sizes along `axis`.

    >>> concat = Concat()
    >>> concat.forward(np.array([[1, 2]], np.float32), np.array([[3]], np.float32), training=True).tolist()
    [[1.0, 2.0, 3.0]]
    >>> [dx.tolist() for dx in concat.backward(np.array([[5, 6, 7]], np.float32))]
    [[[5.0, 6.0]], [[7.0]]]
    """

    arity = None

    def __init__(self, axis: int = 1, *, name: str | None = None) -> None:
        super().__init__(name=name)
        if isinstance(axis, bool) or not isinstance(axis, int) or axis < 1:
            raise ConfigError(f"axis = {axis!r}: expected an int of at least 1; axis 0 is the batch")
        self.axis = axis
        self.by_channel = axis == 1

    def output_shape(self, *shapes: Shape) -> Shape:
        at = self.axis - 1
        rests = [(*shape[:at], *shape[at + 1 :]) for shape in shapes]
        if any(at >= len(shape) or rest != rests[0] for shape, rest in zip(shapes, rests, strict=True)):
            got = ", ".join(f"N × {shape_text(shape)}" for shape in shapes)
            raise ShapeError(f"{self!r}: got inputs of {got}, needs them alike but along axis {self.axis}")
        return (*shapes[0][:at], sum(shape[at] for shape in shapes), *shapes[0][at + 1 :])

    def apply(self, *xs: Array, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        y = np.concatenate(xs, axis=self.axis, out=out)
        return y, [x.shape[self.axis] for x in xs] if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        ends = np.cumsum(saved).tolist()
        lead = (slice(None),) * self.axis
        pieces = [dy[(*lead, slice(end - size, end))] for size, end in zip(saved, ends, strict=True)]
        return tuple(
            put(piece, out) if needed else None for piece, needed, out in zip(pieces, needs, outs, strict=True)
        )

    def describe(self) -> str:
        return "Concat" if self.axis == 1 else f"Concat (axis={self.axis})"
