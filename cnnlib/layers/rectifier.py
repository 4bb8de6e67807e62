"""Rectifiers with a slope below 0: given (LeakyReLU) or learned (PReLU)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from cnnlib import functional
from cnnlib.arrays import finite
from cnnlib.graph import Shape
from cnnlib.init import fill, zeros
from cnnlib.layers.base import Array, Layer, Needs, Outs, Parameter, add_grads, grad_slots
from cnnlib.layers.checks import check_rank, count, float_dtype
from cnnlib.layers.registry import register

__all__ = ["LeakyReLU", "PReLU"]


@register
class LeakyReLU(Layer):
    """Leaky rectified linear unit, element by element, with a constant α = negative_slope (lecture: L18).

    Forward::

        y = x where x > 0, else α x

    Backward, with the slope α at x = 0::

        ∂J/∂x = ∂J/∂y where x > 0, else α ∂J/∂y

    Input and output: N × any shape. Saved for backward: x.

    >>> leaky = LeakyReLU(0.5)
    >>> leaky.forward(np.array([[-2, 0, 3]], dtype=np.float32), training=True).tolist()
    [[-1.0, 0.0, 3.0]]
    >>> leaky.backward(np.array([[4, 4, 4]], dtype=np.float32)).tolist()
    [[2.0, 2.0, 4.0]]
    """

    by_channel = True

    def __init__(self, negative_slope: float = 0.01, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.negative_slope = finite(negative_slope, "negative_slope")

    def output_shape(self, x: Shape) -> Shape:
        return x

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        return functional.leaky_relu(x, self.negative_slope, out=out), x if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        return (functional.leaky_relu_backward(dy, saved, self.negative_slope, out=outs[0]) if needs[0] else None,)

    def describe(self) -> str:
        return f"LeakyReLU (α={self.negative_slope:g})"


@register
class PReLU(Layer):
    """Parametric rectified linear unit: the slope α below 0 is learned (lecture: L19).

    Forward, with one α for all (num_parameters=1) or one for each of C channels::

        y = x where x > 0, else α x

    Backward, the sum being over the samples, and the places of a sample, that share the α::

        ∂J/∂x = ∂J/∂y where x > 0, else α ∂J/∂y
        ∂J/∂α = Σ 1(x < 0) x ∂J/∂y

    Input and output: N × C or N × C × H × W; N × any shape if all share one α. Saved for backward: x.
    Parameter: weight, num_parameters slopes, at first `init`. Source: He et al., arXiv:1502.01852.

    >>> prelu = PReLU(2)
    >>> prelu.forward(np.array([[-4, -8], [1, -2]], dtype=np.float32), training=True).tolist()
    [[-1.0, -2.0], [1.0, -0.5]]
    >>> prelu.backward(np.array([[1, 1], [1, 10]], dtype=np.float32)).tolist(), prelu.weight.grad.tolist()
    ([[0.25, 0.25], [1.0, 2.5]], [-4.0, -28.0])
    """

    by_channel = True

    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        *,
        dtype: DTypeLike = np.float32,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.num_parameters = count(num_parameters, "num_parameters")
        self.init = finite(init, "init")
        self.dtype = float_dtype(dtype)
        self.weight = Parameter(zeros(self.num_parameters, self.dtype))
        fill(self.weight.data, self.init)

    def output_shape(self, x: Shape) -> Shape:
        if self.num_parameters > 1:
            needed: tuple[int | str, ...] = (self.num_parameters, *("D" for _ in x[1:]))
            check_rank(self, x, needed, f"num_parameters must be 1 or {x[0] if x else 1}")
        return x

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        # One slope for all takes any shape: as rows of one number, or as they are.
        flat = x.reshape(len(x), -1) if x.ndim < 2 else x
        y = functional.prelu(flat, self.weight.data, out=None if out is None else out.reshape(flat.shape))
        return y.reshape(x.shape) if out is None else out, x if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        shape = (len(saved), -1) if saved.ndim < 2 else saved.shape
        (slot,), out = grad_slots(self.weight), outs[0]
        dx, _ = functional.prelu_backward(
            dy.reshape(shape),
            saved.reshape(shape),
            self.weight.data,
            needs=(needs[0], slot is not None),
            out=(None if out is None else out.reshape(shape), slot),
        )
        add_grads((self.weight,), (slot,))
        return (None if dx is None else dx.reshape(saved.shape) if out is None else out,)

    def initialize(self, rng: np.random.Generator) -> None:
        fill(self.weight.data, self.init)
