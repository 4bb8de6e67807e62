"""Batch normalisation."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import DTypeLike

from cnnlib import functional
from cnnlib.arrays import flag, number
from cnnlib.errors import ConfigError, DataError
from cnnlib.graph import Shape
from cnnlib.init import fill, zeros
from cnnlib.layers.base import Array, Layer, Needs, Outs, Parameter, add_grads, grad_slots
from cnnlib.layers.checks import check_rank, count, float_dtype
from cnnlib.layers.registry import register

__all__ = ["BatchNorm", "BatchNorm1d", "BatchNorm2d"]


class BatchNorm(Layer):
    """What BatchNorm1d and BatchNorm2d share: all but the shape of their inputs.

    A forward pass for training is the only one that changes a layer: it moves ``running_mean`` and ``running_var``.
    ``test_statistics`` chooses what normalises at test time, "running" or "batch"; it is a mode and not saved.
    """

    ranks: ClassVar[tuple[int, ...]]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        *,
        dtype: DTypeLike = np.float32,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.num_features = count(num_features, "num_features")
        self.eps, self.momentum, self.affine = number(eps, "eps"), number(momentum, "momentum"), flag(affine, "affine")
        if not self.eps >= 0 or not 0 <= self.momentum <= 1:
            raise ConfigError(f"eps = {eps}, momentum = {momentum}: expected eps >= 0 and 0 <= momentum <= 1")
        self.dtype = float_dtype(dtype)
        if self.affine:
            self.weight = Parameter(zeros(self.num_features, self.dtype))
            self.bias = Parameter(zeros(self.num_features, self.dtype))
        self.running_mean = zeros(self.num_features, self.dtype)
        self.running_var = zeros(self.num_features, self.dtype)
        self.test_statistics: Literal["running", "batch"] = "running"
        self.initialize()

    def output_shape(self, x: Shape) -> Shape:
        rank = len(x) if len(x) in self.ranks else self.ranks[0]
        needed: tuple[int | str, ...] = (self.num_features, *("L", "HW")[rank > 2][: rank - 1])
        other = "use BatchNorm1d for vectors, BatchNorm2d for images"
        fix = f"num_features must be {x[0]}" if rank == len(x) else other
        check_rank(self, x, needed, fix)
        return x

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        weight, bias = (self.weight.data, self.bias.data) if self.affine else (None, None)
        mean, var = self.statistics(x, training)
        y = functional.batch_norm(x, mean, var, weight, bias, self.eps, out=out)
        return y, (x, mean, var) if training else None

    def statistics(self, x: Array, training: bool) -> tuple[Array, Array]:
        """Return the μ and σ² that x is normalised by; in training they are its own, and move the running ones."""
        values = x.size // self.num_features
        if training and values == 1:
            raise DataError(f"{self!r}: one value a channel has no deviation (input {x.shape}): train on N > 1")
        if not training and self.test_statistics == "running":
            return self.running_mean, self.running_var
        mean, var = functional.batch_moments(x)
        if training:
            for running, batch in ((self.running_mean, mean), (self.running_var, var * (values / (values - 1)))):
                running *= 1 - self.momentum
                running += self.momentum * batch
        return mean, var

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        x, mean, var = saved
        learned = (self.weight, self.bias) if self.affine else (None, None)
        dw, db = grad_slots(*learned)
        needed, out = (needs[0], dw is not None, db is not None), (outs[0], dw, db)
        weight = self.weight.data if self.affine else None
        dx, _, _ = functional.batch_norm_backward(dy, x, mean, var, weight, self.eps, needs=needed, out=out)
        add_grads(learned, (dw, db))
        return (dx,)

    def buffers(self) -> dict[str, Array]:
        return {"running_mean": self.running_mean, "running_var": self.running_var}

    def initialize(self, rng: np.random.Generator | None = None) -> None:
        if self.affine:
            fill(self.weight.data, 1)
            fill(self.bias.data, 0)
        fill(self.running_mean, 0)
        fill(self.running_var, 1)

    def describe(self) -> str:
        return type(self).__name__.removesuffix("1d").removesuffix("2d")


@register
class BatchNorm1d(BatchNorm):
    """Batch normalisation of vectors: every feature gets mean 0 and deviation 1, then γ and β (lecture: L26, L27).

    Forward, with the mean μ and the variance σ² of the feature over the batch::

        y = γ x̂ + β        x̂ = (x - μ) / √(σ² + ε)

    Backward, ⟨·⟩ being a feature's mean over the batch::

        ∂J/∂γ = Σ ∂J/∂y x̂        ∂J/∂β = Σ ∂J/∂y
        ∂J/∂x = γ / √(σ² + ε) (∂J/∂y - ⟨∂J/∂y⟩ - x̂ ⟨∂J/∂y x̂⟩)

    Each forward pass for training moves the running estimates, running ← (1 - momentum) running + momentum batch, with
    the unbiased variance M/(M-1) σ² of M values. At test time (L28) they stand for μ and σ²; with ``test_statistics =
    "batch"`` those of the batch do. `cnnlib.recalibrate_batchnorm` puts the whole training set's in their place.

    Input and output: N × num_features, or N × num_features × L. Parameters, with `affine`: weight γ, bias β. Buffers:
    running_mean, running_var. Saved for backward: x, μ, σ². Raises DataError for training on one value a feature.
    Source: Ioffe and Szegedy, arXiv:1502.03167; conventions as PyTorch's.

    >>> norm = BatchNorm1d(2, eps=0.0)
    >>> norm.forward(np.array([[1, 10], [3, 30]], np.float32), training=True).tolist()
    [[-1.0, -1.0], [1.0, 1.0]]
    >>> norm.backward(np.array([[1, 0], [1, 0]], np.float32)).tolist(), norm.bias.grad.tolist()
    ([[0.0, 0.0], [0.0, 0.0]], [2.0, 0.0])
    >>> norm.running_mean, norm.running_var
    (array([0.2, 2. ], dtype=float32), array([ 1.1, 20.9], dtype=float32))
    """

    ranks = (1, 2)


@register
class BatchNorm2d(BatchNorm):
    """Batch normalisation of images, channel by channel: μ and σ² are over the batch and the pixels (lecture: L26).

    Forward: y = γ x̂ + β, x̂ = (x - μ) / √(σ² + ε). Backward: ∂J/∂γ, ∂J/∂β, ∂J/∂x as BatchNorm1d's, sums over N, H, W.
    Input and output: N × num_features × H × W. Saved for backward: x, μ, σ². All else is as BatchNorm1d has it.

    >>> norm = BatchNorm2d(1, eps=0.0)
    >>> norm.forward(np.array([[[[1, 3], [1, 3]]]], np.float32), training=True)[0, 0].tolist()
    [[-1.0, 1.0], [-1.0, 1.0]]
    >>> norm.backward(np.array([[[[4, 0], [0, 0]]]], np.float32))[0, 0].tolist(), norm.weight.grad.tolist()
    ([[2.0, 0.0], [-2.0, 0.0]], [-4.0])
    """

    by_channel = True
    ranks = (3,)
