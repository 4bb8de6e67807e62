"""Group normalisation: groups of channels of one sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from cnnlib import functional
from cnnlib.arrays import flag, number
from cnnlib.errors import ConfigError
from cnnlib.graph import Shape
from cnnlib.init import fill, zeros
from cnnlib.layers.base import Array, Layer, Needs, Outs, Parameter, add_grads, grad_slots
from cnnlib.layers.checks import check_rank, count, float_dtype
from cnnlib.layers.registry import register

__all__ = ["GroupNorm", "SampleNorm"]


class SampleNorm(Layer):
    """What group, instance and layer normalisation share: γ and β, where there are any, and what is called."""

    weight: Parameter | None
    bias: Parameter | None
    function: ClassVar[Callable[..., Array]]
    function_backward: ClassVar[Callable[..., Any]]

    def set_up(self, shape: Shape, eps: float, weight: bool, bias: bool, dtype: DTypeLike) -> None:
        """Make the parameters that are asked for."""
        self.eps, kind = number(eps, "eps", 0), float_dtype(dtype)
        self.dtype = kind if weight or bias else None  # without parameters it takes either
        self.weight = Parameter(zeros(shape, kind)) if weight else None
        self.bias = Parameter(zeros(shape, kind)) if bias else None
        self.initialize()

    def sees_whole(self, x: Shape) -> bool:
        return True

    def over(self) -> Any:
        """Return what is normalised together, as the functions take it."""
        raise NotImplementedError

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        weight, bias = (None if p is None else p.data for p in (self.weight, self.bias))
        return self.function(x, self.over(), weight, bias, self.eps, out=out), x if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        dw, db = grad_slots(self.weight, self.bias)
        needed, out = (needs[0], dw is not None, db is not None), (outs[0], dw, db)
        weight = None if self.weight is None else self.weight.data
        dx, _, _ = self.function_backward(dy, saved, self.over(), weight, self.eps, needs=needed, out=out)
        add_grads((self.weight, self.bias), (dw, db))
        return (dx,)

    def config(self) -> dict[str, Any]:
        return {name: value for name, value in super().config().items() if name != "dtype" or value is not None}

    def initialize(self, rng: np.random.Generator | None = None) -> None:
        if self.weight is not None:
            fill(self.weight.data, 1)
        if self.bias is not None:
            fill(self.bias.data, 0)


@register
class GroupNorm(SampleNorm):
    """Group normalisation: each sample by itself, its channels in num_groups groups of neighbours.

    Forward, with the mean μ and the variance σ² of a group, and γ and β of a channel::

        y = γ x̂ + β        x̂ = (x - μ) / √(σ² + ε)

    Backward, ⟨·⟩ being the mean over a group, sums over samples and places::

        ∂J/∂γ = Σ ∂J/∂y x̂        ∂J/∂β = Σ ∂J/∂y
        ∂J/∂x = (γ ∂J/∂y - ⟨γ ∂J/∂y⟩ - x̂ ⟨γ ∂J/∂y x̂⟩) / √(σ² + ε)

    Input and output: N × num_channels × any shape, the same in training and at test time. Parameters, with `affine`:
    weight γ, bias β, one for each channel. Saved for backward: x. Source: Wu and He, arXiv:1803.08494.

    >>> norm = GroupNorm(1, 2, eps=0.0)
    >>> norm.forward(np.array([[1, 3], [5, 1]], np.float32), training=True).tolist()
    [[-1.0, 1.0], [1.0, -1.0]]
    >>> norm.backward(np.array([[1, 0], [1, 0]], np.float32)).tolist(), norm.bias.grad.tolist()
    ([[0.0, 0.0], [0.0, 0.0]], [2.0, 0.0])
    """

    function = staticmethod(functional.group_norm)
    function_backward = staticmethod(functional.group_norm_backward)

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        dtype: DTypeLike = np.float32,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.num_groups, self.num_channels = count(num_groups, "num_groups"), count(num_channels, "num_channels")
        if self.num_channels % self.num_groups:
            raise ConfigError(f"num_groups = {num_groups} does not divide num_channels = {num_channels}")
        self.affine = flag(affine, "affine")
        self.set_up((self.num_channels,), eps, self.affine, self.affine, dtype)

    def over(self) -> int:
        return self.num_groups

    def output_shape(self, x: Shape) -> Shape:
        needed: tuple[int | str, ...] = (self.num_channels, *("D" for _ in x[1:]))
        check_rank(self, x, needed, f"num_channels must be {x[0] if x else 1}")
        return x
