"""The fully-connected layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from cnnlib import functional, shapes
from cnnlib.arrays import flag
from cnnlib.graph import Shape
from cnnlib.init import DEFAULT, RNG, as_generator, check_scheme, draw, zeros
from cnnlib.layers.base import Array, Layer, Needs, Outs, Parameter, add_grads, grad_slots
from cnnlib.layers.checks import check_rank, count, float_dtype
from cnnlib.layers.registry import register

__all__ = ["Linear"]


@register
class Linear(Layer):
    """Fully-connected layer: every output is a weighted sum of all inputs (lecture: L04, L09).

    Forward, for each sample of the batch, with W of shape C×n (``weight``) and b of length C (``bias``)::

        y = W x + b

    Backward, the sums running over the N samples::

        ∂J/∂x = Wᵀ ∂J/∂y     ∂J/∂W = Σ ∂J/∂y xᵀ     ∂J/∂b = Σ ∂J/∂y

    Input: N × n, n = in_features. Output: N × C, C = out_features. Saved for backward: x.

    init: how weights are drawn, one of `cnnlib.init.SCHEMES`; the default is PyTorch's. rng: a generator or a seed.

    >>> fc = Linear(2, 1, rng=0)
    >>> fc.weight.data[:], fc.bias.data[:] = [[2, 3]], 1
    >>> fc.forward(np.array([[1, 1], [0, 2]], dtype=np.float32), training=True).tolist()
    [[6.0], [7.0]]
    >>> fc.backward(np.array([[1], [10]], dtype=np.float32)).tolist()
    [[2.0, 3.0], [20.0, 30.0]]
    >>> fc.weight.grad.tolist(), fc.bias.grad.tolist()
    ([[1.0, 21.0]], [11.0])
    """

    sees_all = True

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        init: str = DEFAULT,
        rng: RNG = None,
        dtype: DTypeLike = np.float32,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.in_features = count(in_features, "in_features")
        self.out_features = count(out_features, "out_features")
        self.init = check_scheme(init)
        self.dtype = float_dtype(dtype)
        self.weight = Parameter(zeros((self.out_features, self.in_features), self.dtype))
        self.bias = Parameter(zeros(self.out_features, self.dtype)) if flag(bias, "bias") else None
        self.initialize(as_generator(rng))

    def output_shape(self, x: Shape) -> Shape:
        fix = "put Flatten() before it" if len(x) > 1 else f"in_features must be {x[0] if x else 1}"
        check_rank(self, x, (self.in_features,), fix)
        return (self.out_features,)

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        y = functional.linear(x, self.weight.data, self.bias.data if self.bias is not None else None, out=out)
        return y, x if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        learned = self.weight, self.bias
        dw, db = grad_slots(*learned)
        dx, _, _ = functional.linear_backward(
            dy, saved, self.weight.data, needs=(needs[0], dw is not None, db is not None), out=(outs[0], dw, db)
        )
        add_grads(learned, (dw, db))
        return (dx,)

    def initialize(self, rng: np.random.Generator) -> None:
        bias = self.bias.data if self.bias is not None else None
        draw(self.weight.data, bias, self.init, self.in_features, self.out_features, rng)

    def describe(self) -> str:
        return f"Linear ({self.in_features} → {self.out_features})"

    def weight_shape(self) -> Shape:
        return self.in_features, self.out_features

    def multiply_adds(self, *inputs: Shape) -> int:
        return shapes.linear_multiply_adds(self.in_features, self.out_features)
