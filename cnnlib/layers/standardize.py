"""Standardisation of a model's inputs by the training set's statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cnnlib import functional
from cnnlib.arrays import flag, number, numbers
from cnnlib.errors import ConfigError, DataError, ShapeError
from cnnlib.graph import Shape
from cnnlib.init import fill, zeros
from cnnlib.layers.base import Array, Layer, Needs, Outs
from cnnlib.layers.checks import check_rank, count
from cnnlib.layers.registry import register

__all__ = ["Standardize"]

_BLOCK = 1024  # samples that are converted at once


@register
class Standardize(Layer):
    """Standardize: inputs get mean 0 and deviation 1, by what was measured on the training set alone (lecture: L32).

    Forward, with μ and σ² the mean and variance of each dimension over the data that `fit` was given; before that, μ is
    0 and s is 1::

        y = (x - μ) / s        s = √(σ² + ε)

    Backward::

        ∂J/∂x = ∂J/∂y / s

    Input and output: N × shape. Saved for backward: nothing. μ and s are the buffers ``mean`` and ``std``, which are
    saved with the model and not learned.

    shape: the input's, without N. per_channel: one μ and one s for each channel of an image C × H × W instead of one
    for each pixel. eps: ε, which keeps a dimension that hardly varies, such as a pixel of the rim, from becoming noise.

    >>> x = np.array([[1.0, 7.0], [3.0, 7.0]])
    >>> layer = Standardize(2).fit(x)
    >>> layer.forward(x, training=True).round(4)
    array([[-1.,  0.],
           [ 1.,  0.]])
    >>> layer.backward(np.ones((2, 2)))[0].round(2)
    array([  1.  , 316.23])
    """

    def __init__(
        self, shape: int | Sequence[int], per_channel: bool = False, eps: float = 1e-5, *, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        sizes = shape if isinstance(shape, Sequence) else (shape,)
        self.shape = tuple(count(size, "shape") for size in sizes)
        per_channel = flag(per_channel, "per_channel")
        if per_channel and len(self.shape) < 2:
            raise ConfigError(f"shape = {self.shape}: per_channel=True is for images C × H × W")
        self.per_channel = per_channel
        self.eps = number(eps, "eps", 0)
        if not self.eps:
            raise ConfigError(f"eps = {eps!r}: expected a positive number")
        kept = (self.shape[0], *(1 for _ in self.shape[1:])) if self.per_channel else self.shape
        # float64 whatever the model computes in; converted where they are used.
        self._mean, self._std = zeros(kept, np.float64), zeros(kept, np.float64)
        fill(self._std, 1.0)

    def fit(self, x: ArrayLike) -> Standardize:
        """Measure mean and deviation of `x`, the inputs of the training set, N × shape; returns the layer.

        Pixels (uint8) are taken as 0…1, as a model takes them. Raises ShapeError or DataError for other data.
        """
        data = numbers(x, "the data")
        if data.ndim == 0 or data.shape[1:] != self.shape:
            raise ShapeError(f"{self!r}: fit needs data of shape N × {self.shape}, got {data.shape}")
        if len(data) == 0:
            raise DataError(f"{self!r}: fit needs data, got none: {data.shape}")
        parts = [slice(start, start + _BLOCK) for start in range(0, len(data), _BLOCK)]
        axes = (0, *range(2, data.ndim)) if self.per_channel else (0,)
        samples = data.size / self._mean.size
        total = sum(functional.as_input(data[part], np.float64).sum(axis=axes) for part in parts)
        mean = np.reshape(total / samples, self._mean.shape)
        if not np.isfinite(mean).all():
            raise DataError(f"{self!r}: the data have NaN, infinite or huge values")
        # In two passes: the mean of squares less the square of the mean would cancel.
        squares = sum(np.square(functional.as_input(data[part], np.float64) - mean).sum(axis=axes) for part in parts)
        std = np.sqrt(np.reshape(squares / samples, mean.shape) + self.eps)
        self._mean[...], self._std[...] = mean, std
        return self

    def buffers(self) -> dict[str, Array]:
        return {"mean": self._mean, "std": self._std}

    def output_shape(self, x: Shape) -> Shape:
        check_rank(self, x, self.shape, f"shape must be {x}")
        return x

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        y = np.subtract(x, self._mean.astype(x.dtype), out=out)
        return np.divide(y, self._std.astype(x.dtype), out=y), None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        return (np.divide(dy, self._std.astype(dy.dtype), out=outs[0]) if needs[0] else None,)

    def describe(self) -> str:
        return "Standardize (per channel)" if self.per_channel else "Standardize"
