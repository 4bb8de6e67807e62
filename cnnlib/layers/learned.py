"""Element-wise layers with a learned array: a factor, a summand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from cnnlib.errors import ShapeError
from cnnlib.graph import Shape, shape_text
from cnnlib.init import fill, zeros
from cnnlib.layers.base import Array, Layer, Needs, Outs, Parameter, add_grads, grad_slots
from cnnlib.layers.checks import float_dtype, int_tuple
from cnnlib.layers.registry import register

__all__ = ["Bias", "Scale"]


class _Learned(Layer):
    """A layer with one array of `shape` that is broadcast to every sample, its axes being the last ones."""

    def __init__(self, shape: int | Sequence[int], *, dtype: DTypeLike = np.float32, name: str | None = None) -> None:
        super().__init__(name=name)
        self.shape = int_tuple(shape, "shape", least=1)
        self.dtype = float_dtype(dtype)

    def output_shape(self, x: Shape) -> Shape:
        fits = len(x) >= len(self.shape)
        if not fits or any(b not in (1, a) for a, b in zip(x[::-1], self.shape[::-1], strict=False)):
            raise ShapeError(
                f"{self!r}: an input of N × {shape_text(x)} cannot take an array of {shape_text(self.shape)}"
            )
        return x

    def _summed(self, gradient: Array) -> Array:
        """Return the sum over all that an element of the array was broadcast to."""
        summed = gradient.sum(axis=tuple(range(gradient.ndim - len(self.shape))))
        copied = tuple(a for a, size in enumerate(self.shape) if size == 1)
        return np.asarray(summed.sum(axis=copied, keepdims=True))


@register
class Scale(_Learned):
    """A learned factor: y = w x, element by element.

    shape: of w (``weight``), which is broadcast to the samples from the right: (C, 1, 1) is a factor for each channel.
    Backward: ∂J/∂x = w ∂J/∂y, ∂J/∂w = Σ x ∂J/∂y over samples and copies. Input and output: N × any shape that w
    broadcasts to. Saved for backward: x. w starts at 1.

    >>> scale = Scale(2)
    >>> scale.weight.data[:] = 3, 4
    >>> scale.forward(np.array([[1, 2]], np.float32), training=True).tolist()
    [[3.0, 8.0]]
    >>> scale.backward(np.array([[10, 10]], np.float32)).tolist(), scale.weight.grad.tolist()
    ([[30.0, 40.0]], [10.0, 20.0])
    """

    def __init__(self, shape: int | Sequence[int], *, dtype: DTypeLike = np.float32, name: str | None = None) -> None:
        super().__init__(shape, dtype=dtype, name=name)
        self.weight = Parameter(zeros(self.shape, float_dtype(dtype)))
        self.initialize()

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        return np.multiply(x, self.weight.data, out=out), x if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        (dw,) = grad_slots(self.weight)
        if dw is not None:
            dw[...] = self._summed(dy * saved)
        add_grads([self.weight], [dw])
        return (np.multiply(dy, self.weight.data, out=outs[0]) if needs[0] else None,)

    def initialize(self, rng: np.random.Generator | None = None) -> None:
        fill(self.weight.data, 1)


@register
class Bias(_Learned):
    """A learned summand: y = x + b, element by element.

    shape: of b (``bias``), which is broadcast to the samples from the right: (C, 1, 1) is a summand for each channel.
    Backward: ∂J/∂x = ∂J/∂y, ∂J/∂b = Σ ∂J/∂y over samples and copies. Input and output: N × any shape that b broadcasts
    to. Saved for backward: nothing. b starts at 0.

    >>> bias = Bias(2)
    >>> bias.bias.data[:] = 3, 4
    >>> bias.forward(np.array([[1, 2]], np.float32), training=True).tolist()
    [[4.0, 6.0]]
    >>> bias.backward(np.array([[10, 20]], np.float32)).tolist(), bias.bias.grad.tolist()
    ([[10.0, 20.0]], [10.0, 20.0])
    """

    shares_gradient = True

    def __init__(self, shape: int | Sequence[int], *, dtype: DTypeLike = np.float32, name: str | None = None) -> None:
        super().__init__(shape, dtype=dtype, name=name)
        self.bias = Parameter(zeros(self.shape, float_dtype(dtype)))

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        return np.add(x, self.bias.data, out=out), None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        (db,) = grad_slots(self.bias)
        if db is not None:
            db[...] = self._summed(dy)
        add_grads([self.bias], [db])
        return (dy if needs[0] else None,)

    def initialize(self, rng: np.random.Generator | None = None) -> None:
        fill(self.bias.data, 0)
