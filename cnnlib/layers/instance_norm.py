"""Instance normalisation: each channel of one sample."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import DTypeLike

from cnnlib import functional
from cnnlib.arrays import flag, number
from cnnlib.errors import ConfigError
from cnnlib.graph import Shape
from cnnlib.layers.checks import check_rank, count
from cnnlib.layers.group_norm import SampleNorm
from cnnlib.layers.registry import register

__all__ = ["InstanceNorm1d", "InstanceNorm2d"]


class _InstanceNorm(SampleNorm):
    """What InstanceNorm1d and InstanceNorm2d share: all but the shape of their inputs."""

    function = staticmethod(functional.group_norm)
    function_backward = staticmethod(functional.group_norm_backward)
    places: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        dtype: DTypeLike = np.float32,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.num_features, self.affine = count(num_features, "num_features"), flag(affine, "affine")
        self.momentum = number(momentum, "momentum", 0)
        self.track_running_stats = flag(track_running_stats, "track_running_stats")
        if self.track_running_stats:
            raise ConfigError("track_running_stats = True: there are no running estimates, each sample has its own")
        self.set_up((self.num_features,), eps, self.affine, self.affine, dtype)

    def over(self) -> int:
        return self.num_features

    def output_shape(self, x: Shape) -> Shape:
        check_rank(self, x, (self.num_features, *self.places), f"num_features must be {x[0] if x else 1}")
        return x


@register
class InstanceNorm2d(_InstanceNorm):
    """Instance normalisation of images: each channel of each sample by itself, over its pixels.

    Forward: y = γ x̂ + β, x̂ = (x - μ) / √(σ² + ε). Backward: ∂J/∂γ, ∂J/∂β and ∂J/∂x as GroupNorm's with a group for
    each channel. Input and output: N × num_features × H × W. Parameters, with `affine`: weight γ, bias β.
    Saved for backward: x. As PyTorch's without running estimates; so momentum, there for the order of arguments, has
    no effect. Source: Ulyanov et al., arXiv:1607.08022.

    >>> norm = InstanceNorm2d(1, eps=0.0)
    >>> norm.forward(np.array([[[[1, 3], [1, 3]]]], np.float32), training=True)[0, 0].tolist()
    [[-1.0, 1.0], [-1.0, 1.0]]
    >>> norm.backward(np.array([[[[4, 0], [0, 0]]]], np.float32))[0, 0].tolist()
    [[2.0, 0.0], [-2.0, 0.0]]
    """

    places = ("H", "W")


@register
class InstanceNorm1d(_InstanceNorm):
    """Instance normalisation of series, each channel of each sample by itself.

    Forward: y = γ x̂ + β. Backward: ∂J/∂x and the parameters' as InstanceNorm2d's. Input and output: N × num_features
    × L. Saved for backward: x. All else is as InstanceNorm2d has it.

    >>> norm = InstanceNorm1d(1, eps=0.0)
    >>> norm.forward(np.array([[[1, 3]]], np.float32), training=True).tolist()
    [[[-1.0, 1.0]]]
    >>> norm.backward(np.array([[[1, 0]]], np.float32)).tolist()
    [[[0.0, 0.0]]]
    """

    places = ("L",)
